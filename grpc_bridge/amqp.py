"""As much of AMQP 0-9-1 as the bridge needs: requests out with confirms, replies and events in, on one connection.

A frame is written where it is made, and what a message brings is handed on from within the reading of the socket: no
queue and no task lies between, since each of them costs a single call a turn of the event loop. Nothing here waits for
longer than the caller does, and nothing is given up half-way: who stops waiting drops the connection.
"""

import asyncio
import platform
import struct
from collections.abc import Callable
from typing import Final, TypeVar, cast

from pamqp import frame as frames
from pamqp.base import Frame
from pamqp.commands import Basic, Connection
from pamqp.commands import Channel as ChannelCommands
from pamqp.common import FieldTable
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader, ProtocolHeader
from pamqp.heartbeat import Heartbeat

from grpc_bridge.address import Address
from grpc_bridge.channel import UNREADABLE, AmqpError, Channel, ConnectionBroken, ConnectionRefused

_FRAME = struct.Struct(">BHI")  # kind, channel, size of the payload; then the payload, then one byte
_FRAME_END: Final = 0xCE
_AROUND: Final = _FRAME.size + 1
_HEADER, _BODY, _HEARTBEAT = 2, 3, 8
_BODY_SIZE = struct.Struct(">4xQ")  # in the payload of a header
_DELIVER: Final = struct.pack(">I", Basic.Deliver.index)
_HEARTBEAT_FRAME: Final = Heartbeat().marshal()
_REFUSALS: Final = (403, 530)  # for want of the right password, and of the right virtual host
_PASSING: Final = "connection limit"
"""In the broker's words, if it says 530 since virtual host or user has as many connections as it may."""
_LARGEST_FRAME: Final = 131_072
"""Bytes, and RabbitMQ's own default; a frame that is larger is none."""

_Command = TypeVar("_Command", bound=Frame)


