"""Frames come many at a time and are handed on one by one; answers leave many at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from struct import pack, unpack_from

import amqp
import eventlet
import pytest
from amqp import spec
from hypothesis import given
from hypothesis import strategies as st

from beers_service.answers import Answers, Outflow
from beers_service.frames import Answer
from beers_service.inflow import Inflow

FRAME = st.tuples(st.integers(1, 8), st.integers(0, 9), st.binary(max_size=40))


class Socket:
    """Gives what it was given, in chunks."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def recv(self, _size: int) -> bytes:
        return self._chunks.pop(0) if self._chunks else b""


class Transport:
    """Keeps what is written; a full one lets others run in the middle of a write, and a broken one takes nothing."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._socket = Socket(chunks)
        self.writes: list[bytes] = []
        self.bytes = b""
        self.full = self.broken = False

    @contextmanager
    def having_timeout(self, _timeout: float | None) -> Iterator[Socket]:
        yield self._socket

    def write(self, data: bytes) -> None:
        if self.broken:
            raise BrokenPipeError("broken")
        self.writes.append(data)
        self.bytes += data[:1]
        if self.full:
            eventlet.sleep(0)
        self.bytes += data[1:]


class Connection:
    """A connection of py-amqp, as far as it is used here."""

    frame_max = 4096

    def __init__(self, chunks: list[bytes] | None = None) -> None:
        self.transport = Transport(chunks or [])
        self.connected = True
        self.bytes_sent = 0
        self.frames: list[tuple[int, int, bytes]] = []

    def on_inbound_frame(self, frame: tuple[int, int, bytes]) -> bool:
        self.frames.append(frame)
        return True

    def frame_writer(self, *frame: bytes) -> None:
        self.transport.write(b"".join(frame))


class Channel:
    """A channel of such a connection."""

    channel_id = 3

    def __init__(self) -> None:
        self.connection = Connection()


def framed(kind: int, channel: int, payload: bytes) -> bytes:
    return pack(">BHL", kind, channel, len(payload)) + payload + b"\xce"


@given(frames=st.lists(FRAME, max_size=8), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_every_frame_is_handed_on_however_the_bytes_are_cut(
    frames: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    data = b"".join(framed(*frame) for frame in frames)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    chunks = [data[start:end] for start, end in pairwise(places)]
    connection = Connection(list(chunks))
    inflow = Inflow(connection)  # type: ignore[arg-type] # a fake
    for _ in chunks:
        inflow.drain()
    assert connection.frames == frames
    with pytest.raises(ConnectionResetError):
        inflow.drain()


def test_what_is_no_frame_ends_the_connection() -> None:
    inflow = Inflow(Connection([pack(">BHL", 1, 0, 1) + b"xx"]))  # type: ignore[arg-type] # a fake
    with pytest.raises(amqp.exceptions.UnexpectedFrame):
        inflow.drain()


def test_what_one_green_thread_writes_stands_in_one_piece() -> None:
    connection = Connection()
    connection.transport.full = True
    outflow = Outflow(connection)  # type: ignore[arg-type] # a fake
    threads = [eventlet.spawn(outflow.write, b"aaa"), eventlet.spawn(connection.frame_writer, b"bbb")]
    for thread in threads:
        thread.wait()
    assert connection.transport.bytes == b"aaabbb"


def told(write: bytes) -> Iterator[str]:
    """Yield what each frame of a write says: a body, or what it acknowledges."""
    while write:
        kind, _, size = unpack_from(">BHL", write)
        payload, write = write[7 : 7 + size], write[8 + size :]
        if kind == 3:
            yield payload.decode()
        elif kind == 1 and unpack_from(">HH", payload) == spec.Basic.Ack:
            tag, multiple = unpack_from(">QB", payload, 4)
            yield f"{'up to ' if multiple else ''}{tag}"


def answer(text: str) -> Answer:
    return Answer(text.encode(), "me")


class Desk:
    """Answers on a channel, the writes that they make, and the failures that were told."""

    def __init__(self, messages: int) -> None:
        channel = Channel()
        self.transport = channel.connection.transport
        self.failures: list[tuple[str, int]] = []
        self.answers = Answers(channel, "nameko-rpc", self._fail)  # type: ignore[arg-type] # a fake
        for _ in range(messages):
            self.answers.expect()

    def _fail(self, error: Exception, number: int) -> None:
        self.failures.append((str(error), number))

    def writes(self) -> list[list[str]]:
        eventlet.sleep(0)
        return [list(told(write)) for write in self.transport.writes]


def test_the_answer_to_the_only_call_leaves_at_once_with_its_acknowledgement() -> None:
    desk = Desk(1)
    desk.answers.give(1, answer("a"))
    assert [list(told(write)) for write in desk.transport.writes] == [["a", "up to 1"]]


def test_answers_that_are_given_in_the_same_turn_leave_in_one_write() -> None:
    desk = Desk(4)
    for tag, text in ((1, "a"), (2, "b"), (3, "c")):
        desk.answers.give(tag, answer(text))
    assert not desk.transport.writes
    assert desk.writes() == [["a", "b", "c", "up to 3"]]


def test_no_call_is_acknowledged_before_it_is_answered() -> None:
    desk = Desk(4)
    desk.answers.give(3, answer("c"))
    assert desk.writes() == [["c", "3"]]
    desk.answers.give(1, answer("a"))
    assert desk.writes()[1:] == [["a", "up to 1"]]
    desk.answers.settle(4)
    desk.answers.give(2, answer("b"))
    assert desk.writes()[2:] == [["b", "up to 4"]]


@given(st.permutations(range(1, 13)), st.sets(st.integers(1, 12)))
def test_in_whatever_order_calls_end_each_is_acknowledged_once(order: list[int], pauses: set[int]) -> None:
    desk = Desk(len(order) + 1)
    for tag in order:
        desk.answers.settle(tag)
        if tag in pauses:
            desk.writes()
    unacknowledged = set(order)
    for said in (line for write in desk.writes() for line in write):
        tag = int(said.removeprefix("up to "))
        assert tag in unacknowledged  # RabbitMQ closes the channel over any other, also over one of a run
        unacknowledged -= set(range(1, tag + 1)) if said.startswith("up to ") else {tag}
    assert not unacknowledged


def test_answers_that_cannot_be_sent_are_told_of() -> None:
    desk = Desk(2)
    desk.transport.broken = True
    desk.answers.give(1, answer("a"))
    desk.answers.give(2, answer("b"))
    assert desk.failures == [("broken", 2)]
