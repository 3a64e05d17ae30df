"""That a collector costs neither more memory nor more time than it is given, whatever it answers."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import parse_headers
from pathlib import Path

import pytest
import requests
import structlog

from beers_runtime.bounded_http import bounded_session
from beers_runtime.tracing_settings import start, tracing_settings
from tests.certificates import Authority
from tests.collector import Collector

Answering = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Hostile:
    """Takes connections and lets *answer* do with each what it likes, after each request or *at_once*."""

    def __init__(self, answer: Answering, context: ssl.SSLContext | None = None, *, at_once: bool = False) -> None:
        self.connections = 0
        self.left = threading.Event()
        self._answer, self._context, self._at_once = answer, context, at_once
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                taken, _ = self._listening.accept()
                self.connections += 1
                self._threads.append(threading.Thread(target=self._serve, args=[taken]))
                self._threads[-1].start()

    def _serve(self, taken: socket.socket) -> None:
        with taken, suppress(OSError):
            if self._at_once:
                self._answer(taken)
            served = self._context.wrap_socket(taken, server_side=True) if self._context else taken
            with served, served.makefile("rb") as requests_of_it:
                while requests_of_it.readline():
                    headers = parse_headers(requests_of_it)
                    requests_of_it.read(int(headers["content-length"]))
                    self._answer(served)
        self.left.set()


@contextmanager
def hostile(answer: Answering, context: ssl.SSLContext | None = None, *, at_once: bool = False) -> Iterator[Hostile]:
    other = Hostile(answer, context, at_once=at_once)
    try:
        yield other
    finally:
        other.close()


def dripping(first: bytes) -> Answering:
    def answer(connection: socket.socket) -> None:
        connection.sendall(first)
        # It ends when the other side closes the connection: to send fails then.
        for _ in range(2000):
            connection.sendall(b"x")
            time.sleep(0.01)

    return answer


@contextmanager
def posting(port: int, scheme: str = "http") -> Iterator[Callable[..., requests.Response]]:
    with bounded_session() as session:
        yield lambda timeout, **more: session.post(f"{scheme}://127.0.0.1:{port}/", b"spans", timeout=timeout, **more)


def test_of_an_endless_answer_only_the_beginning_is_read_and_its_connection_is_closed() -> None:
    sent = 0

    def answer(connection: socket.socket) -> None:
        nonlocal sent
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 600000000\r\n\r\n")
        while True:
            sent += connection.send(b"x" * 65536)

    with hostile(answer) as other, posting(other.port) as post:
        response = post(5.0)
        assert (response.status_code, response.content) == (200, b"")
        assert other.left.wait(5)
        assert sent < 10_000_000  # what the two sockets hold
        assert other.connections == 1


@pytest.mark.parametrize(
    "first", [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1"]
)
def test_an_answer_that_drips_is_given_up_when_the_time_is_over_and_its_connection_is_closed(first: bytes) -> None:
    with hostile(dripping(first)) as other, posting(other.port) as post:
        begun = time.monotonic()
        with pytest.raises(requests.Timeout):
            post(0.2)
        assert time.monotonic() - begun < 1
        assert other.left.wait(5)


def test_a_handshake_that_drips_is_given_up_when_the_time_is_over() -> None:
    # A record of TLS, 16 KiB long, of a handshake.
    with hostile(dripping(b"\x16\x03\x03\x40\x00"), at_once=True) as other, posting(other.port, "https") as post:
        begun = time.monotonic()
        with pytest.raises(requests.Timeout):
            post(0.2)
        assert time.monotonic() - begun < 1
        assert other.left.wait(5)


def test_who_closes_the_session_does_not_wait_for_an_answer() -> None:
    asked = threading.Event()
    with hostile(lambda _connection: asked.set()) as other, bounded_session() as session:

        def close() -> None:
            assert asked.wait(5)
            session.close()

        closing = threading.Thread(target=close)
        closing.start()
        with pytest.raises(requests.ConnectionError):
            session.post(f"http://127.0.0.1:{other.port}/", b"spans", timeout=5.0)
        closing.join()


def test_a_connection_is_used_again_and_made_anew_after_the_other_side_has_closed_it() -> None:
    answers = iter([OK, OK, OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), OK])
    with hostile(lambda connection: connection.sendall(next(answers))) as other, posting(other.port) as post:
        assert [post(5.0).status_code for _ in range(4)] == [200] * 4
        assert other.connections == 2


def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as silent,
        socket.create_connection(silent.getsockname()),  # for whom alone there is room
        hostile(lambda connection: connection.sendall(OK)) as other,
        posting(other.port) as post,
    ):
        tcp = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        addresses = [(*tcp, silent.getsockname()), (*tcp, ("127.0.0.1", other.port))]
        monkeypatch.setattr("beers_runtime.bounded_http.socket.getaddrinfo", lambda *_arguments, **_more: addresses)
        begun = time.monotonic()
        assert post(0.5).status_code == 200
        assert time.monotonic() - begun > 0.2


def test_a_redirect_is_not_followed_and_no_success() -> None:
    redirect = OK.replace(b"200 OK", b"302 Found\r\nLocation: /elsewhere")
    with hostile(lambda connection: connection.sendall(redirect)) as other, posting(other.port) as post:
        with pytest.raises(requests.TooManyRedirects):
            post(5.0)
        assert other.connections == 1


def test_over_tls_the_authorities_that_are_named_are_trusted_and_no_others(tmp_path: Path) -> None:
    ours, others = Authority(tmp_path), Authority(tmp_path, "others")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ours.issue("collector"))
    with (
        hostile(lambda connection: connection.sendall(OK), context) as other,
        posting(other.port, "https") as post,
    ):
        for verify in (str(others.file), True):
            with pytest.raises(requests.ConnectionError, match="certificate verify failed"):
                post(5.0, verify=verify)
        assert [post(5.0, verify=str(ours.file)).status_code for _ in range(2)] == [200, 200]


def test_spans_that_a_dripping_collector_holds_are_lost_and_told_and_the_next_arrive() -> None:
    log = structlog.testing.CapturingLogger()
    with hostile(dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")) as other:
        port = other.port
        config = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": 1000,  # for the one that answers, on a busy machine
            "OTEL_BSP_SCHEDULE_DELAY": 20,
        }
        tracing = start(tracing_settings(config, "beers"), structlog.wrap_logger(log, processors=[]))

        def end(name: str) -> None:
            span = tracing.enter("")
            assert span is not None
            tracing.end(span, name, "client", {})

        end("lost")
        _await(lambda: len(log.calls) == 2)
    assert log.calls[1].kwargs == {"event": "the collector of traces did not take spans", "lost": 1}
    receiver = Collector(port)
    try:
        end("arrives")
        _await(lambda: [span.name for span in receiver.spans] == ["arrives"])
        tracing.close(5.0)
    finally:
        receiver.close()
    assert len(log.calls) == 2


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
