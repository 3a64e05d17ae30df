"""Fills a SQLite store with as many beers as wanted, past the service: by the store's own rows, in large transactions.

Each beer has had three events, each event a request whose answer is kept, as if all had happened within a week. The bus
counts as having them all.
"""

import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import event, update

from beers_service.domain.beer import fold
from beers_service.domain.events import BeerAdded, BeerDetailsChanged, BeerEvent, BeerNameChanged
from beers_service.ports import StoredAnswer, StoredEvent
from beers_service.store import codec, engine, migrations, schema
from beers_service.store.statements import Row, insert_values

EVENTS_EACH = 3
BREWERIES, STYLES = 1400, 140
CACHE_KIB = 500_000
AT_ONCE = 20_000
"""Beers a transaction."""

Rows = list[Row]


def fill(file: Path, beers: int) -> None:
    """Make the store *file* with *beers* beers; a million take a minute or two."""
    store = engine.connect(f"sqlite:///{file}")

    @event.listens_for(store, "connect")
    def hurry(connection: sqlite3.Connection, _record: object) -> None:
        # Should the machine go down, the store is filled anew. Memory keeps the indexes from being written piecemeal.
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")

    try:
        migrations.migrate(store)
        # The numbers of a week: a store of any size ends now.
        step = timedelta(days=6) / (beers * EVENTS_EACH)
        start = datetime.now(UTC) - timedelta(days=6)
        for first in range(1, beers + 1, AT_ONCE):
            _write(store, range(first, min(first + AT_ONCE, beers + 1)), beers, start, step)
        with engine.writing(store) as connection:
            position = beers * EVENTS_EACH
            connection.execute(
                update(schema.log_head).values(
                    position=position, last_beer_id=beers, time=codec.to_microseconds(datetime.now(UTC))
                )
            )
            connection.execute(update(schema.relay).values(position=position))
            connection.exec_driver_sql("ANALYZE")
    finally:
        store.dispose()
    # Else the system writes it in its own time, and commits that are measured meanwhile wait for that.
    with file.open("rb") as written:
        os.fsync(written.fileno())


def _write(store: Any, numbers: range, beers: int, start: datetime, step: timedelta) -> None:
    events: Rows = []
    rows: Rows = []
    answers: Rows = []
    for beer_id in numbers:
        history = [
            StoredEvent(
                # First all were added, then all renamed, then all changed: a beer's history lies apart in the log.
                position=(position := version * beers + beer_id),
                beer_id=beer_id,
                version=version + 1,
                time=start + step * position,
                request_id=f"{beer_id * 2654435761 % 2**32:08x}-{position:x}",
                correlation_id=f"filling-{position:x}",
                data=data,
            )
            for version, data in enumerate(_happened(beer_id))
        ]
        beer = fold(beer_id, ((past.data, past.time) for past in history))
        if beer is None:
            raise LookupError(f"beer {beer_id} has no history")
        events += map(codec.event_record, history)
        rows.append(codec.beer_row(beer))
        answers += [
            codec.answer_row(
                StoredAnswer(past.request_id, f"{past.position:032x}", ((beer_id, past.version),), None), past.time
            )
            for past in history
        ]
    with engine.writing(store) as connection:
        for table, content in ((schema.events, events), (schema.beers, rows), (schema.requests, answers)):
            # The driver's own statement: SQLAlchemy's way of one takes thrice as long.
            connection.exec_driver_sql(insert_values(table), content)


def _happened(beer_id: int) -> Iterator[BeerEvent]:
    name = f"Beer number {beer_id * 7919 % 1_000_003:07d}"
    yield BeerAdded(
        name=f"{name} (draft)",
        brewery=f"Brewery {beer_id % BREWERIES}",
        style=f"Style {beer_id % STYLES}",
        abv=beer_id % 120 / 10,
        ibu=float(beer_id % 100),
        description="",
    )
    yield BeerNameChanged(name=name, previous_name=f"{name} (draft)")
    yield BeerDetailsChanged(changes={"description": f"A beer such as number {beer_id - 1}, yet better."})
