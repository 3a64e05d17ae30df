"""One connection to the broker, with every wait bounded.

A broker that is frozen, or out of memory or disk, keeps its connections open and says nothing: publishing waits for
ever, and so does a polite close. So each wait has a limit here, and past it the socket is dropped.

What of aiormq shows through: it tells the publisher of a returned message only on a channel with confirms, floats in
headers lose all but 24 bits, a failed passive declaration closes its channel, and to drop a connection one has to
hold its socket, which a transport factory gets to see.
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import AMQPError, ChannelNotFoundEntity, DeliveryError, PublishError
from pamqp.commands import Basic
from pamqp.common import FieldTable
from yarl import URL

EXCHANGE = "nameko-rpc"

_FOLLOWED_MAXIMUM = 10_000
"""How many messages wait at the broker for a process that follows an exchange and does not keep up."""

_T = TypeVar("_T")

OnReply = Callable[[str, bytes], None]
"""Takes a reply: the correlation id of what it answers, and its body."""


class LinkLost(Exception):
    """The connection is gone, or was dropped since the broker did not answer in time."""


class NoQueue(Exception):
    """No queue took the message: the service has never been started on this broker."""


class Refused(Exception):
    """The broker refused the message."""


class Link:
    """A connection to the broker with a reply queue of its own. Made by `open_link`.

    Attributes:
        closed: Becomes the reason, in words, once the connection is gone.
    """

    def __init__(self, connection: aiormq.Connection, socket: "_Socket", patience: float) -> None:
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._socket = socket
        self._patience = patience
        self._calls: AbstractChannel | None = None
        self._counting: AbstractChannel | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self, reply_queue: str, reply_to: str, on_reply: OnReply) -> None:
        """Open the channel for calls, and consume the replies to them from *reply_queue*."""

        async def deliver(message: DeliveredMessage) -> None:
            on_reply(message.header.properties.correlation_id or "", message.body)

        async with asyncio.timeout(self._patience):
            channel = self._calls = await self._connection.channel()
            channel.on_consumer_cancel_callbacks.add(lambda _: self.drop("the reply queue was deleted"))
            _when_closed(channel, lambda reason: self.drop(f"the channel was closed: {reason}"))
            _when_closed(self._connection, lambda reason: self.drop(f"the connection was closed: {reason}"))
            await channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
            await channel.queue_declare(reply_queue, exclusive=True, auto_delete=True)
            await channel.queue_bind(reply_queue, EXCHANGE, reply_to)
            await channel.basic_consume(reply_queue, deliver, no_ack=True)

    async def publish(
        self, routing_key: str, body: bytes, *, reply_to: str, number: str, expires_in: float, headers: FieldTable
    ) -> None:
        """Publish a request and wait until the broker has taken it.

        Args:
            routing_key: Of the exchange `nameko-rpc`.
            body: In JSON.
            reply_to: Where the answer goes to.
            number: Comes back with the answer.
            expires_in: Seconds after which the broker drops the request.
            headers: Nameko's; no floats.

        Raises:
            NoQueue: If there is no queue for it.
            Refused: If the broker did not take it.
            LinkLost: If the connection broke or the broker took no notice; whether it has the message is unknown.
        """
        channel = self._calls
        if channel is None or self.closed.done():
            raise LinkLost
        properties = Basic.Properties(
            content_type="application/json",
            content_encoding="utf-8",
            reply_to=reply_to,
            correlation_id=number,
            message_id=number,  # by which aiormq finds the publisher of a returned message
            expiration=str(max(1, int(expires_in * 1000))),
            delivery_mode=1,
            headers=headers,
        )
        try:
            await self._answered(
                channel.basic_publish(
                    body, exchange=EXCHANGE, routing_key=routing_key, properties=properties, mandatory=True
                )
            )
        except PublishError as error:
            raise NoQueue from error
        except DeliveryError as error:
            raise Refused from error

    @asynccontextmanager
    async def follow(
        self, exchange: str, queue: str, on_message: Callable[[bytes], None]
    ) -> "AsyncIterator[asyncio.Future[str]]":
        """Consume everything that is published to the topic *exchange*, through a *queue* of our own, within the block.

        Args:
            exchange: Its name.
            queue: What to call the queue; it does not outlive the connection.
            on_message: Takes the bodies. What it misses while this process is slow is dropped, the oldest first.

        Yields:
            What becomes the reason, in words, once nothing comes any more.

        Raises:
            LinkLost: If the connection broke or the broker took no notice.
        """
        if self.closed.done():
            raise LinkLost
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def end(reason: str) -> None:
            if not ended.done():
                ended.set_result(reason)

        async def deliver(message: DeliveredMessage) -> None:
            on_message(message.body)

        channel = await self._answered(self._connection.channel(publisher_confirms=False))
        channel.on_consumer_cancel_callbacks.add(lambda _: end("the queue was deleted"))
        _when_closed(channel, end)
        try:
            await self._answered(channel.exchange_declare(exchange, exchange_type="topic", durable=True))
            limit: FieldTable = {"x-max-length": _FOLLOWED_MAXIMUM}
            await self._answered(channel.queue_declare(queue, exclusive=True, auto_delete=True, arguments=limit))
            await self._answered(channel.queue_bind(queue, exchange, "#"))
            await self._answered(channel.basic_consume(queue, deliver, no_ack=True))
            yield ended
        finally:
            # Not awaited: aiormq swallows a cancellation that comes while it closes a channel.
            closing = asyncio.get_running_loop().create_task(self._close(channel))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def consumers(self, queue: str) -> int:
        """Return how many consumers *queue* has; 0 if it does not exist.

        Raises:
            LinkLost: If the connection broke or the broker took no notice.
        """
        try:
            if self._counting is None or self._counting.is_closed:
                self._counting = await self._answered(self._connection.channel(publisher_confirms=False))
            declared = await self._answered(self._counting.queue_declare(queue, passive=True))
        except ChannelNotFoundEntity:
            self._counting = None
            return 0
        return declared.consumer_count or 0

    def drop(self, reason: str) -> None:
        """Drop the socket at once, without a word to the broker. May be called again."""
        if not self.closed.done():
            self.closed.set_result(reason)
        self._socket.abort()

    async def close(self, patience: float) -> None:
        """Say goodbye to the broker, and drop the socket if that takes longer than *patience*."""
        if not self.closed.done():
            self.closed.set_result("closed")
        try:
            async with asyncio.timeout(patience):
                await self._connection.close()
        except (TimeoutError, AMQPError, OSError, RuntimeError):
            pass  # it is dropped below, which is all that is left to do
        finally:
            self._socket.abort()

    async def _close(self, channel: AbstractChannel) -> None:
        if channel.is_closed or self.closed.done():
            return
        try:
            await self._answered(channel.close())
        except LinkLost:
            return  # and the channel with it

    async def _answered(self, answer: Awaitable[_T]) -> _T:
        """Wait for the broker's *answer* within our patience; drop the connection if it does not come."""
        try:
            async with asyncio.timeout(self._patience):
                return await answer
        except (DeliveryError, ChannelNotFoundEntity):
            raise  # an answer as well
        except TimeoutError as error:
            self.drop("the broker did not answer in time")
            raise LinkLost from error
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            self.drop("the connection broke")  # aiormq cancels its own tasks then
            raise LinkLost from error
        except Exception as error:
            if not _is_loss(error):
                raise
            self.drop(f"the connection broke: {error!r}")
            raise LinkLost from error


