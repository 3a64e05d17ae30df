"""What one watcher is told: the steps of a watch, from a position on, as WatchBeersResponses.

A watcher holds nothing but its position. So a slow one costs a page of events and not a queue, and there is no
hand-over between catching up and following.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from grpc_bridge.errors import invalid_field
from grpc_bridge.feed import AT_ONCE, Event, Feed, Filter, Head, out_of_range
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1

_LONGEST_POSITION = 19  # digits
_LARGEST = 256 * 1024
_SHARED = 64


class Watches:
    """Watches of a feed; what several watchers are told alike is put into bytes once.

    Args:
        feed: Where the events come from.
        checkpoint_interval: Seconds after which a watcher that was told nothing is told how far it has come.

    Attributes:
        positions: How far each watcher has come.
        told: How many events they were told, all together.
    """

    def __init__(self, feed: Feed, *, checkpoint_interval: float) -> None:
        self._feed = feed
        self._checkpoint_interval = checkpoint_interval
        self._loop = asyncio.get_running_loop()
        self.positions: dict[object, int] = {}
        self.told = 0
        self._shared: dict[tuple[int, int, int, int], bytes] = {}

    async def watch(self, head: Head, after: int, wanted: Filter) -> AsyncGenerator[bytes, None]:
        """Yield responses, serialized, from behind the position *after* on, for ever.

        Args:
            head: Where the log ended when the watch began.
            after: A position in that log.
            wanted: What is to be told.

        Raises:
            CallFailed: If the server stops, the service does not answer, or it has another log now.
        """
        position, caught_up = after, False
        due = self._loop.time() + self._checkpoint_interval
        async with self._feed.watched() as edition, self._counted() as watcher:
            while True:
                self.positions[watcher] = position
                if not caught_up and position >= head.position:
                    caught_up = True
                    yield _response(head.log_id, position, caught_up=v1.CaughtUp(position=position))
                else:
                    events, through = await self._feed.next(edition, position, wanted, due - self._loop.time())
                    for part in _parts(events):
                        position = through if part[-1] is events[-1] else part[-1].position
                        self.told += len(part)
                        yield self._told(edition, head.log_id, position, part)
                    position = through
                    if not events:
                        if self._loop.time() < due:
                            continue
                        yield _response(head.log_id, position, checkpoint=v1.Checkpoint(position=position))
                due = self._loop.time() + self._checkpoint_interval

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[object]:
        """Yield what stands for a watcher in `positions` within the block."""
        watcher = object()
        try:
            yield watcher
        finally:
            self.positions.pop(watcher, None)

    def _told(self, edition: int, log_id: str, through: int, events: Sequence[Event]) -> bytes:
        """Return the response with *events*, made once for all watchers that are told the same."""
        key = (edition, events[0].position, len(events), through)
        response = self._shared.get(key)
        if response is None:
            told = v1.BeerEvents(events=[event.message for event in events])
            response = _response(log_id, through, events=told)
            # Only what has no holes is told to others as well.
            if through - events[0].position == len(events) - 1:
                if len(self._shared) == _SHARED:
                    self._shared.clear()
                self._shared[key] = response
        return response


def resume_token(log_id: str, position: int) -> str:
    """Return what resumes a watch behind *position*: the id of the event there."""
    return f"{log_id}:{position}"


def position_of(token: str, head: Head) -> int:
    """Return the position behind which *token* resumes.

    Raises:
        CallFailed: If it is no token, or one of another log than that of *head*.
    """
    log_id, _, position = token.rpartition(":")
    if not log_id or not position.isascii() or not position.isdecimal() or len(position) > _LONGEST_POSITION:
        reason = "is no resume token; take it from a response, or the id of an event"
        raise invalid_field("resume_token", reason)
    if log_id != head.log_id:
        raise out_of_range(int(position), head, f"resume_token belongs to another log, {log_id}")
    return int(position)


def _parts(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Yield *events* in responses that are not too large; none is empty."""
    start = size = 0
    for index, event in enumerate(events):
        if index > start and (size + event.size > _LARGEST or index - start == AT_ONCE):
            yield events[start:index]
            start, size = index, 0
        size += event.size
    if events:
        yield events[start:]


def _response(log_id: str, position: int, **response: Any) -> bytes:
    return v1.WatchBeersResponse(resume_token=resume_token(log_id, position), **response).SerializeToString()
