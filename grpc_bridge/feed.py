"""The end of the log, kept here for all who watch: one tail of the bus in a process, however many watchers.

What lies in the ring a watcher takes from there; what is older is read from the service, page by page; at the end it
waits. What the bus does not bring (a message lost, a connection broken) leaves a gap in the positions, which is filled
from the service.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from structlog.typing import FilteringBoundLogger

from beers_runtime.topology import BRIDGE_FEED
from beers_runtime.topology import EVENTS_EXCHANGE as EXCHANGE
from grpc_bridge import presenting
from grpc_bridge.bus import Bus, backoff
from grpc_bridge.errors import CallFailed
from grpc_bridge.identifiers import identifiers
from grpc_bridge.link import LinkLost, LinkRefused
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1

RING = 4096
"""How many events are kept at most; a watcher that is further behind reads pages."""

RING_BYTES = 8 * 1024 * 1024
"""Bytes that these events hold at most, as they are sent."""

PAGE = 200
"""How many events one page holds."""

PAGES_AT_ONCE = 4
"""How many pages are read at the same time, for all watchers together: they are what catching up costs in memory."""

_ENDS = 16

AT_ONCE = 100
"""How many events of the ring are handed out at once, at most."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it is sent: its place, what filters go by, the message and its size in bytes."""

    position: int
    beer_id: int
    type: str
    message: v1.BeerEvent
    size: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are wanted: those of these types and of these beers; empty stands for all."""

    types: frozenset[str] = frozenset()
    beer_ids: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        """Whether it keeps anything out."""
        return bool(self.types or self.beer_ids)

    def wants(self, event: Event) -> bool:
        """Tell whether *event* is wanted."""
        return (not self.types or event.type in self.types) and (not self.beer_ids or event.beer_id in self.beer_ids)


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log ends, as the service told: its id, and the position of its last event."""

    log_id: str
    position: int