class BrokerConnection(asyncio.Protocol):
    """A connection to a broker. Made by `connect`.

    Attributes:
        largest_body: Bytes of a message that one frame holds.
    """

    def __init__(self, heartbeat: int, on_end: Callable[[str], None]) -> None:
        self.largest_body = _LARGEST_FRAME - _AROUND
        self._loop = asyncio.get_running_loop()
        self._heartbeat = heartbeat
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._heard_at = self._loop.time()
        self._beat: asyncio.TimerHandle | None = None
        self._channels: dict[int, Channel] = {}
        self._awaited: asyncio.Future[Frame] | None = None
        self._broken = ""

    async def open(self, address: Address) -> None:
        """Introduce ourselves.

        Raises:
            ConnectionBroken: If the broker does not want us, and says why, or speaks something else.
        """
        self.write(ProtocolHeader().marshal())
        start = await self._expect(Connection.Start)
        if "PLAIN" not in (start.mechanisms or "").split():
            raise ConnectionBroken(f"the broker takes no password, but {start.mechanisms}")
        properties: FieldTable = {
            "product": "beers bridge",
            "connection_name": "beers bridge",
            "platform": f"Python {platform.python_version()}",
            "capabilities": {
                "authentication_failure_close": True,
                "basic.nack": True,
                "consumer_cancel_notify": True,
                "publisher_confirms": True,
            },
        }
        self._say(Connection.StartOk(properties, "PLAIN", f"\0{address.user}\0{address.password}"))
        tune = await self._expect(Connection.Tune)
        largest = min(tune.frame_max or _LARGEST_FRAME, _LARGEST_FRAME)
        self.largest_body = largest - _AROUND
        self._say(Connection.TuneOk(tune.channel_max, largest, self._heartbeat))
        self._say(Connection.Open(address.virtual_host))
        await self._expect(Connection.OpenOk)
        if self._heartbeat:
            self._beat = self._loop.call_later(self._heartbeat / 2, self._keep_alive)

    async def channel(self, on_end: Callable[[AmqpError], None]) -> Channel:
        """Open a channel; for *on_end* see `Channel`. Raises as `Channel.ask` does."""
        number = next(number for number in range(1, 65536) if number not in self._channels)
        channel = self._channels[number] = Channel(self, number, on_end)
        await channel.ask(ChannelCommands.Open())
        return channel

    async def close(self) -> None:
        """Say goodbye to the broker, and wait until it has said so too; raises `ConnectionBroken`."""
        self._say(Connection.Close(200, "", 0, 0))
        await self._expect(Connection.CloseOk)

    def abort(self, reason: str) -> None:
        """Drop the socket at once. May be called again."""
        if self._transport is not None:
            self._transport.abort()
        self._end(reason)

    def write(self, data: bytes) -> None:
        """Send *data*.

        Raises:
            ConnectionBroken: If the connection is gone.
        """
        if self._transport is None or self._broken:
            raise ConnectionBroken(self._broken)
        self._transport.write(data)

    def forget(self, number: int) -> None:
        """Give up the channel of that *number*, which is closed."""
        self._channels.pop(number, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is of no class of asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._end(str(exc or "") or "the broker closed the socket")

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._heard_at = self._loop.time()
        if self._rest:
            data = self._rest + data
        try:
            self._rest = data[self._take_all(data) :]
        except (PAMQPException, ValueError) as error:
            self.abort(f"what the broker says is not AMQP: {error}")

    def _take_all(self, data: bytes) -> int:
        """Take in the frames that *data* begins with, and return how many bytes they are."""
        start, end = 0, len(data)
        while end - start >= _AROUND and not self._broken:
            kind, number, size = _FRAME.unpack_from(data, start)
            if size > _LARGEST_FRAME:  # or a protocol header, which tells that our version is not the broker's
                raise ValueError(f"a frame of {size} bytes")
            after = start + _AROUND + size
            if after > end:
                break
            if data[after - 1] != _FRAME_END:
                raise ValueError("a frame without its end")
            self._take(kind, number, data[start:after])
            start = after
        return start

    def _take(self, kind: int, number: int, frame: bytes) -> None:
        if kind == _HEARTBEAT:
            return
        channel = self._channels.get(number)
        if kind == _BODY:
            if channel is not None:
                channel.take_body(frame[_FRAME.size : -1])
            return
        if frame.startswith(_DELIVER, _FRAME.size):
            return  # it announces what says all that we need: a channel has one consumer at most
        if kind == _HEADER:
            if channel is not None:
                channel.take_header(_header(frame))
            return
        content = frames.unmarshal(frame)[2]
        if channel is None:
            if number == 0 and isinstance(content, Frame):
                self._take_own(content)
            # Else it was on its way when the channel was closed.
        elif isinstance(content, Frame):
            channel.take(content)

    def _take_own(self, method: Frame) -> None:
        if isinstance(method, Connection.Close):
            self._say(Connection.CloseOk())
            if self._transport is not None:
                self._transport.close()
            refused = method.reply_code in _REFUSALS and _PASSING not in method.reply_text
            reason = f"{method.reply_code}, {method.reply_text}"
            self._end(reason, ConnectionRefused if refused else ConnectionBroken)
        elif self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(method)
        # Else it is one of those that need no answer, such as that the broker is short of memory.

    async def _expect(self, kind: type[_Command]) -> _Command:
        """Wait for a command to the connection itself."""
        if self._broken:
            raise ConnectionBroken(self._broken)
        self._awaited = self._loop.create_future()
        try:
            received = await self._awaited
        finally:
            self._awaited = None
        if not isinstance(received, kind):
            raise ConnectionBroken(f"expected {kind.name}, got {received.name}")
        return received

    def _say(self, command: Frame) -> None:
        self.write(frames.marshal(command, 0))

    def _keep_alive(self) -> None:
        """Show the broker that we live, and find out whether it does."""
        if self._loop.time() - self._heard_at > 2 * self._heartbeat:
            self.abort("the broker fell silent")
            return
        self.write(_HEARTBEAT_FRAME)
        self._beat = self._loop.call_later(self._heartbeat / 2, self._keep_alive)

    def _end(self, reason: str, kind: type[ConnectionBroken] = ConnectionBroken) -> None:
        if self._broken:
            return
        self._broken = reason
        if self._beat is not None:
            self._beat.cancel()
        error = kind(reason)
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_exception(error)
        self._on_end(reason)
        for channel in list(self._channels.values()):
            channel.end(error)
        self._channels.clear()


def _header(frame: bytes) -> ContentHeader:
    try:
        header = frames.unmarshal(frame)[2]
    except Exception:  # noqa: BLE001 - whatever a sender can make it raise: tables may lie in tables a thousand deep
        header = None
    if isinstance(header, ContentHeader):
        return header
    (size,) = _BODY_SIZE.unpack_from(frame, _FRAME.size)
    return ContentHeader(body_size=size, properties=UNREADABLE)


async def connect(address: Address, heartbeat: int, on_end: Callable[[str], None]) -> BrokerConnection:
    """Connect to a broker.

    Args:
        address: Where it is.
        heartbeat: Seconds between signs of life of either side; one that is silent for twice as long is gone. 0 for
            none.
        on_end: Takes the reason, in words, once the connection is gone.

    Raises:
        OSError: If it cannot be reached.
        ConnectionBroken: If it does not want us.
    """
    connection = BrokerConnection(heartbeat, on_end)
    await asyncio.get_running_loop().create_connection(lambda: connection, address.host, address.port, ssl=address.tls)
    try:
        await connection.open(address)
    except BaseException:
        connection.abort("it could not be opened")
        raise
    return connection
