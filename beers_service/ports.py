"""What the core needs from outside: an event log, reads of it, somebody who publishes.

The adapters are in `store` (SQL and plain Python) and in `publisher`. Every method may raise `StoreUnavailable`;
foreign errors do not pass.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from beers_service.domain.beer import Beer
from beers_service.domain.events import BeerEvent


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event with its place in the log.

    Attributes:
        position: Its place among all events: 1, 2, 3 and so on, without a gap, in the order of the commits.
        beer_id: The beer that it happened to.
        version: The beer's version once it had happened.
        time: When it was committed, in UTC; never earlier than the event before it.
        request_id: The request that caused it.
        correlation_id: The conversation that the request was part of.
        data: What happened.
        traceparent: The trace that the request was part of, as W3C Trace Context writes it; None if there was none.
        actor: Who made the request, as others know them; None if nobody said.
    """

    position: int
    beer_id: int
    version: int
    time: datetime
    request_id: str
    correlation_id: str
    data: BeerEvent
    traceparent: str | None = None
    actor: str | None = None


class EventRecord(NamedTuple):
    """An event in the form in which it is kept and told: what of `StoredEvent` needs no domain to be understood.

    Attributes:
        position: As in `StoredEvent`.
        beer_id: As in `StoredEvent`.
        version: As in `StoredEvent`.
        type: The name of its type.
        schema: The version of its payload.
        time: In whole microseconds since 1970.
        request_id: As in `StoredEvent`.
        correlation_id: As in `StoredEvent`.
        traceparent: As in `StoredEvent`.
        data: Its payload, in JSON.
        actor: As in `StoredEvent`.
    """

    position: int
    beer_id: int
    version: int
    type: str
    schema: int
    time: int
    request_id: str
    correlation_id: str
    traceparent: str | None
    data: str
    actor: str | None


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What became of a request.

    Attributes:
        request_id: The request.
        fingerprint: Tells the command from every other one.
        beers: The id and version of each beer of the answer: the log folds back to the beers as they were then.
        refusal: The name and arguments of the error that it ended in; None if it was accepted.
    """

    request_id: str
    fingerprint: str
    beers: tuple[tuple[int, int], ...]
    refusal: tuple[str, tuple[str, ...]] | None


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log ends: what the next event follows.

    Attributes:
        log_id: Tells this log from every other one, also from the one that it was restored from.
        position: The position of the last event; 0 if there is none.
        last_beer_id: The highest beer id that was given away.
        time: The time of the last event.
    """

    log_id: str
    position: int
    last_beer_id: int
    time: datetime


class LogTransaction(Protocol):
    """One transaction on the log. Whoever is in it is the only one to append."""

    @property
    def head(self) -> Head:
        """The head, locked until the end of the transaction."""
        ...

    def answers(self, request_ids: Collection[str]) -> dict[str, StoredAnswer]:
        """Return the answers that are already there, by request id."""
        ...

    def beers(self, beer_ids: Collection[int]) -> dict[int, Beer]:
        """Return the beers that exist, removed ones included, by id."""
        ...

    def append(
        self,
        head: Head,
        events: Sequence[StoredEvent],
        beers: Mapping[int, Beer],
        answers: Sequence[StoredAnswer],
        at: datetime,
    ) -> None:
        """Append *events*, store *beers* as they are after them, keep *answers*, and move the head."""
        ...


class EventLog(Protocol):
    """The only way to write."""

    def transaction(self) -> AbstractContextManager[LogTransaction]:
        """Begin a transaction, which commits at the end of the block and rolls back if the block raises.

        Raises:
            StoreUnavailable: If nothing was committed.
            OutcomeUnknown: If the store went away during the commit; its argument is empty.
        """
        ...

    def forget_answers(self, before: datetime, limit: int) -> int:
        """Delete at most *limit* answers from before *before*; return how many they were."""
        ...

    def change_id(self, log_id: str) -> Head:
        """Give the log another id, and keep the one that it had; return its head, with the one that it had."""
        ...


Place = tuple[int | float | str, int]
"""Where a beer stands in an order: its sort key, and its id for those with the same one."""


