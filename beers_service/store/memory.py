"""The store in plain Python: what the others must behave like. For tests; nothing survives the process."""

import threading
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from beers_service.domain.beer import Beer
from beers_service.ports import BeerQuery, EventRecord, Head, Place, StoredAnswer, StoredEvent, fold_case, sort_key
from beers_service.store.codec import event_record


class MemoryStore:
    """Log, reader and relay cursor in one; see `ports`."""

    def __init__(self) -> None:
        self._head = Head(str(uuid.uuid4()), 0, 0, datetime(1970, 1, 1, tzinfo=UTC))
        self._former_logs: dict[str, int] = {}
        self._events: list[StoredEvent] = []
        self._beers: dict[int, Beer] = {}
        self._answers: dict[str, tuple[StoredAnswer, datetime]] = {}
        self._lock = threading.Lock()
        self._confirmed = 0
        self._committed = threading.Event()

    @contextmanager
    def transaction(self) -> Iterator["MemoryTransaction"]:
        """Begin a transaction; see `ports.EventLog`."""
        with self._lock:
            transaction = MemoryTransaction(self._head, self._beers, self._answers)
            yield transaction
            # Nothing of it is visible before this line, everything after it.
            self._events += transaction.events
            self._beers |= transaction.changed
            self._answers |= transaction.given
            self._head = transaction.new_head

    def forget_answers(self, before: datetime, limit: int) -> int:
        """Delete at most *limit* answers from before *before*; return how many they were."""
        with self._lock:
            old = sorted((at, request_id) for request_id, (_, at) in self._answers.items() if at < before)[:limit]
            for _, request_id in old:
                del self._answers[request_id]
            return len(old)

    def change_id(self, log_id: str) -> Head:
        """Give the log another id; see `ports.EventLog`."""
        with self._lock:
            before = self._head
            self._former_logs[before.log_id] = before.position
            self._head = replace(before, log_id=log_id)
            return before

    def head(self) -> Head:
        """Return where the log ends."""
        with self._lock:
            return self._head

    def former_logs(self) -> dict[str, int]:
        """Return the ids that the log had before; see `ports.BeerReader`."""
        with self._lock:
            return dict(self._former_logs)

    def beers(self, beer_ids: Collection[int]) -> dict[int, Beer]:
        """Return the beers that exist, removed ones included, by id."""
        with self._lock:
            return {beer_id: self._beers[beer_id] for beer_id in beer_ids if beer_id in self._beers}

    def page(self, query: BeerQuery) -> list[Beer]:
        """Return the beers that *query* asks for."""
        return [beer for beer in self._placed(query) if _matches(beer, query)][: query.limit]

    def reach(self, query: BeerQuery, count: int) -> Place | None:
        """Return the place of the last one of *count* beers; see `ports.BeerReader`."""
        everything = replace(query, query="", show_removed=True)
        found = [beer for beer in self._placed(query) if _matches(beer, everything)]
        return _key(found[count - 1], query.order) if len(found) > count else None

    def _placed(self, query: BeerQuery) -> list[Beer]:
        """Return all beers in the order of *query* and between its ends."""
        with self._lock:
            beers = list(self._beers.values())
        beers.sort(key=lambda beer: _key(beer, query.order), reverse=query.descending)
        first, last = (query.until, query.after) if query.descending else (query.after, query.until)
        within = [
            beer
            for beer in beers
            if (first is None or _key(beer, query.order) >= first) and (last is None or _key(beer, query.order) <= last)
        ]
        return [beer for beer in within if _key(beer, query.order) != query.after]

    def history(
        self, beer_id: int, after_version: int = 0, limit: int | None = None, until: int | datetime | None = None
    ) -> list[StoredEvent]:
        """Return the events of one beer, oldest first; see `ports.BeerReader`."""
        with self._lock:
            return [
                event
                for event in self._events
                if event.beer_id == beer_id and event.version > after_version and _happened(event, until)
            ][:limit]

    def events(
        self,
        after: int,
        limit: int,
        types: Collection[str] = (),
        beer_ids: Collection[int] = (),
        up_to: int | None = None,
    ) -> list[StoredEvent]:
        """Return the events after a position, oldest first; see `ports.BeerReader`."""
        with self._lock:
            return [
                event
                for event in self._events[after:up_to]
                if (not types or type(event.data).__name__ in types) and (not beer_ids or event.beer_id in beer_ids)
            ][:limit]

    def records(
        self,
        after: int,
        limit: int,
        types: Collection[str] = (),
        beer_ids: Collection[int] = (),
        up_to: int | None = None,
    ) -> list[EventRecord]:
        """Return the same as `events`, as records."""
        return [event_record(event) for event in self.events(after, limit, types, beer_ids, up_to)]

    def lead(self) -> int | None:
        """Return the confirmed position; see `ports.RelayCursor`."""
        return self._confirmed

    def advance(self, position: int) -> bool:
        """Record that the bus has everything up to *position*."""
        self._confirmed = position
        return True

    def resign(self) -> None:
        """Do nothing: there is only one relay."""

    def wait(self, timeout: float) -> None:
        """Wait until something was committed, for at most *timeout* seconds."""
        self._committed.wait(timeout)
        self._committed.clear()

    def wake(self) -> None:
        """End a wait."""
        self._committed.set()


class MemoryTransaction:
    """One transaction; see `ports.LogTransaction`."""

    def __init__(
        self, head: Head, beers: Mapping[int, Beer], answers: Mapping[str, tuple[StoredAnswer, datetime]]
    ) -> None:
        self.head = self.new_head = head
        self._beers = beers
        self._answers = answers
        self.events: Sequence[StoredEvent] = ()
        self.changed: Mapping[int, Beer] = {}
        self.given: dict[str, tuple[StoredAnswer, datetime]] = {}

    def answers(self, request_ids: Collection[str]) -> dict[str, StoredAnswer]:
        """Return the answers that are already there, by request id."""
        return {request_id: self._answers[request_id][0] for request_id in request_ids if request_id in self._answers}

    def beers(self, beer_ids: Collection[int]) -> dict[int, Beer]:
        """Return the beers that exist, removed ones included, by id."""
        return {beer_id: self._beers[beer_id] for beer_id in beer_ids if beer_id in self._beers}

    def append(
        self,
        head: Head,
        events: Sequence[StoredEvent],
        beers: Mapping[int, Beer],
        answers: Sequence[StoredAnswer],
        at: datetime,
    ) -> None:
        """Append *events*, store *beers* as they are after them, keep *answers*, and move the head."""
        self.new_head = head
        self.events = tuple(events)
        self.changed = dict(beers)
        self.given = {answer.request_id: (answer, at) for answer in answers}


def _happened(event: StoredEvent, until: int | datetime | None) -> bool:
    if isinstance(until, datetime):
        return event.time <= until
    return until is None or event.position <= until


def _matches(beer: Beer, query: BeerQuery) -> bool:
    if beer.removed_at is not None and not query.show_removed:
        return False
    name, brewery, style = (fold_case(text) for text in (beer.name, beer.brewery, beer.style))
    if query.brewery and brewery != fold_case(query.brewery):
        return False
    if query.style and style != fold_case(query.style):
        return False
    return any(fold_case(query.query) in text for text in (name, brewery, style))


def _key(beer: Beer, order: str) -> tuple[Any, int]:
    return sort_key(beer, order), beer.id