async def open_link(
    uri: str, heartbeat: int, patience: float, reply_queue: str, reply_to: str, on_reply: OnReply
) -> Link:
    """Connect to the broker, within twice *patience* seconds.

    Args:
        uri: ``amqp://`` or ``amqps://``.
        heartbeat: Seconds between heartbeats.
        patience: Seconds to wait for any one answer of the broker.
        reply_queue: What to call the reply queue; it lives as long as the connection.
        reply_to: The routing key that leads to it.
        on_reply: Takes the replies.

    Raises:
        LinkLost: If that did not work out; the message says why.
    """
    url = URL(uri).update_query(heartbeat=str(heartbeat))
    socket = _Socket(TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory())
    connection = aiormq.Connection(url, transport_factory=socket, client_properties={"connection_name": "beers bridge"})
    link = Link(connection, socket, patience)
    # Dropping the socket, rather than cancelling, makes aiormq end by itself whatever it waits for.
    overdue = asyncio.get_running_loop().call_later(patience, socket.abort)
    try:
        async with asyncio.timeout(2 * patience):
            await connection.connect()
            overdue.cancel()
            await link.start(reply_queue, reply_to, on_reply)
    except Exception as error:
        if not _is_loss(error):
            raise
        link.drop("it could not be opened")
        raise LinkLost(str(error) or type(error).__name__) from error
    except asyncio.CancelledError as error:
        link.drop("it was given up")
        if _is_cancelled():
            raise
        raise LinkLost("the connection broke") from error
    finally:
        overdue.cancel()
    return link


class _Socket(TransportFactory):
    """Makes a connection's socket, and can drop it."""

    def __init__(self, factory: TransportFactory) -> None:
        self._factory = factory
        self._writer: StreamWriter | None = None
        self._aborted = False

    async def create(self, url: URL, **kwargs: Any) -> tuple[StreamReader, StreamWriter]:
        reader, self._writer = await self._factory.create(url, **kwargs)
        if self._aborted:
            self.abort()
        return reader, self._writer

    def abort(self) -> None:
        self._aborted = True
        if self._writer is not None:
            self._writer.transport.abort()


def _when_closed(resource: aiormq.Connection | AbstractChannel, tell: Callable[[str], None]) -> None:
    def closed(closing: "asyncio.Future[None]") -> None:
        error = None if closing.cancelled() else closing.exception()
        tell(str(error) or type(error).__name__ if error else "without a reason")

    resource.closing.add_done_callback(closed)


def _is_loss(error: Exception) -> bool:
    """Tell whether *error* is how aiormq tells of a lost connection.

    A connection that is closed at once, as by a broker on its way down or up, is StopAsyncIteration there, and one that
    ends without a reason a bare Exception.
    """
    return isinstance(error, AMQPError | OSError | RuntimeError | StopAsyncIteration) or type(error) is Exception


def _is_cancelled() -> bool:
    """Whether somebody cancelled the present task, rather than aiormq one of its own that this one waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
