"""One connection to the broker, with every wait bounded.

A broker that is frozen, or out of memory or disk, keeps its connections open and says nothing: publishing waits for
ever, and so does a polite close. So each wait has a limit here, and past it the socket is dropped.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from pamqp.commands import Basic, Exchange, Queue
from pamqp.common import FieldTable

from beers_runtime.topology import RPC_EXCHANGE as EXCHANGE
from grpc_bridge.address import Address
from grpc_bridge.amqp import BrokerConnection, connect
from grpc_bridge.channel import AmqpError, Channel, ChannelClosed, is_refusal

_FOLLOWED_MAXIMUM = 10_000
"""How many messages wait at the broker for a process that follows an exchange and does not keep up."""

_NOT_FOUND = 404

_T = TypeVar("_T")

OnReply = Callable[[str, bytes], None]
"""Takes a reply: the correlation id of what it answers, and its body."""

OnRefusal = Callable[["NoQueue | Refused"], None]
"""Takes the reason for which the broker did not take a request."""


class LinkLost(Exception):
    """The connection is gone, or was dropped since the broker did not answer in time."""


class LinkRefused(LinkLost):
    """The broker does not let this user do what we need, and says what; trying again changes nothing."""


class NoQueue(Exception):
    """No queue took the message: the service has never been started on this broker."""


class Refused(Exception):
    """The broker refused the message."""


class Link:
    """A connection to the broker with a reply queue of its own. Made by `open_link`.

    Attributes:
        closed: Becomes the reason, in words, once the connection is gone.
        refused: Whether that was that this user may not do something.
    """

    def __init__(self, patience: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[str] = self._loop.create_future()
        self.refused = False
        self._patience = patience
        self._connection: BrokerConnection | None = None
        self._calls: Channel | None = None
        self._counting: Channel | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._published = 0
        self._has_confirmed = False
        # What the broker has yet to confirm, oldest first: by when, the message's number, whom to tell of a refusal.
        self._unconfirmed: dict[int, tuple[float, str, OnRefusal]] = {}
        self._watch: asyncio.TimerHandle | None = None

    async def open(self, address: Address, heartbeat: int) -> None:
        """Connect to the broker; raises as `connect` does, or TimeoutError."""
        async with asyncio.timeout(self._patience):
            self._connection = await connect(address, heartbeat, self._lost)

    async def start(self, reply_queue: str, reply_to: str, on_reply: OnReply) -> None:
        """Open the channel for calls, and consume the replies to them from *reply_queue*."""
        async with asyncio.timeout(self._patience):
            await self._require_exchange(EXCHANGE)
            channel = self._calls = await self._channel(self._calls_ended)
            await channel.confirm(self._on_confirm, self._on_return)
            await channel.ask(Queue.Declare(queue=reply_queue, exclusive=True, auto_delete=True))
            await channel.ask(Queue.Bind(queue=reply_queue, exchange=EXCHANGE, routing_key=reply_to))
            await channel.consume(reply_queue, lambda properties, body: on_reply(properties.correlation_id or "", body))

    def publish(
        self,
        routing_key: str,
        body: bytes,
        *,
        reply_to: str,
        number: str,
        expires_in: float,
        headers: FieldTable,
        on_refusal: OnRefusal,
    ) -> None:
        """Send a request, and do not wait until the broker has taken it; if it is late, the connection is dropped.

        Args:
            routing_key: Of the exchange `nameko-rpc`.
            body: In JSON.
            reply_to: Where the answer goes to.
            number: Comes back with the answer; no other request on its way has it.
            expires_in: Seconds after which the broker drops the request.
            headers: Nameko's; no floats.
            on_refusal: Told `NoQueue` if there is no queue for it, `Refused` if the broker did not take it, unless it
                has taken none on this connection, which then is dropped.

        Raises:
            LinkLost: If the connection is gone. If it goes later, whether the broker has the message is unknown.
        """
        channel = self._calls
        if channel is None or self.closed.done():
            raise LinkLost
        properties = Basic.Properties(
            content_type="application/json",
            content_encoding="utf-8",
            reply_to=reply_to,
            correlation_id=number,
            expiration=str(max(1, int(expires_in * 1000))),
            delivery_mode=1,
            headers=headers,
        )
        try:
            channel.publish(EXCHANGE, routing_key, properties, body)
        except AmqpError as error:
            raise LinkLost from error
        self._published += 1
        self._unconfirmed[self._published] = (self._loop.time() + self._patience, number, on_refusal)
        if self._watch is None:
            self._watch = self._loop.call_later(self._patience, self._require_confirms)

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
            LinkRefused: If the broker does not let this user do it.
            LinkLost: If the connection broke or the broker took no notice, or does not want it for another reason.
        """
        if self.closed.done():
            raise LinkLost
        ended: asyncio.Future[str] = self._loop.create_future()

        def end(reason: str) -> None:
            if not ended.done():
                ended.set_result(reason)

        channel = await self._answered(self._channel(lambda error: end(str(error))))
        try:
            try:
                await self._answered(self._require_exchange(exchange))
                limit: FieldTable = {"x-max-length": _FOLLOWED_MAXIMUM}
                await self._answered(
                    channel.ask(Queue.Declare(queue=queue, exclusive=True, auto_delete=True, arguments=limit))
                )
                await self._answered(channel.ask(Queue.Bind(queue=queue, exchange=exchange, routing_key="#")))
                await self._answered(channel.consume(queue, lambda _, body: on_message(body)))
            except ChannelClosed as error:
                kind = LinkRefused if is_refusal(error) else LinkLost
                raise kind(f"the broker refuses: {error}") from error
            yield ended
        finally:
            # Not awaited: who stops following, perhaps since it was cancelled, need not wait for the broker.
            closing = self._loop.create_task(self._close(channel))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def consumers(self, queue: str) -> int:
        """Return how many consumers *queue* has; 0 if it does not exist.

        Raises:
            LinkLost: If the connection broke or the broker took no notice.
        """
        try:
            if self._counting is None or self._counting.closed:
                self._counting = await self._answered(self._channel(lambda _: None))
            declared = await self._answered(self._counting.ask(Queue.Declare(queue=queue, passive=True)))
        except ChannelClosed as error:
            if error.code != _NOT_FOUND:
                self.drop(f"the channel was closed: {error}")
                raise LinkLost from error
            return 0
        return declared.consumer_count or 0 if isinstance(declared, Queue.DeclareOk) else 0

    def drop(self, reason: str) -> None:
        """Drop the socket at once, without a word to the broker. May be called again."""
        self._lost(reason)
        if self._connection is not None:
            self._connection.abort(reason)

    async def close(self, patience: float) -> None:
        """Say goodbye to the broker, and drop the socket if that takes longer than *patience*."""
        self._lost("closed")
        if self._connection is None:
            return
        try:
            async with asyncio.timeout(patience):
                await self._connection.close()
        except (TimeoutError, AmqpError):
            pass  # it is dropped below, which is all that is left to do
        finally:
            self._connection.abort("closed")

    def _calls_ended(self, error: AmqpError) -> None:
        self.refused = self.refused or (is_refusal(error) and not self.closed.done())
        self.drop(f"no replies come any more: {error}")

    async def _require_exchange(self, name: str) -> None:
        """Declare a topic exchange of the service's unless it is there; raises as `Channel.ask` does.

        To declare one takes the right to delete it, and to look for one takes none.
        """
        channel = await self._channel(_nobody)
        try:
            await channel.ask(Exchange.Declare(exchange=name, exchange_type="topic", passive=True))
        except ChannelClosed as error:
            if error.code != _NOT_FOUND:
                raise
            channel = await self._channel(_nobody)
            try:
                await channel.ask(Exchange.Declare(exchange=name, exchange_type="topic", durable=True))
            except ChannelClosed as refused:
                missing = f"there is no exchange {name} yet; the service makes it when it starts"
                raise ChannelClosed(_NOT_FOUND, missing) from refused
        await channel.close()

    async def _channel(self, on_end: Callable[[AmqpError], None]) -> Channel:
        if self._connection is None:
            raise LinkLost
        return await self._connection.channel(on_end)

    async def _close(self, channel: Channel) -> None:
        if channel.closed or self.closed.done():
            return
        try:
            await self._answered(channel.close())
        except (LinkLost, ChannelClosed):
            return  # and the channel with it

    async def _answered(self, answer: Awaitable[_T]) -> _T:
        """Wait for the broker's *answer* within our patience; drop the connection if it does not come."""
        try:
            async with asyncio.timeout(self._patience):
                return await answer
        except ChannelClosed:
            raise  # an answer as well
        except TimeoutError as error:
            self.drop("the broker did not answer in time")
            raise LinkLost from error
        except AmqpError as error:
            self.drop(f"the connection broke: {error}")
            raise LinkLost from error

    def _lost(self, reason: str) -> None:
        if not self.closed.done():
            self.closed.set_result(reason)
        self._unconfirmed.clear()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _on_confirm(self, number: int, multiple: bool, taken: bool) -> None:  # noqa: FBT001 - as AMQP tells it
        unconfirmed = self._unconfirmed
        numbers = [each for each in unconfirmed if each <= number] if multiple else [number]
        if taken:
            self._has_confirmed = True
        elif not self._has_confirmed:
            # A channel that first speaks to a quorum queue while that elects its leader gets no further on RabbitMQ
            # 3.10, for as long as the old leader stays away. Another one does, and no request has been taken.
            self.drop("the broker refused the first request on this connection")
            return
        for each in numbers:
            waiting = unconfirmed.pop(each, None)
            if waiting is not None and not taken:
                waiting[2](Refused())

    def _on_return(self, properties: Basic.Properties) -> None:
        for number, (_, returned, on_refusal) in self._unconfirmed.items():
            if returned == properties.correlation_id:
                del self._unconfirmed[number]  # its confirmation follows, and means nothing any more
                on_refusal(NoQueue())
                return

    def _require_confirms(self) -> None:
        """Drop the connection if the broker has not confirmed in time what is oldest."""
        self._watch = None
        oldest = next(iter(self._unconfirmed.values()), None)
        if oldest is None:
            return
        if oldest[0] <= self._loop.time():
            self.drop("the broker did not answer in time")
        else:
            self._watch = self._loop.call_at(oldest[0], self._require_confirms)


def _nobody(_error: AmqpError) -> None:
    """Nothing depends on that channel."""


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
        LinkRefused: If the broker does not let this user do it.
        LinkLost: If that did not work out for another reason; the message says which.
    """
    link = Link(patience)
    try:
        await link.open(Address.of(uri), heartbeat)
        await link.start(reply_queue, reply_to, on_reply)
    except (TimeoutError, AmqpError, OSError) as error:
        link.drop("it could not be opened")
        if isinstance(error, AmqpError) and is_refusal(error):
            raise LinkRefused(f"the broker refuses: {error}") from error
        raise LinkLost(str(error) or type(error).__name__) from error
    except BaseException:
        link.drop("it was given up")
        raise
    return link
