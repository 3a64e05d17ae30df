"""What a subscriber has done, in its own database, so that an effect and its being done commit together.

A consumer's *mark* is the position up to which everything is done. Beyond it, and for what is still to be done below
it, there is a row per event; a row that says no more than the mark is deleted. So the inbox stays as small as the
disorder of the moment.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any

import orjson
from psycopg2.extensions import TRANSACTION_STATUS_INTRANS
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.event import listen
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from beers_service.domain.errors import StoreUnavailable
from beers_service.store.engine import reading, writing
from beers_service.subscriber.arrivals import Event, event_told

metadata = MetaData()

_Big = BigInteger().with_variant(Integer, "sqlite")

consumers = Table(
    "beers_inbox_consumers",
    metadata,
    Column("consumer", String(200), primary_key=True),
    Column("log_id", String(100), nullable=False),
    Column("mark", _Big, nullable=False),
)

DONE, WAITING, PARKED, DEAD = "done", "waiting", "parked", "dead"
"""What a row says of its event: it is done; it is in a retry queue; it is kept here; it is in the dead letters."""

events = Table(
    "beers_inbox_events",
    metadata,
    Column("consumer", String(200), primary_key=True),
    Column("position", _Big, primary_key=True, autoincrement=False),
    Column("state", String(8), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due", _Big, nullable=False),  # milliseconds since 1970: when the next attempt is; 0 unless there is one
    Column("beer_id", _Big),  # of a parked event, like the next
    Column("event", Text),
)
Index("beers_inbox_by_state", events.c.consumer, events.c.state, events.c.beer_id, events.c.position)

_SCAN = 10_000
"""How many rows are looked at in one go."""

_turns: dict[str, Lock] = {}
"""Whose turn it is to write to each file of SQLite's, among the inboxes of this process: a handler whose transactions
follow each other closely would leave no moment to one that polls for the file."""


@dataclass(frozen=True, slots=True)
class Life:
    """What a consumer was born with: the log that it follows, and the mark that it has reached."""

    log_id: str
    mark: int


class HandlerFailed(Exception):
    """A handler raised, or the database refused what it did, and its transaction is undone. Args: the error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class OtherLog(Exception):
    """The consumer follows another log by now, or nobody knows it any more, and a transaction is undone."""


