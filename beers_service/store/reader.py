"""Reads of the SQL store. Every one of them is bounded and uses an index or walks one in order."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Engine, func, or_, select, tuple_

from beers_service.domain.beer import Beer
from beers_service.ports import BeerQuery, EventRecord, Head, StoredEvent, fold_case
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

    def beers(self, beer_ids: Collection[int]) -> dict[int, Beer]:
        """Return the beers that exist, removed ones included, by id."""
        if not beer_ids:
            return {}
        rows = fetch(self._engine, self._statements.beers, [self._statements.one_of(beer_ids)])
        return {beer.id: beer for beer in map(codec.beer_from_row, rows)}

    def page(self, query: BeerQuery) -> list[Beer]:
        """Return the beers that *query* asks for."""
        columns = schema.beers.c
        key = _ORDER[query.order]
        statement = select(schema.beers).where(*self._filters(query)).limit(query.limit)
        by_id = query.order == "id"
        if query.after is not None:
            here = columns.id if by_id else tuple_(key, columns.id)
            there: Any = query.after[1] if by_id else tuple_(*query.after)
            statement = statement.where(here < there if query.descending else here > there)
        order = [columns.id] if by_id else [key, columns.id]
        statement = statement.order_by(*(column.desc() if query.descending else column for column in order))
        with reading(self._engine) as connection:
            return [codec.beer_from_row(row) for row in connection.execute(statement)]

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

    def records(self, after: int, limit: int, types: Collection[str] = ()) -> list[EventRecord]:
        """Return the same as `events`, as records; see `ports.BeerReader`."""
        return codec.records_from_rows(self._event_rows(after, limit, types), self._known)

    def _event_rows(
        self,
        after: int,
        limit: int,
        types: Collection[str],
        beer_ids: Collection[int] = (),
        up_to: int | None = None,
    ) -> list[Row]:
        text = self._statements.events(types=bool(types), beer_ids=bool(beer_ids), up_to=up_to is not None)
        values: list[Any] = [after]
        values += [self._statements.one_of(listed) for listed in (types, beer_ids) if listed]
        values += [limit] if up_to is None else [up_to, limit]
        return fetch(self._engine, text, values)

    def _filters(self, query: BeerQuery) -> list[ColumnElement[bool]]:
        columns = schema.beers.c
        filters: list[ColumnElement[bool]] = []
        if not query.show_removed:
            filters.append(columns.removed_at.is_(None))
        if query.brewery:
            filters.append(columns.brewery_key == fold_case(query.brewery))
        if query.style:
            filters.append(columns.style_key == fold_case(query.style))
        if query.query:
            text = fold_case(query.query)
            keys = (columns.name_key, columns.brewery_key, columns.style_key)
            filters.append(or_(*(self._contains(key, text) > 0 for key in keys)))
        return filters