@dataclass(frozen=True, slots=True)
class BeerQuery:
    """Which beers to list, and in which order.

    Attributes:
        query: Text that the name, brewery or style contains, upper and lower case alike; empty: any.
        brewery: The brewery, upper and lower case alike; empty: any.
        style: The style, upper and lower case alike; empty: any.
        order: One of `ORDERS`.
        descending: From the end of that order to its start.
        show_removed: Removed beers as well.
        limit: At most this many.
        after: The place of the beer before the first one; None to start at the beginning.
        until: The place of the last beer to look at; None to go on to the end.
    """

    query: str
    brewery: str
    style: str
    order: str
    descending: bool
    show_removed: bool
    limit: int
    after: Place | None
    until: Place | None = None


ORDERS = ("id", "name", "abv")


def fold_case(text: str) -> str:
    """Return *text* for comparing and ordering regardless of upper and lower case."""
    return text.casefold()


def sort_key(beer: Beer, order: str) -> int | float | str:
    """Return what *beer* is sorted by in one of `ORDERS`; an unknown abv comes before all others."""
    match order:
        case "name":
            return fold_case(beer.name)
        case "abv":
            return -1.0 if beer.abv is None else beer.abv
        case _:
            return beer.id


class BeerReader(Protocol):
    """Reads of what was committed."""

    def head(self) -> Head:
        """Return where the log ends."""
        ...

    def former_logs(self) -> dict[str, int]:
        """Return the ids that the log had before, each with the position of the last event that is of that log too."""
        ...

    def beers(self, beer_ids: Collection[int]) -> dict[int, Beer]:
        """Return the beers that exist, removed ones included, by id."""
        ...

    def page(self, query: BeerQuery) -> list[Beer]:
        """Return the beers that *query* asks for."""
        ...

    def reach(self, query: BeerQuery, count: int) -> Place | None:
        """Return the place of the last one of *count* beers, as they come in the order of *query* after its start.

        Its text is not looked for, and removed beers count. None if there are no more beers than that.
        """
        ...

    def history(
        self, beer_id: int, after_version: int = 0, limit: int | None = None, until: int | datetime | None = None
    ) -> list[StoredEvent]:
        """Return the events of one beer, oldest first.

        Args:
            beer_id: The beer.
            after_version: Only those after this version.
            limit: At most this many; None: all.
            until: Only those up to this position of the log or this time, itself included; None: all.
        """
        ...

    def events(
        self,
        after: int,
        limit: int,
        types: Collection[str] = (),
        beer_ids: Collection[int] = (),
        up_to: int | None = None,
    ) -> list[StoredEvent]:
        """Return the events after a position, oldest first.

        Args:
            after: The position.
            limit: At most this many.
            types: Only those of these types, if there are any.
            beer_ids: Only those of these beers, if there are any.
            up_to: None behind this position.
        """
        ...

    def records(
        self,
        after: int,
        limit: int,
        types: Collection[str] = (),
        beer_ids: Collection[int] = (),
        up_to: int | None = None,
    ) -> list[EventRecord]:
        """Return the same as `events`, as records; each payload in the version that its type has now."""
        ...


class EventPublisher(Protocol):
    """Tells the bus."""

    def publish(self, events: Sequence[EventRecord]) -> None:
        """Publish *events* in order and return once the bus has taken responsibility for every one of them.

        Raises:
            PublishingFailed: If it has not for at least one; any of them may have been published.
        """
        ...

    def keep_alive(self) -> None:
        """Do what the connection needs while there is nothing to publish; called once a second or so.

        Raises:
            PublishingFailed: If it may not do that.
        """
        ...

    def close(self) -> None:
        """Let go of the bus without waiting for it."""
        ...


class PublishingFailed(Exception):
    """The bus did not confirm every event. Args: why.

    Attributes:
        refused: Whether that was its answer; else it gave none, or could not be asked.
    """

    def __init__(self, why: str, *, refused: bool = False) -> None:
        super().__init__(why)
        self.refused = refused


class RelayCursor(Protocol):
    """Remembers up to which position the bus has everything, for the one relay that leads."""

    def lead(self) -> int | None:
        """Become the leader if nobody else is; return the confirmed position, or None if somebody else leads."""
        ...

    def advance(self, position: int) -> bool:
        """Record that the bus has everything up to *position*; return False if this relay leads no more."""
        ...

    def resign(self) -> None:
        """Let somebody else lead; this cursor is of no further use."""
        ...

    def wait(self, timeout: float) -> None:
        """Wait until something may have been committed, here or elsewhere, for at most *timeout* seconds."""
        ...

    def wake(self) -> None:
        """End a wait: something was committed here."""
        ...
