"""One-off work on the store: bring its schema up to date, check it, fold the beers anew, tell a queue of the past.

Only a new id for the log needs the service to stop. While `rebuild` runs, commands wait, and those that wait too long
are refused unharmed.
"""

import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select

from beers_service.broker import Broker
from beers_service.domain.beer import Beer, fold
from beers_service.publisher import AmqpPublisher
from beers_service.store import codec, migrations, schema
from beers_service.store.engine import connect, lift_time_limit, reading, writing
from beers_service.store.event_log import SqlEventLog
from beers_service.store.migrations import Migration
from beers_service.store.reader import SqlReader
from beers_service.store.relay_cursor import SqlRelayCursor

Progress = Callable[[int, int], None]
"""Called with how many beers are done and how many there are, unless somebody says otherwise."""

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check found.

    Attributes:
        events: How many events the log holds.
        beers: How many beers there are, removed ones included.
        problems: What is wrong, one sentence each; empty if nothing is.
    """

    events: int
    beers: int
    problems: list[str]


@dataclass(frozen=True, slots=True)
class NewLogId:
    """What a log was called before, what it is called now, and the position of its last event."""

    before: str
    after: str
    position: int


class StoreInUse(Exception):
    """A service uses the store. Args: what to do."""


def migrate(database_url: str) -> Migration:
    """Bring the schema of a store, which may be empty, to the newest revision.

    Raises:
        ConfigurationError: If the URL is malformed or the store is newer than this version.
        StoreUnavailable: If the store does not answer.
    """
    with _disposing(connect(database_url)) as engine:
        return migrations.migrate(engine)


def verify(database_url: str, progress: Progress) -> Verification:
    """Check that the log has no gap, that every history is whole, and that every beer is what its history says.

    Raises:
        ConfigurationError: If the URL is malformed or the store is not at the newest revision.
        StoreUnavailable: If the store does not answer.
    """
    with _opened(database_url) as engine, reading(engine) as connection:
        lift_time_limit(connection)
        head = codec.head_from_row(connection.execute(select(schema.log_head)).one())
        count, last = connection.execute(select(func.count(), func.max(schema.events.c.position))).one()
        stored = _count(connection, schema.beers)
        problems = []
        if not count == (last or 0) == head.position:
            problems.append(f"the log ends at {head.position}, its last event is {last or 0}, and it holds {count}")
        done = 0
        for page in _pages(_folded(connection, problems), _PAGE):
            rows = connection.execute(select(schema.beers).where(schema.beers.c.id.in_([beer.id for beer in page])))
            found = {beer.id: beer for beer in map(codec.beer_from_row, rows)}
            problems += [f"beer {beer.id} is not what its history says" for beer in page if found.get(beer.id) != beer]
            done += len(page)
            progress(done, stored)
        if done != stored:
            problems.append(f"there are {stored} beers and {done} histories")
    return Verification(events=count, beers=stored, problems=problems)


def rebuild(database_url: str, progress: Progress) -> int:
    """Fold all beers anew from the log, all of them or none; return how many they are.

    Raises:
        ConfigurationError: If the URL is malformed or the store is not at the newest revision.
        LookupError: If the log itself is damaged; `verify` says where.
        StoreUnavailable: If the store does not answer.
    """
    with _opened(database_url) as engine, writing(engine) as connection:
        lift_time_limit(connection)
        connection.execute(select(schema.log_head).with_for_update())
        columns, total = schema.beers.columns.keys(), _count(connection, schema.beers)
        connection.execute(delete(schema.beers))
        problems: list[str] = []
        done = 0
        for page in _pages(_folded(connection, problems), _PAGE):
            connection.execute(
                insert(schema.beers), [dict(zip(columns, codec.beer_row(beer), strict=True)) for beer in page]
            )
            done += len(page)
            progress(done, max(done, total))
        if problems:
            raise LookupError(problems[0])
    return done


def new_log_id(database_url: str) -> NewLogId:
    """Give the log a new id, since it was restored and will give positions out again that others know already.

    Raises:
        ConfigurationError: If the URL is malformed or the store is not at the newest revision.
        StoreInUse: If a service tells the bus of this log: it would go on to do so under the id that it knows.
        StoreUnavailable: If the store does not answer.
    """
    with _opened(database_url) as engine:
        cursor = SqlRelayCursor(engine)
        try:
            # To the end: a service that starts meanwhile may not lead before the id is what it stays.
            if cursor.lead() is None:
                raise StoreInUse("a service uses the store; end every one of them first")
            after = str(uuid.uuid4())
            before = SqlEventLog(engine).change_id(after)
        finally:
            cursor.resign()
    return NewLogId(before.log_id, after, before.position)


def replay(
    database_url: str,
    broker: Broker,
    queue: str,
    positions: range,
    types: Collection[str],
    progress: Progress,
) -> int:
    """Send past events to one queue alone, in the order of the log, and return how many they were.

    Args:
        database_url: The store.
        broker: Where the queue is.
        queue: Its name.
        positions: The first position, and the one after the last.
        types: The types of events to send; none: all.
        progress: Called with how many were sent, and the position of the last.

    Raises:
        ConfigurationError: If the URL is malformed or the store is not at the newest revision.
        LookupError: If the log does not reach to the first position.
        PublishingFailed: If the queue is not there or the broker did not take them all; *progress* tells how far it
            came.
        StoreUnavailable: If the store does not answer.
    """
    with _opened(database_url) as engine:
        reader = SqlReader(engine)
        head = reader.head()
        if positions.start > head.position:
            raise LookupError(f"the log ends at position {head.position}, before {positions.start}")
        after, count = positions.start - 1, 0
        with closing(AmqpPublisher(broker, head.log_id, queue)) as publisher:
            while window := [event for event in reader.records(after, _PAGE, types) if event.position in positions]:
                publisher.publish(window)
                after = window[-1].position
                count += len(window)
                progress(count, after)
    return count


@contextmanager
def _opened(database_url: str) -> Iterator[Engine]:
    # Where nothing is there is nothing to work on: a mistyped path must not become a store, nor another's file.
    with _disposing(connect(database_url, existing=True)) as engine:
        migrations.require_current(engine, begin=False)
        yield engine


@contextmanager
def _disposing(engine: Engine) -> Iterator[Engine]:
    try:
        yield engine
    finally:
        engine.dispose()


def _count(connection: Connection, table: Any) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _folded(connection: Connection, problems: list[str]) -> Iterator[Beer]:
    """Yield every beer as its history says, by id; what is wrong with a history goes to *problems*."""
    columns = schema.events.c
    by_beer = select(schema.events).order_by(columns.beer_id, columns.version)
    rows = connection.execute(by_beer, execution_options={"yield_per": _PAGE})
    for beer_id, group in groupby(map(codec.event_from_row, rows), key=lambda event: event.beer_id):
        history = list(group)
        if [event.version for event in history] != list(range(1, len(history) + 1)):
            problems.append(f"the history of beer {beer_id} has a gap")
            continue
        try:
            beer = fold(beer_id, ((event.data, event.time) for event in history))
        except ValueError as error:
            problems.append(str(error))
            continue
        if beer is not None:
            yield beer


def _pages(beers: Iterator[Beer], size: int) -> Iterator[list[Beer]]:
    page: list[Beer] = []
    for beer in beers:
        page.append(beer)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page
