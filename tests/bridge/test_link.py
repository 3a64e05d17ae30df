"""The connection to the broker: what it makes of brokers that are silent, slow, strange or unwilling."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pamqp import frame as frames
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Queue
from pamqp.commands import Channel as ChannelCommands
from pamqp.common import FieldTable
from pamqp.header import ContentHeader
from yarl import URL

from grpc_bridge.address import Address
from grpc_bridge.amqp import BrokerConnection, connect
from grpc_bridge.bus import backoff
from grpc_bridge.channel import AmqpError
from grpc_bridge.link import Link, LinkLost, NoQueue, OnRefusal, open_link
from tests.bridge.broker_proxy import broker_proxy


def nobody(number: str, body: bytes) -> None:
    raise AssertionError(f"a reply to {number}: {body!r}")


async def opened(uri: str, on_reply: Callable[[str, bytes], None] = nobody, **changes: Any) -> Link:
    chosen: dict[str, Any] = {"heartbeat": 10, "patience": 1.0} | changes
    return await open_link(uri, chosen["heartbeat"], chosen["patience"], "rpc.reply-of-a-test", "to-the-test", on_reply)


def publish(
    link: Link, body: bytes, on_refusal: OnRefusal, *, number: str = "1", routing_key: str = "to-the-test"
) -> None:
    link.publish(
        routing_key, body, reply_to="to-the-test", number=number, expires_in=10, headers={}, on_refusal=on_refusal
    )


def unexpected(reason: Exception) -> None:
    raise AssertionError(f"refused: {reason!r}")


@asynccontextmanager
async def stranger(says: bytes) -> AsyncIterator[str]:
    """Something else than a broker, which answers whoever connects with these bytes and then nothing."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


async def test_a_broker_that_says_nothing_is_given_up() -> None:
    async with stranger(b"") as uri:
        with pytest.raises(LinkLost):
            async with asyncio.timeout(1):
                await opened(uri, patience=0.05)


@pytest.mark.parametrize(
    "says",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\x00\x00\x09\x00", b"\x01\x00\x00\x00\x00\x00\x01x!"],
    ids=["HTTP", "another version", "a frame without its end"],
)
async def test_what_speaks_something_else_is_given_up_at_once(says: bytes) -> None:
    async with stranger(says) as uri:
        with pytest.raises(LinkLost, match="not AMQP"):
            await opened(uri)


async def test_a_broker_says_why_it_does_not_want_us(amqp_uri: str) -> None:
    with pytest.raises(LinkLost, match="ACCESS_REFUSED"):
        await opened(str(URL(amqp_uri).with_password("wrong")))
    with pytest.raises(LinkLost, match="NOT_ALLOWED"):
        await opened(str(URL(amqp_uri).with_path("/no-such-host")))


async def test_a_request_that_is_not_confirmed_in_time_loses_the_connection(amqp_uri: str) -> None:
    async with broker_proxy(amqp_uri) as proxy:
        link = await opened(proxy.uri, patience=0.3)
        proxy.freeze()
        publish(link, b"{}", unexpected)
        async with asyncio.timeout(1):
            assert await link.closed == "the broker did not answer in time"
        with pytest.raises(LinkLost):
            publish(link, b"{}", unexpected)


async def test_requests_that_are_confirmed_lose_nothing_however_long_there_are_some(amqp_uri: str) -> None:
    replies: list[str] = []
    link = await opened(amqp_uri, lambda number, _: replies.append(number), patience=0.3)
    for number in range(60):
        publish(link, b"{}", unexpected, number=str(number))
        await asyncio.sleep(0.01)
    assert not link.closed.done()
    await link.close(1)
    assert replies == [str(number) for number in range(60)]


async def test_a_silent_broker_is_noticed_by_its_missing_heartbeats(amqp_uri: str) -> None:
    async with broker_proxy(amqp_uri) as proxy:
        link = await opened(proxy.uri, heartbeat=1)
        await asyncio.sleep(2.5)  # heartbeats of both sides have gone to and fro
        assert not link.closed.done()
        proxy.freeze()
        async with asyncio.timeout(4):
            assert await link.closed == "the broker fell silent"


async def test_messages_that_are_larger_than_a_frame_go_and_come_whole(amqp_uri: str) -> None:
    sent = [b"", b"x", *(bytes([size % 251]) * size for size in (131_063, 131_064, 131_065, 1_000_000))]
    replies: list[bytes] = []
    complete = asyncio.Event()

    def take(_: str, body: bytes) -> None:
        replies.append(body)
        if len(replies) == len(sent):
            complete.set()

    link = await opened(amqp_uri, take)
    for body in sent:
        publish(link, body, unexpected)
    async with asyncio.timeout(5):
        await complete.wait()
    assert replies == sent
    await link.close(1)


async def test_a_request_that_no_queue_takes_is_told_of_and_the_next_is_not(amqp_uri: str) -> None:
    replied = asyncio.Event()
    link = await opened(amqp_uri, lambda *_: replied.set())
    refused: list[Exception] = []
    publish(link, b"{}", refused.append, number="1", routing_key="to-nobody")
    publish(link, b"{}", unexpected, number="2")
    async with asyncio.timeout(1):
        await replied.wait()
    await link.close(1)
    assert [type(reason) for reason in refused] == [NoQueue]


