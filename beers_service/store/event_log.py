"""The event log in SQL: one transaction at a time appends, and a constant number of statements does it.

Whoever appends first locks the single row of `log_head`, and only then, in later statements, reads. So positions
leave no gap and follow the order of the commits, across processes: a reader that has seen position n has seen
everything up to n. A sequence gives neither: a transaction may commit after one with a higher number.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from beers_service.domain.beer import Beer
from beers_service.ports import Head, StoredAnswer, StoredEvent
from beers_service.store import codec, schema
from beers_service.store.engine import writing
from beers_service.store.payloads import PAYLOADS, Payloads

NOTIFY_CHANNEL = "beers_events"


class SqlEventLog:
    """The log behind an engine of `store.engine`; it writes the newest versions of the payloads that it knows."""

    def __init__(self, engine: Engine, known: Payloads = PAYLOADS) -> None:
        self._engine = engine
        self._known = known

    @contextmanager
    def transaction(self) -> Iterator["SqlTransaction"]:
        """Begin a transaction; see `ports.EventLog`."""
        with writing(self._engine) as connection:
            yield SqlTransaction(connection, self._known)

    def forget_answers(self, before: datetime, limit: int) -> int:
        """Delete at most *limit* answers from before *before*; return how many they were."""
        old = (
            select(schema.requests.c.request_id)
            .where(schema.requests.c.at < codec.to_microseconds(before))
            .order_by(schema.requests.c.at)
            .limit(limit)
        )
        with writing(self._engine) as connection:
            return connection.execute(delete(schema.requests).where(schema.requests.c.request_id.in_(old))).rowcount


class SqlTransaction:
    """One transaction; see `ports.LogTransaction`."""

    def __init__(self, connection: Connection, known: Payloads) -> None:
        self._connection = connection
        self._known = known
        self.head = read_head(connection, lock=True)

    def answers(self, request_ids: Collection[str]) -> dict[str, StoredAnswer]:
        """Return the answers that are already there, by request id."""
        wanted = select(schema.requests).where(schema.requests.c.request_id.in_(request_ids))
        return {row.request_id: codec.answer_from_row(row) for row in self._connection.execute(wanted)}

    def beers(self, beer_ids: Collection[int]) -> dict[int, Beer]:
        """Return the beers that exist, removed ones included, by id."""
        return read_beers(self._connection, beer_ids)

    def append(
        self,
        head: Head,
        events: Sequence[StoredEvent],
        beers: Mapping[int, Beer],
        answers: Sequence[StoredAnswer],
        at: datetime,
    ) -> None:
        """Append *events*, store *beers* as they are after them, keep *answers*, and move the head."""
        execute = self._connection.execute
        if events:
            execute(insert(schema.events), [codec.event_columns(event, self._known) for event in events])
            execute(_upsert_beer(self._connection.dialect.name), [codec.beer_columns(beer) for beer in beers.values()])
            execute(
                update(schema.log_head).values(
                    position=head.position, last_beer_id=head.last_beer_id, time=codec.to_microseconds(head.time)
                )
            )
            if self._connection.dialect.name == "postgresql":
                # It takes a lock of the whole instance at commit: once a batch, not once an event.
                execute(select(func.pg_notify(NOTIFY_CHANNEL, "")))
        if answers:
            execute(insert(schema.requests), [codec.answer_columns(answer, at) for answer in answers])


def read_head(connection: Connection, *, lock: bool = False) -> Head:
    """Return the head, locked if *lock*."""
    query = select(schema.log_head)
    row = connection.execute(query.with_for_update() if lock else query).one()
    return Head(row.log_id, row.position, row.last_beer_id, codec.from_microseconds(row.time))


def read_beers(connection: Connection, beer_ids: Collection[int]) -> dict[int, Beer]:
    """Return the beers that exist, removed ones included, by id."""
    if not beer_ids:
        return {}
    wanted = select(schema.beers).where(schema.beers.c.id.in_(beer_ids))
    return {row.id: codec.beer_from_row(row) for row in connection.execute(wanted)}


def _upsert_beer(dialect: str) -> Any:
    statement = (postgresql if dialect == "postgresql" else sqlite).insert(schema.beers)
    columns = {column.name: statement.excluded[column.name] for column in schema.beers.c if column.name != "id"}
    return statement.on_conflict_do_update(index_elements=["id"], set_=columns)
