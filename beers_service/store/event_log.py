"""The event log in SQL: one transaction at a time appends, and a constant number of statements does it.

Whoever appends first locks the single row of `log_head`, and only then, in later statements, reads. So positions
leave no gap and follow the order of the commits, across processes: a reader that has seen position n has seen
everything up to n. A sequence gives neither: a transaction may commit after one with a higher number.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Engine, delete, insert, select, update

from beers_service.domain.beer import Beer
from beers_service.ports import Head, StoredAnswer, StoredEvent
from beers_service.store import codec, schema
from beers_service.store.driver import transaction
from beers_service.store.engine import writing
from beers_service.store.payloads import PAYLOADS, Payloads
from beers_service.store.statements import Cursor, Statements, statements_of


class SqlEventLog:
    """The log behind an engine of `store.engine`; it writes the newest versions of the payloads that it knows."""

    def __init__(self, engine: Engine, known: Payloads = PAYLOADS) -> None:
        self._engine = engine
        self._known = known
        self._statements = statements_of(engine.dialect.name)

    @contextmanager
    def transaction(self) -> Iterator["SqlTransaction"]:
        """Begin a transaction; see `ports.EventLog`."""
        with transaction(self._engine, self._statements.lock_head) as cursor:
            yield SqlTransaction(cursor, self._statements, self._known)

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

    def change_id(self, log_id: str) -> Head:
        """Give the log another id; see `ports.EventLog`."""
        with writing(self._engine) as connection:
            head = codec.head_from_row(connection.execute(select(schema.log_head).with_for_update()).one())
            connection.execute(insert(schema.former_logs).values(log_id=head.log_id, position=head.position))
            connection.execute(update(schema.log_head).values(log_id=log_id))
        return head


class SqlTransaction:
    """One transaction, whose first statement has locked and read the head; see `ports.LogTransaction`."""

    def __init__(self, cursor: Cursor, statements: Statements, known: Payloads) -> None:
        self._cursor = cursor
        self._statements = statements
        self._known = known
        self.head = codec.head_from_row(cursor.fetchone())

    def answers(self, request_ids: Collection[str]) -> dict[str, StoredAnswer]:
        """Return the answers that are already there, by request id."""
        self._cursor.execute(self._statements.answers, [self._statements.one_of(request_ids)])
        return {answer.request_id: answer for answer in map(codec.answer_from_row, self._cursor.fetchall())}

    def beers(self, beer_ids: Collection[int]) -> dict[int, Beer]:
        """Return the beers that exist, removed ones included, by id."""
        if not beer_ids:
            return {}
        self._cursor.execute(self._statements.beers, [self._statements.one_of(beer_ids)])
        return {beer.id: beer for beer in map(codec.beer_from_row, self._cursor.fetchall())}

    def append(
        self,
        head: Head,
        events: Sequence[StoredEvent],
        beers: Mapping[int, Beer],
        answers: Sequence[StoredAnswer],
        at: datetime,
    ) -> None:
        """Append *events*, store *beers* as they are after them, keep *answers*, and move the head."""
        self._statements.append(
            self._cursor,
            (head.position, head.last_beer_id, codec.to_microseconds(head.time)),
            [codec.event_record(event, self._known) for event in events],
            [codec.beer_row(beer) for beer in beers.values()],
            [codec.answer_row(answer, at) for answer in answers],
        )