async def test_a_reply_that_its_taker_fails_on_costs_nothing_else(amqp_uri: str) -> None:
    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: failures.append(told["exception"]))
    second = asyncio.Event()

    def take(number: str, _: bytes) -> None:
        if number == "1":
            raise ValueError("a bug")
        second.set()

    link = await opened(amqp_uri, take)
    publish(link, b"{}", unexpected, number="1")
    publish(link, b"{}", unexpected, number="2")
    async with asyncio.timeout(1):
        await second.wait()
    assert not link.closed.done()
    await link.close(1)
    assert [str(failure) for failure in failures] == ["a bug"]


async def test_a_broker_that_takes_no_request_on_a_connection_is_asked_over_another_one(amqp_uri: str) -> None:
    full = await opened(amqp_uri)
    connection = await connect(Address.of(amqp_uri), 0, lambda _: None)
    channel = await connection.channel(lambda _: None)
    limit: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
    await channel.ask(Queue.Declare(queue="full", exclusive=True, arguments=limit))
    await channel.ask(Queue.Bind(queue="full", exchange="nameko-rpc", routing_key="to-the-full"))
    refused = asyncio.Event()
    publish(full, b"{}", unexpected, number="1", routing_key="to-the-full")
    publish(full, b"{}", lambda _: refused.set(), number="2", routing_key="to-the-full")
    async with asyncio.timeout(2):
        await refused.wait()
    assert not full.closed.done()
    await full.close(1)
    fresh = await opened(amqp_uri)
    publish(fresh, b"{}", unexpected, routing_key="to-the-full")
    async with asyncio.timeout(2):
        assert await fresh.closed == "the broker refused the first request on this connection"
    connection.abort("the test is over")
    await asyncio.sleep(0)  # uvloop closes it then


class Wire:
    """A transport that notes what is sent."""

    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent += data

    def abort(self) -> None:
        self.sent += b"(aborted)"


def nested(depth: int) -> bytes:
    """Return a table that holds a table that holds a table, as it goes over the wire."""
    table = struct.pack(">I", 0)
    for _ in range(depth):
        table = struct.pack(">I", len(table) + 3) + b"\x01xF" + table
    return table


@pytest.mark.parametrize("at_once", [1, 2, 7, 8, 1000])
@pytest.mark.parametrize(
    "strange_properties",
    [(0x0400, b"\x02\xed\xa0"), (0x2000, nested(1500)), (0x2000, b"\0\0\0\x03\x01x?"), (0x2000, b"\xff\0\0\0\x01x")],
    ids=["no text", "tables in tables", "of no type", "too long"],
)
async def test_frames_may_come_in_any_pieces(at_once: int, strange_properties: tuple[int, bytes]) -> None:
    connection = BrokerConnection(0, unexpected_end)
    connection.connection_made(Wire())  # type: ignore[arg-type]  # a fake
    taken: list[tuple[str | None, bytes]] = []
    opening = asyncio.ensure_future(connection.channel(unexpected_end))
    await asyncio.sleep(0)
    connection.data_received(frames.marshal(ChannelCommands.OpenOk(), 1))
    channel = await opening
    consuming = asyncio.ensure_future(
        channel.consume("q", lambda properties, body: taken.append((properties.correlation_id, body)))
    )
    await asyncio.sleep(0)
    came: list[Frame | ContentHeader | ContentBody] = [Basic.ConsumeOk("tag")]
    for number, pieces in (("1", [b"one"]), ("2", []), ("3", [b"th", b"r", b"ee"])):
        properties = Basic.Properties(correlation_id=number)
        came += [
            Basic.Deliver("tag", 1, exchange="", routing_key="q"),
            ContentHeader(body_size=sum(map(len, pieces)), properties=properties),
        ]
        came += map(ContentBody, pieces)
    stream = b"".join(frames.marshal(frame, 1) for frame in came)
    # Of a publisher whose properties are none, in the midst of the others.
    flag, whole = strange_properties
    header = struct.pack(">HHQH", 60, 0, 4, flag) + whole
    deliver = frames.marshal(Basic.Deliver("tag", 1, exchange="", routing_key="q"), 1)
    strange = (
        deliver + struct.pack(">BHI", 2, 1, len(header)) + header + b"\xce" + frames.marshal(ContentBody(b"junk"), 1)
    )
    after = len(frames.marshal(came[0], 1))
    stream = stream[:after] + strange + stream[after:]
    for start in range(0, len(stream), at_once):
        connection.data_received(stream[start : start + at_once])
    await consuming
    assert taken == [("1", b"one"), ("2", b""), ("3", b"three")]


def unexpected_end(reason: AmqpError | str) -> None:
    raise AssertionError(reason)


def test_an_address_is_read_with_all_that_it_may_say() -> None:
    plain = Address.of("amqp://rabbit")
    assert (plain.host, plain.port, plain.user, plain.password, plain.virtual_host) == (
        "rabbit",
        5672,
        "guest",
        "guest",
        "/",
    )
    full = Address.of("amqps://a%40b:p%2Fq@[::1]:1234/my%2Fhost?no_verify_ssl=1")
    assert (full.host, full.port, full.user, full.password) == ("::1", 1234, "a@b", "p/q")
    assert full.virtual_host == "my/host"
    assert full.tls is not None
    assert not full.tls.check_hostname
    trusting = Address.of("amqps://rabbit")
    assert trusting.port == 5671
    assert trusting.tls is not None
    assert trusting.tls.check_hostname


def test_the_waits_between_attempts_begin_short_and_stay_so() -> None:
    assert all(0.05 <= backoff(0) <= 0.1 for _ in range(50))
    assert all(1.0 <= backoff(attempts) <= 2.0 for attempts in range(5, 2000, 50))
