"""The proxy of `make chaos` does to connections what it is told, and undoes it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from chaos.proxy import Link, Proxy

SHORT = 0.3


@contextmanager
def echo() -> Iterator[int]:
    """Run a server that sends back what comes, and give its port."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while received := connection.recv(4096):
                connection.sendall(received)

    def accept() -> None:
        with suppress(OSError):  # the end of the test
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    accepting.join(5)


@pytest.fixture
def link() -> Iterator[Link]:
    proxy = Proxy()
    with echo() as port:
        yield proxy.link(lambda: port)
        proxy.close()


def connect(link: Link) -> socket.socket:
    return socket.create_connection(("127.0.0.1", link.port), timeout=5)


def trip(connection: socket.socket) -> float:
    """Send a byte there and back; return how long that took."""
    began = time.monotonic()
    connection.sendall(b"x")
    assert connection.recv(1) == b"x"
    return time.monotonic() - began


def test_a_cut_resets_connections_and_takes_new_ones(link: Link) -> None:
    with connect(link) as connection:
        trip(connection)
        link.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with connect(link) as connection:
        trip(connection)


def test_what_is_refused_is_reset_until_it_is_healed(link: Link) -> None:
    with connect(link) as connection:
        trip(connection)
        link.refuse()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(OSError), connect(link) as connection:  # noqa: PT011 - which one depends on the moment
        trip(connection)
    link.heal()
    with connect(link) as connection:
        trip(connection)


def test_a_stalled_connection_stays_and_passes_nothing_until_it_is_healed(link: Link) -> None:
    with connect(link) as connection:
        trip(connection)
        link.stall()
        connection.sendall(b"x")
        connection.settimeout(SHORT)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        link.heal()
        connection.settimeout(5)
        assert connection.recv(1) == b"x"


def test_a_slow_connection_is_late_in_both_directions(link: Link) -> None:
    with connect(link) as connection:
        link.slow(SHORT)
        assert trip(connection) >= 2 * SHORT
        link.heal()
        assert trip(connection) < SHORT
