"""The statements that run for every command, as text made once from the tables of `schema`.

SQLAlchemy makes a statement anew each time, and looks its text up by everything that it consists of: that takes
several times as long as the database takes to run it. So these take positional values, rows are tuples in the order
of a table's columns, and a list of any length is one value, for which the text stays the same.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal, Protocol

import orjson
from sqlalchemy import Table

from beers_service.store.schema import beers, events, log_head, relay, requests

NOTIFY_CHANNEL = "beers_events"

Row = Sequence[Any]


class Cursor(Protocol):
    """A cursor of Python's database API."""

    rowcount: int

    def execute(self, statement: str, values: Row = ..., /) -> object:
        """Run a statement with positional values."""
        ...

    def executemany(self, statement: str, rows: Iterable[Row], /) -> object:
        """Run a statement for each of *rows*."""
        ...

    def fetchone(self) -> Any:
        """Return the next row of the last statement; None if there is no more."""
        ...

    def fetchall(self) -> list[Any]:
        """Return the other rows of the last statement."""
        ...


class Statements(ABC):
    """What both databases say alike.

    Attributes:
        head: Reads the head.
        lock_head: Reads it and keeps it from all others until the end of the transaction.
        answers: Reads the answers whose request ids are in a list.
        beers: Reads the beers whose ids are in a list.
        advance: Sets the position of the relay, of an epoch.
        move_head: Sets the head's position, highest beer id and time.
    """

    def __init__(self, *, value: str, among: str, lock: str = "") -> None:
        """Say them with *value* for a value, and with *among* for being one of a list."""
        self._value = value
        self._among = among
        self.head = _select(log_head)
        self.lock_head = f"{self.head}{lock}"
        self.answers = f"{_select(requests)} WHERE {requests.c.request_id} {among}"
        self.beers = f"{_select(beers)} WHERE {beers.c.id} {among}"
        self.advance = f"UPDATE relay SET {relay.c.position.name} = {value} WHERE {relay.c.epoch} = {value}"
        moved = (log_head.c.position, log_head.c.last_beer_id, log_head.c.time)
        self.move_head = f"UPDATE log_head SET {', '.join(f'{column.name} = {value}' for column in moved)}"

    def events(self, *, types: bool, beer_ids: bool, up_to: bool) -> str:
        """Return what reads events after a position, of a list of types, of beers in a list, up to a position."""
        conditions = [f"{events.c.position} > {self._value}"]
        if types:
            conditions.append(f"{events.c.type} {self._among}")
        if beer_ids:
            conditions.append(f"{events.c.beer_id} {self._among}")
        if up_to:
            conditions.append(f"{events.c.position} <= {self._value}")
        return f"{_select(events)} WHERE {' AND '.join(conditions)} ORDER BY {events.c.position} LIMIT {self._value}"

    def history(self, *, until: Literal["", "position", "time"], limit: bool) -> str:
        """Return what reads the events of a beer after a version, until a position or a time, of a number."""
        ended = f" AND {events.c[until]} <= {self._value}" if until else ""
        few = f" LIMIT {self._value}" if limit else ""
        return (
            f"{_select(events)} WHERE {events.c.beer_id} = {self._value} AND {events.c.version} > {self._value}{ended}"
            f" ORDER BY {events.c.version}{few}"
        )

    @abstractmethod
    def one_of(self, values: Collection[Any]) -> Any:
        """Return *values* as the one value that a list is."""

    @abstractmethod
    def append(
        self, cursor: Cursor, head: Row, new_events: list[Row], new_beers: list[Row], new_answers: list[Row]
    ) -> None:
        """Insert rows of the three tables, beers over what is there of them, and move the head if there are events."""


class SqliteStatements(Statements):
    """As SQLite says them: a list is read from JSON, and the driver repeats a statement for many rows."""

    def __init__(self) -> None:
        super().__init__(value="?", among="IN (SELECT value FROM json_each(?))")
        self._insert_events, self._insert_answers = insert_values(events), insert_values(requests)
        self._put_beers = f"{insert_values(beers)}{_over(beers)}"

    def one_of(self, values: Collection[Any]) -> str:
        """Return *values* in JSON."""
        return orjson.dumps(list(values)).decode()

    def append(
        self, cursor: Cursor, head: Row, new_events: list[Row], new_beers: list[Row], new_answers: list[Row]
    ) -> None:
        """Run a statement for each table."""
        if new_events:
            cursor.executemany(self._insert_events, new_events)
            cursor.executemany(self._put_beers, new_beers)
            cursor.execute(self.move_head, head)
        cursor.executemany(self._insert_answers, new_answers)


class PostgresqlStatements(Statements):
    """As PostgreSQL says them: all rows of a table are one value, and all that is appended one round trip."""

    def __init__(self) -> None:
        super().__init__(value="%s", among="= ANY(%s)", lock=" FOR UPDATE")
        # Notifying takes a lock of the whole instance at commit: once a batch, not once an event.
        notify = f"SELECT pg_notify('{NOTIFY_CHANNEL}', '')"
        put_beers = f"{_insert_json(beers)}{_over(beers)}"
        self._insert_answers = _insert_json(requests)
        self._append = "; ".join([_insert_json(events), put_beers, self._insert_answers, self.move_head, notify])

    def one_of(self, values: Collection[Any]) -> list[Any]:
        """Return the list that the driver makes an array of."""
        return list(values)

    def append(
        self, cursor: Cursor, head: Row, new_events: list[Row], new_beers: list[Row], new_answers: list[Row]
    ) -> None:
        """Run all statements at once."""
        answers = _as_json(_ANSWER, new_answers)
        if new_events:
            cursor.execute(self._append, (_as_json(_EVENT, new_events), _as_json(_BEER, new_beers), answers, *head))
        else:
            cursor.execute(self._insert_answers, (answers,))


def _columns(table: Table) -> list[str]:
    return [str(column.name) for column in table.columns]  # plain texts, which SQLAlchemy's are not


def _names(table: Table) -> str:
    return ", ".join(_columns(table))


def _select(table: Table) -> str:
    return f"SELECT {_names(table)} FROM {table.name}"


def insert_values(table: Table) -> str:
    """Return what inserts a row of *table* into SQLite, by the values of all columns."""
    return f"INSERT INTO {table.name} ({_names(table)}) VALUES ({', '.join('?' * len(table.columns))})"


def _insert_json(table: Table) -> str:
    rows = f"json_populate_recordset(NULL::{table.name}, %s)"
    return f"INSERT INTO {table.name} ({_names(table)}) SELECT {_names(table)} FROM {rows}"


def _over(table: Table) -> str:
    """Return what makes an insert put a row in the place of the one that has its id."""
    # The id itself is left alone: SQLite writes a row that is given its id, and its indexes, all over again.
    changed = (f"{column.name} = excluded.{column.name}" for column in table.columns if not column.primary_key)
    return f" ON CONFLICT (id) DO UPDATE SET {', '.join(changed)}"


def _as_json(names: Sequence[str], rows: list[Row]) -> str:
    return orjson.dumps([dict(zip(names, row, strict=True)) for row in rows]).decode()


_EVENT, _BEER, _ANSWER = (_columns(table) for table in (events, beers, requests))
_OF: dict[str, Statements] = {"sqlite": SqliteStatements(), "postgresql": PostgresqlStatements()}


def statements_of(dialect: str) -> Statements:
    """Return the statements of a database by its name with SQLAlchemy."""
    return _OF[dialect]
