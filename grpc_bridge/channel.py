"""A channel of AMQP 0-9-1, as much of it as the bridge needs: what is asked, published and delivered there.

AmqpError
├── ChannelClosed           the broker closed the channel, and says why
└── ConnectionBroken        the connection is gone
    └── ConnectionRefused   the broker closed it, since this user may not have it
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from pamqp import frame as frames
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Confirm
from pamqp.commands import Channel as ChannelCommands
from pamqp.header import ContentHeader

_ACCESS_REFUSED: Final = 403

UNREADABLE: Final = Basic.Properties()
"""The properties of a message that whoever published it gave such as are no AMQP; it is passed over."""

OnMessage = Callable[[Basic.Properties, bytes], None]
"""Takes the properties and the body of a message."""


class AmqpError(Exception):
    """The broker did not do what it was asked to."""


class ChannelClosed(AmqpError):
    """The broker closed the channel.

    Attributes:
        code: Its reason, as AMQP numbers them.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self._text = text

    def __str__(self) -> str:
        return f"{self.code}, {self._text}"


class ConnectionBroken(AmqpError):
    """The connection is gone, for the reason that it holds."""


class ConnectionRefused(ConnectionBroken):
    """The broker closed the connection: name and password are wrong, or the virtual host is not for this user."""


def is_refusal(error: AmqpError) -> bool:
    """Tell whether *error* says that this user may not do that."""
    return isinstance(error, ConnectionRefused) or (isinstance(error, ChannelClosed) and error.code == _ACCESS_REFUSED)


class Wire(Protocol):
    """The connection of a channel, as far as that needs it.

    Attributes:
        largest_body: Bytes of a message that one frame holds.
    """

    largest_body: int

    def write(self, data: bytes) -> None:
        """Send *data*; raises `ConnectionBroken`."""

    def forget(self, number: int) -> None:
        """Give up the channel of that *number*, which is closed."""


class Channel:
    """One of a connection's channels. Made by `BrokerConnection.channel`.

    Args:
        connection: Whose it is.
        number: Tells it from the others.
        on_end: Takes the reason for which nothing comes any more: the channel was closed, or the consumer cancelled
            because its queue is gone. May be called more than once.
    """

    def __init__(self, connection: Wire, number: int, on_end: Callable[[AmqpError], None]) -> None:
        self._connection = connection
        self._number = number
        self._on_end = on_end
        self._asked: tuple[Frame, asyncio.Future[Frame]] | None = None
        self._on_message: OnMessage | None = None
        self._on_return: Callable[[Basic.Properties], None] | None = None
        self._on_confirm: Callable[[int, bool, bool], None] | None = None
        self._returned = False
        self._header = ContentHeader()
        self._body: list[bytes] = []
        self._missing = 0
        self._published: dict[tuple[str, str], bytes] = {}
        self.closed = False

    async def ask(self, command: Frame) -> Frame:
        """Send *command* and return its answer. One at a time.

        Raises:
            ChannelClosed: If the broker closed the channel instead.
            ConnectionBroken: If the connection is gone.
        """
        if self.closed:
            raise ConnectionBroken("the channel is closed")
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._asked = (command, answer)
        self._connection.write(frames.marshal(command, self._number))
        try:
            return await answer
        finally:
            self._asked = None

    async def consume(self, queue: str, on_message: OnMessage) -> None:
        """Hand on the messages of *queue*, without acknowledging them; raises as `ask` does."""
        self._on_message = on_message
        await self.ask(Basic.Consume(queue=queue, no_ack=True))

    async def confirm(
        self, on_confirm: Callable[[int, bool, bool], None], on_return: Callable[[Basic.Properties], None]
    ) -> None:
        """Have the broker confirm what is published; raises as `ask` does.

        Args:
            on_confirm: Takes the number of a message since now, from 1; whether all before it are meant as well; and
                whether the broker took them.
            on_return: Takes the properties of a message that no queue took, before it is confirmed.
        """
        self._on_confirm, self._on_return = on_confirm, on_return
        await self.ask(Confirm.Select())

    def publish(self, exchange: str, routing_key: str, properties: Basic.Properties, body: bytes) -> None:
        """Send a message, to come back if no queue takes it."""
        to = (exchange, routing_key)
        command = self._published.get(to)
        if command is None:
            publish = Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
            command = self._published[to] = frames.marshal(publish, self._number)
        header = frames.marshal(ContentHeader(body_size=len(body), properties=properties), self._number)
        largest = self._connection.largest_body
        pieces = [body[at : at + largest] for at in range(0, len(body), largest)]
        content = [frames.marshal(ContentBody(piece), self._number) for piece in pieces]
        self._connection.write(b"".join((command, header, *content)))

    async def close(self) -> None:
        """Close it; raises as `ask` does."""
        if not self.closed:
            await self.ask(ChannelCommands.Close(reply_code=200, reply_text="", class_id=0, method_id=0))
            self._connection.forget(self._number)
            self.closed = True

    def take(self, method: Frame) -> None:
        """Take in a command of the broker's."""
        if isinstance(method, Basic.Return):
            self._returned = True
        elif isinstance(method, Basic.Ack | Basic.Nack):
            if self._on_confirm is not None:
                self._on_confirm(method.delivery_tag or 0, bool(method.multiple), isinstance(method, Basic.Ack))
        elif isinstance(method, Basic.Cancel):
            self._on_end(AmqpError("its queue was deleted"))
        elif isinstance(method, ChannelCommands.Close):
            self._connection.write(frames.marshal(ChannelCommands.CloseOk(), self._number))
            self._connection.forget(self._number)
            self.end(ChannelClosed(method.reply_code or 0, method.reply_text or ""))
        elif self._asked is not None and method.name in self._asked[0].valid_responses and not self._asked[1].done():
            self._asked[1].set_result(method)
        # Else it answers what nobody waits for any more.

    def take_header(self, header: ContentHeader) -> None:
        """Take in what the last command announced: the size and the properties of its content."""
        self._header = header
        self._missing = header.body_size
        if not self._missing:
            self._deliver()

    def take_body(self, piece: bytes) -> None:
        """Take in a part of the content."""
        self._missing -= len(piece)
        self._body.append(piece)
        if self._missing <= 0:
            self._deliver()

    def end(self, error: AmqpError) -> None:
        """Note that the channel is closed."""
        self.closed = True
        if self._asked is not None and not self._asked[1].done():
            self._asked[1].set_exception(error)
        self._on_end(error)

    def _deliver(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        if self._returned:
            self._returned = False
            if self._on_return is not None:
                self._on_return(self._header.properties)
        elif self._on_message is not None and self._header.properties is not UNREADABLE:
            try:
                self._on_message(self._header.properties, body)
            except Exception as error:  # noqa: BLE001 - a bug of whoever takes it must not cost the connection
                told = {"message": "taking a message failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(told)
