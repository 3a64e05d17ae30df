"""The answers of a channel: answer and acknowledgement leave in one write, and with them those of other calls."""

from collections.abc import Callable
from struct import Struct
from typing import Any

import amqp
import eventlet
from eventlet.semaphore import Semaphore

from beers_service.broker import BROKER_ERRORS
from beers_service.frames import Answer

_ACK = Struct(">BHLHHQBB")
_BASIC_CLASS, _ACK_METHOD, _METHOD, _END = 60, 80, 1, 0xCE


class Outflow:
    """All that is written to a connection: what one green thread writes stands in one piece, whatever others do.

    py-amqp's own frames go through it as well.
    """

    def __init__(self, connection: amqp.Connection) -> None:
        self._connection = connection
        self._write_frame = connection.frame_writer
        self._lock = Semaphore()
        connection.frame_writer = self._write_method

    def write(self, frames: bytes) -> None:
        """Write whole frames; raises one of `broker.BROKER_ERRORS`."""
        with self._lock:
            # To ask an ended connection for its transport would connect it anew.
            if not self._connection.connected:
                raise ConnectionResetError("the connection has ended")
            self._connection.transport.write(frames)
            # A sign of life, like the frames of py-amqp's writer.
            self._connection.bytes_sent += 1

    def _write_method(self, *frame: Any) -> None:
        with self._lock:
            self._write_frame(*frame)


class Answers:
    """Sends the answers to the messages of one channel.

    An answer leaves at once if no other call is in hand. Else it waits, for no longer than it takes those that end in
    the same turn of the hub to add theirs: calls that shared a commit are answered in one write.

    Args:
        channel: The channel that the messages came on.
        exchange: Where the answers go.
        failed: Told what went wrong if answers could not be sent, and how many.
    """

    def __init__(self, channel: amqp.Channel, exchange: str, failed: Callable[[Exception, int], None]) -> None:
        self._outflow = Outflow(channel.connection)
        self._channel = channel.channel_id
        self._frame_max = channel.connection.frame_max
        self._exchange = exchange
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
        self._frames.append(answer.frames(self._exchange, self._channel, self._frame_max))
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
        self._through = through
        # The broker knows no tag twice: the run is acknowledged by the last of it that has not been by itself.
        run = [tag for tag in self._settled if tag <= through]
        frames = [self._acknowledge(tag) for tag in self._settled if tag > through]
        if run:
            frames.append(self._acknowledge(max(run), all_before=True))
        return frames

    def _acknowledge(self, delivery_tag: int, *, all_before: bool = False) -> bytes:
        return _ACK.pack(_METHOD, self._channel, 13, _BASIC_CLASS, _ACK_METHOD, delivery_tag, all_before, _END)