class Inbox:
    """The inbox of one consumer, on the engine of the subscriber's database.

    Every method may raise `StoreUnavailable`, those that write `OutcomeUnknown` and `OtherLog` as well.

    Attributes:
        log_id: The log whose events are worked on; empty while that is not known. Nothing is written once the consumer
            follows another one, for positions mean nothing in another log.
    """

    def __init__(self, engine: Engine, consumer: str) -> None:
        self.log_id = ""
        self._engine = engine
        self._consumer = consumer
        self._mine = events.c.consumer == consumer
        self._me = consumers.c.consumer == consumer
        # SQLite has one writer at a time: who waits for it here does not poll for it there. Those of one inbox wait for
        # each other first, and so several inboxes with one file take turns however many wait in each.
        self._turn: Any = nullcontext()
        self._turn_at_file: Any = nullcontext()
        if engine.dialect.name == "sqlite":
            self._turn = Lock()
            self._turn_at_file = _turns.setdefault(os.path.realpath(engine.url.database or ""), Lock())
            listen(engine, "before_cursor_execute", _require_transaction)

    def prepare(self) -> None:
        """Create the tables that are missing."""
        try:
            with writing(self._engine) as connection:
                metadata.create_all(connection)
        except (IntegrityError, ProgrammingError) as error:
            # Another process creates them at this moment.
            raise StoreUnavailable("the inbox is being created") from error

    def life(self) -> Life | None:
        """Return what the consumer was born with; None before its first start."""
        with reading(self._engine) as connection:
            row = connection.execute(select(consumers).where(self._me)).one_or_none()
        return None if row is None else Life(row.log_id, row.mark)

    def begin(self, life: Life) -> None:
        """Let the consumer be born, unless it is already."""
        born = self._insert(consumers).values(consumer=self._consumer, log_id=life.log_id, mark=life.mark)
        with self.transaction() as connection:
            connection.execute(born.on_conflict_do_nothing())

    def follow(self, log_id: str, shared: int, *, forget: bool) -> bool:
        """Go on in the log *log_id*, which has the events of the log before up to the position *shared* alone.

        Args:
            log_id: That log.
            shared: The position.
            forget: Whether to forget what is known of later positions.

        Returns:
            Whether it follows that log now; it does not if there is something that would have to be forgotten.
        """
        with self.transaction() as connection:
            # Waits for every transaction that has looked at the log, and keeps the next one from doing so.
            me = connection.execute(select(consumers).where(self._me).with_for_update()).one()
            beyond = (self._mine, events.c.position > shared)
            # In a statement of its own, which sees what these transactions have done.
            ahead = me.mark > shared or connection.execute(select(exists().where(*beyond))).scalar_one()
            if me.log_id != log_id and (forget or not ahead):
                connection.execute(delete(events).where(*beyond))
                known = update(consumers).where(self._me)
                connection.execute(known.values(log_id=log_id, mark=min(me.mark, shared)))
                return True
            return bool(me.log_id == log_id)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Begin a transaction that commits at the end of the block and is undone if the block raises."""
        committing = False
        try:
            with self._turn, self._turn_at_file, writing(self._engine) as connection:
                begun = connection.get_transaction()
                yield connection
                if connection.get_transaction() is not begun or begun is None or not begun.is_active:
                    raise _ended()
                _require_sound(connection)
                self._require_log(connection)
                committing = True
        except DBAPIError as error:
            if not committing:
                raise
            # Neither an outage nor an unknown outcome: a constraint that is checked at the end, or a trigger.
            raise HandlerFailed(error) from error

    # ── In any order: a row for each event beyond the mark ───────────────────────────────────────────────────────────

    def claim(self, connection: Connection, position: int) -> bool:
        """Make an event done in the caller's transaction; return False if it was done before."""
        mine = (self._mine, events.c.position == position)
        open_again = update(events).where(*mine, events.c.state != DONE).values(state=DONE, due=0)
        if connection.execute(open_again).rowcount:
            return True
        return self._enter(connection, position, {"state": DONE, "attempts": 0, "due": 0})

    def skip(self, positions: Collection[int]) -> None:
        """Make events done that need no handler, or none any more: other types may be wanted since they failed."""
        rows = [
            {"consumer": self._consumer, "position": position, "state": DONE, "attempts": 0, "due": 0}
            for position in positions
        ]
        skipped = self._insert(events).on_conflict_do_update(
            index_elements=["consumer", "position"], set_={"state": DONE, "due": 0}
        )
        with self.transaction() as connection:
            connection.execute(skipped, rows)

    def set_aside(self, position: int, state: str, attempts: int, due: float = 0) -> None:
        """Note that an event is `WAITING` until *due* (seconds since 1970), or `DEAD`; what is done stays so."""
        noted = {"state": state, "attempts": attempts, "due": round(due * 1000)}
        known = update(events).where(self._mine, events.c.position == position, events.c.state != DONE).values(noted)
        with self.transaction() as connection:
            # Without a row it may be done: another copy of it was handled, and the mark has passed it.
            if not connection.execute(known).rowcount:
                self._enter(connection, position, noted)

    def _enter(self, connection: Connection, position: int, noted: dict[str, Any]) -> bool:
        """Add a row for an event that has none and is beyond the mark; return False if it is not so."""
        row = self._insert(events).values(consumer=self._consumer, position=position, **noted)
        if not connection.execute(row.on_conflict_do_nothing()).rowcount:
            return False
        # Read after the insert: a row that another process deletes has moved the mark before.
        mark = connection.execute(select(consumers.c.mark).where(self._me)).scalar_one()
        if position <= mark:
            connection.execute(delete(events).where(self._mine, events.c.position == position))
            return False
        return True

    def move_mark(self) -> int:
        """Move the mark to where everything up to it is done, delete what it makes superfluous, and return it."""
        settled = (
            select(events.c.position)
            .where(self._mine, events.c.state.in_((DONE, DEAD)))
            .order_by(events.c.position)
            .limit(_SCAN)
        )
        with self.transaction() as connection:
            query = select(consumers.c.mark).where(self._me)
            mark: int = connection.execute(query.with_for_update(key_share=True)).scalar_one()
            for position in connection.execute(settled.where(events.c.position > mark)).scalars():
                if position != mark + 1:
                    break
                mark = position
            connection.execute(update(consumers).where(self._me).values(mark=mark))
            connection.execute(delete(events).where(self._mine, events.c.state == DONE, events.c.position <= mark))
        return mark

    def first_missing(self, head: int, overdue: float) -> int | None:
        """Return the first position that nothing is known of though later ones are, or *head* is; None without one.

        Args:
            head: How far the log is known to reach; 0 if that is not known.
            overdue: A waiting event that was due before (seconds since 1970) is missing as well: its copy is lost.
        """
        with reading(self._engine) as connection:
            expected: int = connection.execute(select(consumers.c.mark).where(self._me)).scalar_one() + 1
            columns = (events.c.position, events.c.state, events.c.due)
            beyond = select(*columns).where(self._mine, events.c.position >= expected).order_by(events.c.position)
            rows = connection.execute(beyond.limit(_SCAN)).all()
        for row in rows:
            if row.position != expected or _is_lost(row, overdue):
                return expected
            expected += 1
        return expected if expected <= head and len(rows) < _SCAN else None

    def unknown(self, positions: Sequence[int], overdue: float) -> dict[int, int]:
        """Return those of ascending *positions* that are missing, each with how often it was tried before."""
        within = events.c.position.between(positions[0], positions[-1])
        with reading(self._engine) as connection:
            mark = connection.execute(select(consumers.c.mark).where(self._me)).scalar_one()
            rows = {row.position: row for row in connection.execute(select(events).where(self._mine, within))}
        return {
            position: rows[position].attempts if position in rows else 0
            for position in positions
            if position > mark and (position not in rows or _is_lost(rows[position], overdue))
        }

    def left_by_other_order(self, *, strict: bool) -> int:
        """Return how many events there are rows of that only the order other than this one can bring to an end."""
        if strict:
            # What is done up to the first gap needs no row: whoever stopped may not have come to say so.
            self.move_mark()
            mark = select(consumers.c.mark).where(self._me).scalar_subquery()
            left = events.c.position > mark
        else:
            left = events.c.state == PARKED
        with reading(self._engine) as connection:
            return int(connection.execute(select(func.count()).where(self._mine, left)).scalar_one())

    def reach(self) -> int:
        """Return the farthest position that is known: the mark, or the last row's."""
        last = select(func.max(events.c.position)).where(self._mine).scalar_subquery()
        with reading(self._engine) as connection:
            mark, farthest = connection.execute(select(consumers.c.mark, last).where(self._me)).one()
        return int(max(mark, farthest or 0))

    # ── In the order of the log: the mark alone, and what is parked ──────────────────────────────────────────────────

    def advance(self, connection: Connection, before: int, after: int) -> bool:
        """Move the mark from *before* to *after* in the caller's transaction; False if it is elsewhere by now."""
        here = update(consumers).where(self._me, consumers.c.mark == before).values(mark=after)
        return bool(connection.execute(here).rowcount)

    def has_parked_before(self, connection: Connection, event: Event) -> bool:
        """Tell whether an earlier event of its beer is parked."""
        earlier = (events.c.beer_id == event.beer_id, events.c.position < event.position)
        parked = exists().where(self._mine, events.c.state == PARKED, *earlier)
        return bool(connection.execute(select(parked)).scalar_one())

    def park(self, connection: Connection, event: Event, attempts: int, due: float) -> None:
        """Keep *event* until *due* (seconds since 1970)."""
        kept: dict[str, Any] = {
            "state": PARKED,
            "attempts": attempts,
            "due": round(due * 1000),
            "beer_id": event.beer_id,
            "event": orjson.dumps(event.document).decode(),
        }
        row = self._insert(events).values(consumer=self._consumer, position=event.position, **kept)
        connection.execute(row.on_conflict_do_update(index_elements=["consumer", "position"], set_=kept))

    def parked(self) -> tuple[Event, float] | None:
        """Return the event to try next, the first of its beer, and when it is due (seconds since 1970)."""
        first = (
            select(func.min(events.c.position)).where(self._mine, events.c.state == PARKED).group_by(events.c.beer_id)
        )
        earliest = select(events).where(self._mine, events.c.position.in_(first)).order_by(events.c.due).limit(1)
        with reading(self._engine) as connection:
            row = connection.execute(earliest).one_or_none()
        return None if row is None else (event_told(orjson.loads(row.event), row.attempts), row.due / 1000)

    def is_dead(self, position: int) -> bool:
        """Tell whether an event is in the dead letters, or was: it may come back from there."""
        dead = exists().where(self._mine, events.c.position == position, events.c.state == DEAD)
        with reading(self._engine) as connection:
            return bool(connection.execute(select(dead)).scalar_one())

    def take_back(self, connection: Connection, position: int, state: str) -> bool:
        """Take an event that is `PARKED` or `DEAD`, to be tried in the caller's transaction; False if it is not now."""
        kept = delete(events).where(self._mine, events.c.position == position, events.c.state == state)
        return bool(connection.execute(kept).rowcount)

    def bury(self, connection: Connection, event: Event, attempts: int) -> None:
        """Note that *event*, of which there is no row, is in the dead letters."""
        row = {"consumer": self._consumer, "position": event.position, "state": DEAD, "attempts": attempts, "due": 0}
        connection.execute(insert(events).values(row))

    def _require_log(self, connection: Connection) -> None:
        """Raise `OtherLog` if the consumer does not follow our log; if it does, it will until the transaction ends."""
        if not self.log_id:
            return
        query = select(consumers.c.log_id).where(self._me).with_for_update(read=True, key_share=True)
        if connection.execute(query).scalar_one_or_none() != self.log_id:
            raise OtherLog(f"the consumer does not follow the log {self.log_id} any more")

    def _insert(self, table: Table) -> Any:
        return (postgresql if self._engine.dialect.name == "postgresql" else sqlite).insert(table)


