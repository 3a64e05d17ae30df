"""What only stores that outlive a process promise: leadership, damage found and mended."""

import json
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError, ProgrammingError

from beers_runtime.configuration import ConfigurationError
from beers_service import admin
from beers_service.domain import commands
from beers_service.domain.beer import fold
from beers_service.domain.errors import OutcomeUnknown, StoreUnavailable
from beers_service.domain.events import BeerNameChanged
from beers_service.envelope import envelope, message
from beers_service.store import migrations, schema
from beers_service.store.driver import fetch, transaction
from beers_service.store.engine import connect, writing
from beers_service.store.event_log import SqlEventLog
from beers_service.store.payloads import PAYLOADS, Payload
from beers_service.store.reader import SqlReader
from beers_service.store.relay_cursor import SqlRelayCursor

from .conftest import Store, sql_store

KILL_OTHERS = (
    "SELECT pg_terminate_backend(pid), pg_sleep(0.2) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
"""Ends every other session of a database of PostgreSQL."""


@pytest.fixture
def cursors(sql: Store, url: str) -> Iterator[list[SqlRelayCursor]]:
    """The cursors of two processes."""
    assert sql.engine is not None
    both = [SqlRelayCursor(connect(url)), SqlRelayCursor(connect(url))]
    yield both
    for cursor in both:
        cursor.resign()


def led(cursor: SqlRelayCursor) -> int:
    """Lead as soon as it is possible: PostgreSQL takes a moment to notice that a session has ended."""
    deadline = time.monotonic() + 10
    while (position := cursor.lead()) is None:
        assert time.monotonic() < deadline, "the lead is not given away"
        time.sleep(0.01)
    return position


def renewed(url: str) -> admin.NewLogId:
    """Give the log a new id as soon as it is possible, likewise."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return admin.new_log_id(url)
        except admin.StoreInUse:
            assert time.monotonic() < deadline, "the store stays in use"
            time.sleep(0.01)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "beers.db",
        "mysql://localhost/beers",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////nowhere/at/all.db",
        "postgresql://localhost/beers",
        "postgresql+psycopg2://u:s3cret@pw:xx/x",
    ],
)
def test_a_url_that_cannot_work_is_refused_by_its_name(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        connect(url)


def test_sqlite_waits_for_the_disk_at_every_commit_that_must_last(tmp_path: Path) -> None:
    """On one connection, through the driver as the writer and the relay use it and through SQLAlchemy."""
    engine = connect(f"sqlite:///{tmp_path}/beers.db")

    def driver(*, lasting: bool = True) -> bool:
        with transaction(engine, "PRAGMA synchronous", lasting=lasting) as cursor:
            return bool(cursor.fetchone() == (2,))

    def sqlalchemy() -> bool:
        with writing(engine) as connection:
            assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
            return bool(connection.execute(text("PRAGMA synchronous")).scalar_one() == 2)

    assert [driver(), driver(lasting=False), sqlalchemy(), driver(lasting=False), driver()] == [
        True, False, True, False, True,
    ]  # fmt: skip


def test_sqlite_copies_what_many_commits_change_only_now_and_then(tmp_path: Path) -> None:
    file = tmp_path / "beers.db"
    store = sql_store(f"sqlite:///{file}")
    size = file.stat().st_size
    log = Path(f"{file}-wal")
    for _ in range(100):
        store.writer().submit([store.request(commands.add(f"beer {number}")) for number in range(100)])
        if log.stat().st_size > 1500 * 4096:  # by itself it would have been copied at 1000 pages
            break
    assert log.stat().st_size > 1500 * 4096
    assert file.stat().st_size == size


def test_postgresql_waits_for_the_disk_at_every_commit_that_must_last(postgres_url: str) -> None:
    engine = connect(postgres_url)

    def driver(*, lasting: bool = True) -> bool:
        with transaction(engine, "SHOW synchronous_commit", lasting=lasting) as cursor:
            return bool(cursor.fetchone() == ("on",))

    def sqlalchemy() -> bool:
        with writing(engine) as connection:
            return bool(connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on")

    assert [driver(), driver(lasting=False), sqlalchemy(), driver()] == [True, False, True, True]
    engine.dispose()


def test_only_one_relay_leads_and_the_next_one_goes_on_from_there(cursors: list[SqlRelayCursor]) -> None:
    first, second = cursors
    assert first.lead() == 0
    assert second.lead() is None
    assert first.advance(3)
    first.resign()
    assert led(second) == 3


def test_leading_again_needs_no_second_lock(cursors: list[SqlRelayCursor]) -> None:
    first, second = cursors
    assert (first.lead(), first.lead()) == (0, 0)
    first.resign()
    assert led(second) == 0


def test_a_relay_that_was_deposed_without_noticing_cannot_move_the_cursor(
    sql: Store, cursors: list[SqlRelayCursor]
) -> None:
    assert sql.engine is not None
    cursor = cursors[0]
    cursor.lead()
    with writing(sql.engine) as connection:
        connection.execute(update(schema.relay).values(epoch=schema.relay.c.epoch + 1))
    assert not cursor.advance(7)
    assert cursor.lead() == 0


def test_a_log_gets_a_new_id_only_while_no_service_uses_the_store(
    sql: Store, url: str, cursors: list[SqlRelayCursor]
) -> None:
    sql.run(commands.add("Punk"))
    before = sql.reader.head()
    cursors[0].lead()
    with pytest.raises(admin.StoreInUse, match="a service uses the store; end every one of them first"):
        admin.new_log_id(url)
    assert (sql.reader.head(), sql.reader.former_logs()) == (before, {})
    cursors[0].resign()
    done = renewed(url)
    assert (done.before, done.position) == (before.log_id, 1)
    assert sql.reader.head().log_id == done.after != done.before
    assert led(cursors[1]) == 0  # it has let go of the store


def test_a_commit_by_another_process_ends_a_wait_on_postgresql(postgres_url: str) -> None:
    store = sql_store(postgres_url)
    cursor = SqlRelayCursor(connect(postgres_url))
    cursor.lead()
    store.run(commands.add("Punk"))
    began = time.monotonic()
    cursor.wait(60)
    assert time.monotonic() - began < 30
    cursor.resign()


def add_many(url: str, number: int) -> None:
    """Add 200 beers from a process of its own."""
    store = sql_store(url)
    for index in range(200):
        outcome = store.run(commands.add("beer"), request_id=f"{number}-{index}")
        assert isinstance(outcome, list), outcome


def test_processes_share_a_store_without_gaps_or_failures(sql: Store, url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=add_many, args=[url, number]) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [event.position for event in sql.reader.events(0, 1000)] == list(range(1, 601))


def test_a_sound_store_verifies_and_rebuilds_to_itself(sql: Store, url: str) -> None:
    for beer in range(1, 4):
        sql.run(commands.add(f"beer {beer}", abv=beer))
        sql.run(commands.rename(beer, "x"))
    before = sql.reader.beers([1, 2, 3])
    seen: list[tuple[int, int]] = []
    assert admin.verify(url, lambda *step: seen.append(step)) == admin.Verification(events=6, beers=3, problems=[])
    assert admin.rebuild(url, lambda *step: seen.append(step)) == 3
    assert sql.reader.beers([1, 2, 3]) == before
    assert seen == [(3, 3), (3, 3)]


def test_damage_is_found_and_rebuilding_mends_what_the_log_can_tell(sql: Store, url: str) -> None:
    assert sql.engine is not None
    sql.run(commands.add("Punk"))
    sql.run(commands.add("Jever"))
    with sql.engine.begin() as connection:
        connection.execute(text("UPDATE beers SET name = 'Pils' WHERE id = 1"))
        connection.execute(text("DELETE FROM beers WHERE id = 2"))
    problems = admin.verify(url, lambda *_: None).problems
    assert [problem.split(" ")[1] for problem in problems] == ["1", "2", "are"]
    admin.rebuild(url, lambda *_: None)
    assert admin.verify(url, lambda *_: None).problems == []


def test_a_gap_in_the_log_is_found_and_not_rebuilt_from(sql: Store, url: str) -> None:
    assert sql.engine is not None
    sql.run(commands.add("Punk"))
    sql.run(commands.rename(1, "x"))
    sql.run(commands.rename(1, "y"))
    with sql.engine.begin() as connection:
        connection.execute(text("DELETE FROM events WHERE position = 2"))
    assert admin.verify(url, lambda *_: None).problems[:2] == [
        "the log ends at 3, its last event is 3, and it holds 2",
        "the history of beer 1 has a gap",
    ]
    with pytest.raises(LookupError, match="has a gap"):
        admin.rebuild(url, lambda *_: None)
    assert sql.reader.beers([1])[1].name == "y"


def test_an_event_of_a_newer_version_is_not_guessed_at(sql: Store) -> None:
    assert sql.engine is not None
    sql.run(commands.add("Punk"))
    with sql.engine.begin() as connection:
        connection.execute(update(schema.events).values(schema=99))
    for read in (sql.reader.events, sql.reader.records):
        with pytest.raises(LookupError, match="event 1 is a BeerAdded of schema 99, which this version cannot read"):
            read(0, 1)


def test_an_event_of_an_older_version_is_read_folded_and_published_in_the_newest_form(sql: Store, url: str) -> None:
    """A service whose BeerNameChanged has a second version meets the log of one that knew the first."""
    assert sql.engine is not None
    sql.run(commands.add("Punk"))
    sql.run(commands.rename(1, "Punk IPA"))
    with sql.engine.begin() as connection:
        renamed = update(schema.events).where(schema.events.c.position == 2)
        connection.execute(renamed.values(data='{"from": "Punk", "to": "Punk IPA"}'))
    renaming = Payload(
        lambda data: BeerNameChanged(**data), (lambda data: {"name": data["to"], "previous_name": data["from"]},)
    )
    known = {**PAYLOADS, "BeerNameChanged": renaming}
    newer = Store(SqlEventLog(sql.engine, known), SqlReader(sql.engine, known), sql.cursor, url, sql.engine, requests=9)

    old = newer.reader.history(1)[1]
    assert old.data == BeerNameChanged("Punk IPA", previous_name="Punk")
    beer = fold(1, ((event.data, event.time) for event in newer.reader.history(1)))
    assert beer == newer.reader.beers([1])[1]
    published = json.loads(message(newer.reader.records(1, 1)[0], "log").body)
    assert published == envelope(old, "log", known)
    assert (published["schema"], published["data"]) == (2, {"name": "Punk IPA", "previous_name": "Punk"})

    newer.run(commands.rename(1, "Jever"))
    with sql.engine.connect() as connection:
        rows = connection.execute(select(schema.events.c.schema).order_by(schema.events.c.position)).scalars()
        assert list(rows) == [1, 1, 2]
    assert [event.data for event in newer.reader.events(1, 9)] == [old.data, BeerNameChanged("Jever", "Punk IPA")]
    with pytest.raises(LookupError, match="event 3 is a BeerNameChanged of schema 2, which this version cannot read"):
        sql.reader.events(2, 1)


def test_a_store_that_is_away_is_unavailable_and_says_that_nothing_was_done() -> None:
    store = connect("postgresql+psycopg2://beers:s3cret@127.0.0.1:1/beers")
    with pytest.raises(StoreUnavailable, match="nothing was done") as refused:
        migrations.require_current(store)
    assert "s3cret" not in str(refused.value)


def test_after_all_sessions_died_one_transaction_fails_and_the_next_one_goes_through(postgres_url: str) -> None:
    store, other = sql_store(postgres_url), connect(postgres_url)
    assert store.engine is not None
    with store.engine.connect(), store.engine.connect(), store.engine.connect():
        """The pool has three connections."""
    fetch(other, KILL_OTHERS)
    with pytest.raises(StoreUnavailable):
        store.reader.head()
    with pytest.raises(StoreUnavailable), transaction(store.engine, "UPDATE log_head SET position = 7") as cursor:  # noqa: PT012 - it has to raise inside
        fetch(other, KILL_OTHERS)
        cursor.execute("SELECT 1")
    assert store.reader.head().position == 0


def test_what_postgresql_refuses_at_the_commit_is_no_unknown_outcome(postgres_url: str) -> None:
    store = sql_store(postgres_url)
    assert store.engine is not None
    with writing(store.engine) as connection:
        connection.execute(
            text("CREATE TABLE a (id int PRIMARY KEY, b int REFERENCES a DEFERRABLE INITIALLY DEFERRED)")
        )
    with pytest.raises(IntegrityError), transaction(store.engine, "INSERT INTO a VALUES (7, 8)"):
        """It looks at the reference in the commit."""
    assert fetch(store.engine, "SELECT * FROM a") == []


def test_a_transaction_that_fails_or_is_killed_gives_its_lock_back(sql: Store) -> None:
    assert sql.engine is not None
    for failure in (KeyboardInterrupt, ValueError):
        with pytest.raises(failure), sql.log.transaction():
            raise failure
    with pytest.raises(ProgrammingError if sql.engine.dialect.name == "postgresql" else StoreUnavailable):
        fetch(sql.engine, "SELECT * FROM nowhere")
    assert isinstance(sql.run(commands.add("Punk")), list)


def test_a_session_that_dies_in_the_commit_leaves_the_outcome_unknown(postgres_url: str) -> None:
    store, other = sql_store(postgres_url), connect(postgres_url)
    assert store.engine is not None
    with pytest.raises(OutcomeUnknown), writing(store.engine) as connection:  # noqa: PT012 - the commit raises
        connection.execute(text("SELECT 1"))
        fetch(other, KILL_OTHERS)
    with pytest.raises(OutcomeUnknown), transaction(store.engine, "SELECT 1"):
        fetch(other, KILL_OTHERS)
    assert store.reader.head().position == 0
