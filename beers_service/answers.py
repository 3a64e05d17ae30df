"""The answers of a channel: answer and acknowledgement leave in one write, and with them those of other calls."""

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

import amqp
import eventlet

from beers_service.broker import BROKER_ERRORS
from beers_service.flows import Outflow

# AMQP 0-9-1, section 4.2 of its specification.
_METHOD, _HEADER, _BODY, _END = 1, 2, 3, b"\xce"
_OVERHEAD = 8  # bytes of a frame besides its payload
_BASIC_CLASS, _PUBLISH_METHOD, _ACK_METHOD = 60, 40, 80
_CONTENT_TYPE, _CONTENT_ENCODING, _DELIVERY_MODE, _CORRELATION_ID = 0x8000, 0x4000, 0x1000, 0x0400

_frame = Struct(">BHL")
_publish = Struct(">HHH")
_content = Struct(">BHLHHQH")  # the start of a header frame, up to the flags of the properties
_content_size = 2 + 2 + 8 + 2
_ack = Struct(">BHLHHQBB")
_ack_size = 2 + 2 + 8 + 1


class Answer(NamedTuple):
    """What is sent to a caller.

    Attributes:
        body: JSON.
        reply_to: The routing key by which his queue is found.
        correlation_id: Tells him which call it answers; None if that had none.
        delivery_mode: 2 if it is to survive the broker's end, else 1.
    """

    body: bytes
    reply_to: str
    correlation_id: str | None
    delivery_mode: int


class Answers:
    """Sends the answers to the messages of one channel.

    An answer leaves at once if no other call is in hand. Else it waits, for no longer than it takes those that end in
    the same turn of the hub to add theirs: calls that shared a commit are answered in one write.

    Args:
        channel: The channel that the messages came on.
        exchange: Where answers are sent to.
        failed: Told what went wrong if answers could not be sent, and how many.
    """

    def __init__(self, channel: amqp.Channel, exchange: str, failed: Callable[[Exception, int], None]) -> None:
        self._outflow = Outflow(channel.connection)
        self._channel = channel.channel_id
        self._exchange = exchange
        self._frame_max = channel.connection.frame_max
        self._failed = failed
        self._in_hand = 0
        self._frames: list[bytes] = []
        self._settled: list[int] = []
        self._flushing = False
        # Delivery tags count from 1. All up to this one are acknowledged, and those of the others that are.
        self._through = 0
        self._ahead: set[int] = set()

    def expect(self) -> None:
        """Say that a message has come that will be answered."""
        self._in_hand += 1

    def give(self, delivery_tag: int, answer: Answer) -> None:
        """Send *answer* and acknowledge the message that it answers. It never raises: see *failed*."""
        self._frames.append(self._encode(answer))
        self.settle(delivery_tag)

    def settle(self, delivery_tag: int) -> None:
        """Acknowledge a message that nobody is to be answered."""
        self._settled.append(delivery_tag)
        self._in_hand -= 1
        if self._in_hand <= 0:
            self._flush()
        elif not self._flushing:
            self._flushing = True
            eventlet.spawn_n(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        number = len(self._settled)
        if not number:
            return
        frames = self._frames
        # Behind the answers: whoever reads a part of the write repeats a call, which is better than to lose an answer.
        frames += self._acknowledgements()
        self._frames, self._settled = [], []
        try:
            self._outflow.write(b"".join(frames))
        except BROKER_ERRORS as broken:
            self._failed(broken, number)

    def _acknowledgements(self) -> list[bytes]:
        """Acknowledge what is settled: an unbroken run from the beginning with one frame, the others one by one."""
        self._ahead.update(self._settled)
        through = self._through
        while through + 1 in self._ahead:
            through += 1
            self._ahead.remove(through)
        frames = [self._acknowledge(tag) for tag in self._settled if tag > through]
        if through > self._through:
            self._through = through
            frames.append(self._acknowledge(through, all_before=True))
        return frames

    def _acknowledge(self, delivery_tag: int, *, all_before: bool = False) -> bytes:
        return _ack.pack(
            _METHOD, self._channel, _ack_size, _BASIC_CLASS, _ACK_METHOD, delivery_tag, all_before, _END[0]
        )

    def _encode(self, answer: Answer) -> bytes:
        body, reply_to, correlation_id, delivery_mode = answer
        flags = _CONTENT_TYPE | _CONTENT_ENCODING | _DELIVERY_MODE
        properties = _FORM + bytes((delivery_mode,))
        if correlation_id is not None:
            flags |= _CORRELATION_ID
            properties += _short(correlation_id)
        size, largest = len(body), self._frame_max - _OVERHEAD
        parts = [
            _publishing(self._channel, self._exchange, reply_to),
            _content.pack(_HEADER, self._channel, _content_size + len(properties), _BASIC_CLASS, 0, size, flags),
            properties,
            _END,
        ]
        for start in range(0, size, largest):
            chunk = body[start : start + largest]
            parts += (_frame.pack(_BODY, self._channel, len(chunk)), chunk, _END)
        return b"".join(parts)


@lru_cache(maxsize=256)
def _publishing(channel: int, exchange: str, routing_key: str) -> bytes:
    payload = _publish.pack(_BASIC_CLASS, _PUBLISH_METHOD, 0) + _short(exchange) + _short(routing_key) + b"\0"
    return _frame.pack(_METHOD, channel, len(payload)) + payload + _END


def _short(text: str) -> bytes:
    """Return *text*, which came over AMQP and so is short enough to go back."""
    encoded = text.encode()
    return bytes((len(encoded),)) + encoded


_FORM = _short("application/json") + _short("utf-8")
