"""Reads of the SQL store. Every one of them is bounded and uses an index or walks one in order."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Engine, Select, func, or_, select, tuple_

from beers_service.domain.beer import Beer
from beers_service.ports import BeerQuery, EventRecord, Head, Place, StoredEvent, fold_case
from beers_service.store import codec, schema
from beers_service.store.driver import fetch
from beers_service.store.engine import reading
from beers_service.store.payloads import PAYLOADS, Payloads
from beers_service.store.statements import Row, statements_of

_ORDER = {"id": schema.beers.c.id, "name": schema.beers.c.name_key, "abv": schema.beers.c.abv_key}


class SqlReader:
    """Reads through an engine of `store.engine`, events of any version that it knows; see `ports.BeerReader`."""

    def __init__(self, engine: Engine, known: Payloads = PAYLOADS) -> None:
        self._engine = engine
        self._known = known
        self._statements = statements_of(engine.dialect.name)
        self._contains = func.strpos if engine.dialect.name == "postgresql" else func.instr

    def head(self) -> Head:
        """Return where the log ends."""
        (row,) = fetch(self._engine, self._statements.head)
        return codec.head_from_row(row)

    def former_logs(self) -> dict[str, int]:
        """Return the ids that the log had before; see `ports.BeerReader`."""
        with reading(self._engine) as connection:
            return {row.log_id: row.position for row in connection.execute(select(schema.former_logs))}

    def beers(self, beer_ids: Collection[int]) -> dict[int, Beer]:
        """Return the beers that exist, removed ones included, by id."""
        if not beer_ids:
            return {}
        rows = fetch(self._engine, self._statements.beers, [self._statements.one_of(beer_ids)])
        return {beer.id: beer for beer in map(codec.beer_from_row, rows)}

    def page(self, query: BeerQuery) -> list[Beer]:
        """Return the beers that *query* asks for."""
        statement = _placed(select(schema.beers).where(*self._filters(query)), query).limit(query.limit)
        with reading(self._engine) as connection:
            return [codec.beer_from_row(row) for row in connection.execute(statement)]

    def reach(self, query: BeerQuery, count: int) -> Place | None:
        """Return the place of the last one of *count* beers; see `ports.BeerReader`."""
        columns = schema.beers.c
        if query.order == "id" and not query.brewery and not query.style:
            # Ids have no gaps. So this need not walk the beers, which the page then does anyway.
            last = self.head().last_beer_id
            start = (last + 1 if query.descending else 0) if query.after is None else query.after[1]
            end = start - count if query.descending else start + count
            return (end, end) if (end > 1 if query.descending else end < last) else None
        statement = select(_ORDER[query.order].label("key"), columns.id).where(*_exact(query))
        with reading(self._engine) as connection:
            rows = connection.execute(_placed(statement, query).limit(2).offset(count - 1)).all()
        return (rows[0].key, rows[0].id) if len(rows) > 1 else None

    def history(
        self, beer_id: int, after_version: int = 0, limit: int | None = None, until: int | datetime | None = None
    ) -> list[StoredEvent]:
        """Return the events of one beer, oldest first; see `ports.BeerReader`."""
        values: list[Any] = [beer_id, after_version]
        ended: Literal["", "position", "time"] = ""
        if isinstance(until, datetime):
            ended = "time"
            values.append(codec.to_microseconds(until))
        elif until is not None:
            ended = "position"
            values.append(until)
        if limit is not None:
            values.append(limit)
        text = self._statements.history(until=ended, limit=limit is not None)
        return [codec.event_from_row(row, self._known) for row in fetch(self._engine, text, values)]

    def events(
        self,
        after: int,
        limit: int,
        types: Collection[str] = (),
        beer_ids: Collection[int] = (),
        up_to: int | None = None,
    ) -> list[StoredEvent]:
        """Return the events after a position, oldest first; see `ports.BeerReader`."""
        return [
            codec.event_from_row(row, self._known) for row in self._event_rows(after, limit, types, beer_ids, up_to)
        ]

    def records(
        self,
        after: int,
        limit: int,
        types: Collection[str] = (),
        beer_ids: Collection[int] = (),
        up_to: int | None = None,
    ) -> list[EventRecord]:
        """Return the same as `events`, as records; see `ports.BeerReader`."""
        return codec.records_from_rows(self._event_rows(after, limit, types, beer_ids, up_to), self._known)

    def _event_rows(
        self,
        after: int,
        limit: int,
        types: Collection[str],
        beer_ids: Collection[int],
        up_to: int | None,
    ) -> list[Row]:
        text = self._statements.events(types=bool(types), beer_ids=bool(beer_ids), up_to=up_to is not None)
        values: list[Any] = [after]
        values += [self._statements.one_of(listed) for listed in (types, beer_ids) if listed]
        values += [limit] if up_to is None else [up_to, limit]
        return fetch(self._engine, text, values)

    def _filters(self, query: BeerQuery) -> list[ColumnElement[bool]]:
        columns = schema.beers.c
        filters = _exact(query)
        if not query.show_removed:
            filters.append(columns.removed_at.is_(None))
        if query.query:
            text = fold_case(query.query)
            keys = (columns.name_key, columns.brewery_key, columns.style_key)
            filters.append(or_(*(self._contains(key, text) > 0 for key in keys)))
        return filters


def _exact(query: BeerQuery) -> list[ColumnElement[bool]]:
    columns = schema.beers.c
    filters: list[ColumnElement[bool]] = []
    if query.brewery:
        filters.append(columns.brewery_key == fold_case(query.brewery))
    if query.style:
        filters.append(columns.style_key == fold_case(query.style))
    return filters


def _placed(statement: Select[Any], query: BeerQuery) -> Select[Any]:
    """Return *statement* in the order of *query* and between its ends."""
    columns = schema.beers.c
    by_id = query.order == "id"
    order = [columns.id] if by_id else [_ORDER[query.order], columns.id]
    here: Any = columns.id if by_id else tuple_(*order)
    if query.after is not None:
        start: Any = query.after[1] if by_id else tuple_(*query.after)
        statement = statement.where(here < start if query.descending else here > start)
    if query.until is not None:
        end: Any = query.until[1] if by_id else tuple_(*query.until)
        statement = statement.where(here >= end if query.descending else here <= end)
    return statement.order_by(*(column.desc() if query.descending else column for column in order))