def _is_lost(row: Any, overdue: float) -> bool:
    return bool(row.state == WAITING and row.due < overdue * 1000)


def _require_sound(connection: Connection) -> None:
    """Raise `HandlerFailed` if a handler has gone on after an error that ended the transaction or doomed it.

    PostgreSQL answers the commit of a failed transaction with a silent rollback: nobody would know until the position
    is missed. SQLite may end one by itself (``INSERT OR ROLLBACK``, a trigger's ``RAISE(ROLLBACK)``, a full disk).
    """
    if _has_lost_transaction(connection):
        raise _ended()
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "postgresql" and driver.info.transaction_status != TRANSACTION_STATUS_INTRANS:
        raise HandlerFailed(RuntimeError("the handler has gone on after an error of the database's"))


def _require_transaction(connection: Connection, *_: object) -> None:
    """Raise `HandlerFailed` before a statement that SQLite would commit by itself: its effect could not be undone."""
    if connection.in_transaction() and _has_lost_transaction(connection):
        raise _ended()


def _has_lost_transaction(connection: Connection) -> bool:
    """Tell whether SQLite has ended the transaction in which *connection* writes."""
    writes = connection.dialect.name == "sqlite" and connection.get_execution_options().get("writes", False)
    driver: Any = connection.connection.dbapi_connection
    return bool(writes and not driver.in_transaction)


def _ended() -> HandlerFailed:
    return HandlerFailed(RuntimeError("the handler has ended the transaction that it was given"))
