"""Connections to RabbitMQ on which nothing waits without a limit.

A broker that is frozen, or blocks its publishers for want of memory, stops reading: a send then waits for ever, and
so does a polite goodbye. So every send and every read has a time limit, and whoever loses patience drops the socket.
"""

import itertools
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import amqp
from amqp import spec
from amqp.basic_message import Message
from kombu.connection import Connection

from beers_runtime.configuration import broker_nodes, without_password

SEND_TIMEOUT = 10
"""Seconds that one send, or one read, may take."""

CONNECT_TIMEOUT = 5
"""Seconds that each step of connecting may take."""

BROKER_ERRORS = (OSError, amqp.exceptions.AMQPError)
"""What a broken connection raises, a timeout included."""

_REFUSALS = (amqp.exceptions.AccessRefused, amqp.exceptions.NotAllowed)
_PASSING = ("exclusive use", "connection limit")
"""What the broker says with the numbers of a refusal, and may not say later: somebody else has a queue for himself, or
the virtual host or the user has as many connections as it may."""


def refusal(error: BaseException) -> str:
    """Return the broker's words if *error* is that this user may not do that; empty for any other error."""
    if not isinstance(error, _REFUSALS) or any(words in str(error.reply_text) for words in _PASSING):
        return ""
    return f"the broker refuses: {error.reply_code}, {error.reply_text}"


class NoNode(ConnectionError):
    """None of several nodes can be connected to. Args: why, node by node, without passwords."""


class NoExchange(ConnectionError):
    """An exchange is not there, and this user may not make it. Args: what to do."""


class Broker:
    """Where RabbitMQ is: a node, or several of a cluster, of which any will do.

    Args:
        uri: ``amqp://user:password@host:port/vhost``, or ``amqps://``; several with semicolons between them. The query
            of the latter may name a ``cafile`` to trust, and a ``certfile`` and ``keyfile`` to show, as it does in the
            bridge.
        heartbeat: Seconds between heartbeats.
        options: More arguments for `kombu.connection.Connection`, or other ones: ``ssl``, ``login_method``.
    """

    def __init__(self, uri: str, heartbeat: int, **options: Any) -> None:
        self._nodes = broker_nodes(uri)
        self.heartbeat = heartbeat
        self._options = options
        # So that processes spread over the nodes: one that goes away takes the connections of few along.
        self._turn = random.randrange(len(self._nodes))  # noqa: S311 - no secret

    def connect(self) -> amqp.Connection:
        """Return a new connection, to the next node that grants one.

        Whoever has lost a connection comes to another node first: the last one may be frozen, which costs a time limit.

        Raises:
            NoNode, OSError, amqp.exceptions.AMQPError: If there is none to be had, or a node does not let us in; one of
                `BROKER_ERRORS` in any case.
        """
        failures: list[tuple[str, Exception]] = []
        for _ in self._nodes:
            uri = self._nodes[self._turn]
            self._turn = (self._turn + 1) % len(self._nodes)
            try:
                return self._connect(uri)
            except BROKER_ERRORS as error:
                if refusal(error):  # the others would say the same
                    raise
                failures.append((uri, error))
        if len(failures) == 1:
            raise failures[0][1]
        raise NoNode("; ".join(f"{without_password(uri)}: {error or type(error).__name__}" for uri, error in failures))

    def _connect(self, uri: str) -> amqp.Connection:
        address = uri.partition("?")[0] if uri.startswith("amqps:") else uri
        chosen = {"connect_timeout": CONNECT_TIMEOUT, **self._options, **_tls(uri, self._options.get("ssl"))}
        description = Connection(address, heartbeat=self.heartbeat, **chosen)
        transport = description.transport
        kind = transport.Connection
        made: list[amqp.Connection] = []

        def make(**arguments: Any) -> amqp.Connection:
            made.append(kind(**arguments))
            return made[0]

        transport.Connection = make
        try:
            connection = transport.establish_connection()
        except amqp.exceptions.AMQPError:
            drop(made[0])  # py-amqp lets go only of a socket that has broken
            raise
        # The limit of reads is set to the same value, so that neither changes that of the other on the shared socket.
        connection.transport.sock.settimeout(SEND_TIMEOUT)
        return connection


def _tls(uri: str, given: Any) -> dict[str, Any]:
    """Return what *uri* says of TLS, as kombu takes it; what is *given* besides prevails.

    Without a name to compare with, amqp takes the certificate of anybody whom the system trusts for the broker's.
    """
    parts = urlsplit(uri)
    if parts.scheme != "amqps":
        return {}
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    said: dict[str, Any] = {"server_hostname": parts.hostname}
    names = {"cafile": "ca_certs", "certfile": "certfile", "keyfile": "keyfile"}
    said |= {names[name]: value for name, value in query.items() if name in names}
    return {"ssl": said | (given if isinstance(given, dict) else {})}


def require_exchange(channel: amqp.Channel, name: str) -> None:
    """Declare a topic exchange of the service's unless it is there.

    To declare one takes the right to delete it, and to look for one takes none.

    Raises:
        NoExchange, OSError, amqp.exceptions.AMQPError: If there is none; one of `BROKER_ERRORS` in any case.
    """
    looking = channel.connection.channel()
    try:
        looking.exchange_declare(name, "topic", passive=True)
        looking.close()
    except amqp.exceptions.NotFound:
        try:
            channel.exchange_declare(name, "topic", durable=True, auto_delete=False)
        except amqp.exceptions.AccessRefused as error:
            raise NoExchange(f"there is no exchange {name} yet; the service makes it when it starts") from error


def send(
    channel: amqp.Channel, body: bytes, exchange: str, routing_key: str, *, mandatory: bool = False, **properties: Any
) -> None:
    """Publish a message without waiting for anything but the socket; if *mandatory*, it comes back for want of a queue.

    Unlike `amqp.Channel.basic_publish` it does not read from the connection on the way, which only the one green
    thread that drains it may do.
    """
    message = Message(body, **properties)
    channel.send_method(spec.Basic.Publish, "Bssbb", (0, exchange, routing_key, mandatory, False), message)


def drop(connection: amqp.Connection) -> None:
    """End *connection* without a word to the broker, which may not be listening."""
    connection.collect()


def interrupt(connection: amqp.Connection) -> None:
    """Make whoever reads from *connection*, in another green thread, find it broken at once.

    Closing the socket under him would not do: the hub forgets a closed socket, and him with it, until his time limit.
    """
    # To ask an ended connection for its socket would connect it anew.
    if connection.connected:
        with suppress(OSError):  # It is broken already.
            connection.sock.shutdown(socket.SHUT_RDWR)


def backoff(first: float = 0.1, longest: float = 3.0) -> Iterator[float]:
    """Yield how many seconds to wait before each next attempt: doubling up to a limit, each varied by half."""
    for attempt in itertools.count():
        yield min(longest, first * 2 ** min(attempt, 16)) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