class Feed:
    """Follows the log for watchers. `run` keeps it going; it listens to the bus only while somebody watches.

    Args:
        bus: The way to the service and to the broker.
        logger: Where troubles are told.
        patience: Seconds that a page may take, and the tail to be ready.
    """

    def __init__(self, bus: Bus, logger: FilteringBoundLogger, *, patience: float) -> None:
        self._bus = bus
        self._logger = logger
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._identifier = identifiers()
        self._log_id = ""
        self._ring: deque[Event] = deque()
        self._size = 0  # of the ring's events, in bytes
        self._end = 0  # the position of the ring's last event, or of the one before its first
        self._target = 0  # up to which the ring is to be filled from the service
        self._last_pong = 0  # the head as the ping before last told it
        self._ends: deque[tuple[float, int]] = deque(maxlen=_ENDS)  # how far the ring reached, and when
        self._edition = 0
        self._pages = asyncio.Semaphore(PAGES_AT_ONCE)
        self._watchers = 0
        self._watched = asyncio.Event()
        self._abandoned = asyncio.Event()
        self._ready = asyncio.Event()
        self._gap = asyncio.Event()
        self._changed = asyncio.Event()
        self._draining = False
        bus.on_pong(self._on_pong)

    @property
    def start(self) -> int:
        """The position behind which the ring begins; who is before it reads pages."""
        return self._end - len(self._ring)

    @property
    def end(self) -> int:
        """How far the ring reaches."""
        return self._end

    @property
    def lag(self) -> int:
        """How many events of the log the ring lacks, as far as the last ping told; 0 while nobody watches."""
        return max(0, self._last_pong - self._end) if self._ready.is_set() else 0

    async def run(self) -> None:
        """Follow the bus whenever there are watchers, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_always())
            tasks.create_task(self._fill_always())

    def drain(self) -> None:
        """End every watch, and refuse new ones: the server is stopping."""
        self._draining = True
        self._wake()
        self._ready.set()  # also for those who wait for the broker

    async def head(self) -> Head:
        """Return where the log ends now; raises `CallFailed` if the service does not say."""
        pong = await self._call("ping", {})
        return Head(pong["log_id"], pong["head"])

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[int]:
        """Have the feed follow the log within the block.

        Yields:
            The log's edition, for `next`: the positions of one mean nothing in another.

        Raises:
            CallFailed: If the broker is away for longer than our patience.
        """
        self._watchers += 1
        self._abandoned.clear()
        self._watched.set()
        try:
            if not await _within(self._patience, self._ready):
                raise CallFailed("BrokerUnavailable", (), "the message broker is away; try again")
            yield self._edition
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._watched.clear()
                self._abandoned.set()

    async def next(self, edition: int, position: int, wanted: Filter, seconds: float) -> tuple[Sequence[Event], int]:
        """Return what is wanted of the events after *position*, and up to where that is all.

        Where nothing has happened after it, wait for that; what comes back after so many *seconds* without is the
        position itself.

        Args:
            edition: The log's edition when the watch began.
            position: In that log.
            wanted: Which events.
            seconds: How long to wait.

        Raises:
            CallFailed: If the server stops, the service does not answer, or it has another log now.
        """
        self._require_open(edition, position)
        if position >= self._end and not await _within(seconds, self._changed):
            return (), position
        self._require_open(edition, position)
        if position >= self._end:  # something else has changed
            return (), position
        if position < self.start:
            return await self._page(position, wanted)
        first = position - self.start
        events = [self._ring[index] for index in range(first, min(first + AT_ONCE, len(self._ring)))]
        return [event for event in events if wanted.wants(event)] if wanted else events, events[-1].position

    async def _page(self, after: int, wanted: Filter) -> tuple[Sequence[Event], int]:
        """Read events from the service: those behind *after*, and up to where they are all that is wanted."""
        kwargs = {"after": after, "limit": PAGE, "types": sorted(wanted.types), "beer_ids": sorted(wanted.beer_ids)}
        async with self._pages:
            page = await self._call("events", kwargs, rows=PAGE)
        through: int = page["through"]
        if through <= after:
            raise CallFailed("MalformedReply", (), f"a page of events after {after} that ends at {through}")
        return [_event(envelope) for envelope in page["events"]], through

    async def _call(self, method: str, kwargs: dict[str, Any], rows: int = 1) -> Any:
        deadline = self._loop.time() + self._patience
        return await self._bus.call(method, kwargs, deadline=deadline, correlation_id=self._identifier(), rows=rows)

    def _require_open(self, edition: int, position: int) -> None:
        if self._draining:
            raise CallFailed("ServiceStopping")
        if edition != self._edition:
            why = "the catalogue has another log now, or an older copy of this one"
            raise out_of_range(position, Head(self._log_id, self._end), why)

    # ── Filling the ring ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _follow_always(self) -> None:
        attempts = 0
        while True:
            await self._watched.wait()
            try:
                await self._follow()
            except (LinkLost, CallFailed) as failure:
                tell = self._logger.error if isinstance(failure, LinkRefused) else self._logger.warning
                tell("the feed is interrupted", reason=str(failure) or type(failure).__name__)
                await asyncio.sleep(backoff(attempts))
                attempts += 1
            else:
                attempts = 0

    async def _follow(self) -> None:
        """Take in what the bus brings, until nobody watches or the connection is lost."""
        link = await self._bus.linked()
        async with link.follow(EXCHANGE, f"{BRIDGE_FEED}{self._identifier()}", self._take) as ended:
            # Only now that the bus brings what is new.
            await self._find_end()
            abandoned = self._loop.create_task(self._abandoned.wait())
            either: list[asyncio.Future[Any]] = [abandoned, ended]
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                abandoned.cancel()
                self._ready.clear()

    async def _find_end(self) -> None:
        head = await self.head()
        if head.log_id != self._log_id or head.position < self._end:
            self._begin_edition(head)
        self._behind(head.position)
        self._ready.set()

    def _begin_edition(self, head: Head) -> None:
        """Forget the log that there was: the service has another one, or has lost the end of this one."""
        if self._log_id:
            self._logger.warning("the catalogue has another log now", log_id=head.log_id, head=head.position)
        self._log_id = head.log_id
        self._edition += 1
        self._restart(head.position)

    def _restart(self, end: int) -> None:
        """Begin an empty ring behind the position *end*."""
        self._ring.clear()
        self._size = 0
        self._end = self._target = self._last_pong = end
        self._ends.clear()
        self._wake()

    def _take(self, body: bytes) -> None:
        """Take in a message of the bus: the next event, one that was told before, or one behind a gap."""
        try:
            envelope = orjson.loads(body)
            log_id, _, _ = envelope["id"].rpartition(":")
            event = _event(envelope) if envelope["position"] == self._end + 1 else None
            position = int(envelope["position"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self._logger.warning("a message on the bus is no event", error=type(error).__name__)
            return
        if not self._log_id or log_id != self._log_id:
            return  # a ping will tell which log it is
        if event is not None:
            self._append(event)
            self._wake()
        else:
            self._behind(position)

    def _append(self, event: Event) -> None:
        while self._ring and (len(self._ring) == RING or self._size + event.size > RING_BYTES):
            self._size -= self._ring.popleft().size
        self._ring.append(event)
        self._size += event.size
        self._end = event.position

    def _behind(self, target: int) -> None:
        """Have the ring filled up to *target*, if it does not reach so far."""
        if target > self._end:
            self._target = max(self._target, target)
            self._gap.set()

    def _on_pong(self, pong: Mapping[str, Any], asked_at: float) -> None:
        """Look whether the log has got ahead of us, or is another one, at every ping."""
        if not self._ready.is_set():
            return
        head = Head(pong["log_id"], pong["head"])
        # A log does not get shorter, unless an older copy of the store has been put in its place.
        known = max((end for at, end in self._ends if at <= asked_at), default=0)
        if head.log_id != self._log_id or head.position < known:
            self._begin_edition(head)
        # What the last one told, the bus has had time to bring.
        self._behind(self._last_pong)
        self._last_pong = head.position
        self._ends.append((self._loop.time(), self._end))

    async def _fill_always(self) -> None:
        attempts = 0
        while True:
            await self._gap.wait()
            self._gap.clear()
            try:
                await self._fill()
            except CallFailed as failure:
                self._logger.warning("a gap in the feed is still open", after=self._end, reason=failure.name)
                await asyncio.sleep(backoff(attempts))
                attempts += 1
                self._gap.set()
            else:
                attempts = 0

    async def _fill(self) -> None:
        # What somebody puts on the bus need not be true.
        self._target = min(self._target, (await self.head()).position)
        while self._end < self._target:
            if self._target - self._end > RING:
                # More than the ring holds: whoever is behind reads pages.
                self._restart(self._target)
                return
            events, _ = await self._page(self._end, Filter())
            for event in events:
                if event.position == self._end + 1:  # the bus may have been quicker
                    self._append(event)
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _event(envelope: Mapping[str, Any]) -> Event:
    message = presenting.event(envelope)
    return Event(envelope["position"], envelope["beer_id"], envelope["type"], message, message.ByteSize())


def out_of_range(position: int, head: Head, why: str) -> CallFailed:
    """Return the failure of a watch that cannot begin, or go on, behind *position*."""
    message = f"{why}; this log is {head.log_id} and ends at {head.position}"
    return CallFailed("PositionOutOfRange", (str(position), str(head.position), head.log_id), message)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Wait for *event*; return whether it came in time."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
