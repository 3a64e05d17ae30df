"""The inbox of a subscriber, on every database that it may stand in."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.event import listen
from sqlalchemy.exc import IntegrityError

from beers_service.domain.errors import StoreUnavailable
from beers_service.store.engine import connect
from beers_service.subscriber.arrivals import Event, event_told
from beers_service.subscriber.inbox import DEAD, PARKED, WAITING, HandlerFailed, Inbox, Life, OtherLog, events


def event(position: int, beer_id: int = 1) -> Event:
    return event_told(
        {"id": f"log:{position}", "type": "BeerAdded", "position": position, "beer_id": beer_id, "data": {}}
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/own.db" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    engine = connect(url)
    yield engine
    engine.dispose()


@pytest.fixture
def inbox(engine: Engine) -> Inbox:
    inbox = Inbox(engine, "me")
    inbox.prepare()
    inbox.begin(Life("log", 0))
    return inbox


def claim(inbox: Inbox, position: int, then: Callable[[Connection], object] = lambda _: None) -> bool:
    with inbox.transaction() as connection:
        claimed = inbox.claim(connection, position)
        then(connection)
    return claimed


def rows(engine: Engine) -> list[tuple[int, str]]:
    with engine.connect() as connection:
        found = connection.execute(events.select().order_by(events.c.position))
        return [(row.position, row.state) for row in found]


def test_a_consumer_is_born_once(inbox: Inbox, engine: Engine) -> None:
    inbox.begin(Life("other", 7))
    assert inbox.life() == Life("log", 0)
    assert Inbox(engine, "somebody else").life() is None
    inbox.prepare()


def test_an_event_is_claimed_once_whether_it_is_above_the_mark_or_below(inbox: Inbox, engine: Engine) -> None:
    assert claim(inbox, 1)
    assert not claim(inbox, 1)
    assert inbox.move_mark() == 1
    assert rows(engine) == []
    assert not claim(inbox, 1)
    assert rows(engine) == []


def test_what_a_handler_did_and_the_claim_are_undone_together(inbox: Inbox, engine: Engine) -> None:
    with inbox.transaction() as connection:
        connection.execute(text("CREATE TABLE effects (position INTEGER)"))

    def handle(connection: Connection) -> None:
        connection.execute(text("INSERT INTO effects VALUES (1)"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        claim(inbox, 1, then=handle)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM effects")).scalar_one() == 0
    assert claim(inbox, 1)


@pytest.mark.parametrize("end", [Connection.commit, Connection.rollback])
def test_a_handler_that_ends_the_transaction_itself_has_failed(inbox: Inbox, end: Callable[[Connection], None]) -> None:
    with pytest.raises(HandlerFailed, match="ended the transaction"):
        claim(inbox, 1, then=end)


def test_a_handler_that_violates_a_constraint_which_is_checked_at_the_end_has_failed(
    inbox: Inbox, engine: Engine
) -> None:
    if engine.dialect.name == "sqlite":
        engine.dispose()
        listen(engine, "connect", lambda driver, _record: driver.execute("PRAGMA foreign_keys=ON"))
    with inbox.transaction() as connection:
        connection.execute(text("CREATE TABLE breweries (id INTEGER PRIMARY KEY)"))
        late = "REFERENCES breweries DEFERRABLE INITIALLY DEFERRED"
        connection.execute(text(f"CREATE TABLE effects (brewery INTEGER {late})"))
    with pytest.raises(HandlerFailed, match=r"(?i)foreign key") as failed:
        claim(inbox, 1, then=lambda connection: connection.execute(text("INSERT INTO effects VALUES (7)")))
    assert isinstance(failed.value.error, IntegrityError)
    assert rows(engine) == []
    assert claim(inbox, 1)


def test_a_handler_whose_work_a_trigger_refuses_at_the_end_has_failed(postgres_url: str) -> None:
    engine = connect(postgres_url)
    inbox = Inbox(engine, "me")
    inbox.prepare()
    inbox.begin(Life("log", 0))
    with inbox.transaction() as connection:
        connection.execute(text("CREATE TABLE effects (position INTEGER)"))
        body = "'BEGIN RAISE EXCEPTION ''too late''; END'"
        connection.execute(text(f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS {body}"))
        trigger = "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED"
        connection.execute(text(f"{trigger} FOR EACH ROW EXECUTE FUNCTION refuse()"))
    with pytest.raises(HandlerFailed, match="too late"):
        claim(inbox, 1, then=lambda connection: connection.execute(text("INSERT INTO effects VALUES (1)")))
    engine.dispose()


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_handler_that_goes_on_after_sqlite_has_ended_its_transaction_has_failed_and_changed_nothing(
    tmp_path: Path, *, goes_on: bool
) -> None:
    engine = connect(f"sqlite:///{tmp_path}/own.db")
    inbox = Inbox(engine, "me")
    inbox.prepare()
    inbox.begin(Life("log", 0))
    with inbox.transaction() as connection:
        connection.execute(text("CREATE TABLE effects (position INTEGER UNIQUE)"))
        connection.execute(text("INSERT INTO effects VALUES (1)"))

    def handle(connection: Connection) -> None:
        connection.execute(text("INSERT INTO effects VALUES (2)"))
        with pytest.raises(IntegrityError):
            connection.execute(text("INSERT OR ROLLBACK INTO effects VALUES (1)"))
        if goes_on:
            connection.execute(text("INSERT INTO effects VALUES (3)"))

    with pytest.raises(HandlerFailed, match="ended the transaction"):
        claim(inbox, 1, then=handle)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT position FROM effects")).scalars().all() == [1]
    assert claim(inbox, 1)
    engine.dispose()


def test_the_mark_moves_to_the_first_gap_and_no_further(inbox: Inbox, engine: Engine) -> None:
    for position in (2, 1, 4, 5):
        assert claim(inbox, position)
    assert inbox.move_mark() == 2
    assert rows(engine) == [(4, "done"), (5, "done")]
    assert inbox.first_missing(0, 0) == 3
    inbox.skip([3])
    assert inbox.move_mark() == 5
    assert rows(engine) == []
    assert inbox.first_missing(5, 0) is None
    assert inbox.first_missing(6, 0) == 6


def test_what_waits_for_its_retry_is_not_missing_until_it_is_overdue(inbox: Inbox) -> None:
    inbox.set_aside(1, WAITING, 1, due=1000)
    assert claim(inbox, 2)
    assert inbox.move_mark() == 0
    assert inbox.first_missing(2, overdue=999) is None
    assert inbox.unknown([1, 2, 3], overdue=999) == {3: 0}
    assert inbox.first_missing(2, overdue=1001) == 1
    assert inbox.unknown([1, 2, 3], overdue=1001) == {1: 1, 3: 0}
    assert claim(inbox, 1)
    inbox.set_aside(1, WAITING, 2, due=1000)  # too late: a copy of it has been handled
    assert not claim(inbox, 1)


def test_an_event_that_waits_is_done_when_it_needs_no_handler_any_more(inbox: Inbox, engine: Engine) -> None:
    inbox.set_aside(1, WAITING, 1, due=1000)
    inbox.set_aside(2, DEAD, 3)
    inbox.skip([1, 2, 3])
    assert inbox.first_missing(3, overdue=1001) is None
    assert inbox.move_mark() == 3
    assert rows(engine) == []


@pytest.mark.parametrize("state", [WAITING, DEAD])
def test_a_copy_that_failed_is_not_set_aside_when_another_was_handled_and_forgotten(
    inbox: Inbox, engine: Engine, state: str
) -> None:
    assert claim(inbox, 1)
    assert inbox.move_mark() == 1
    inbox.set_aside(1, state, 1, due=1000)
    assert rows(engine) == []
    assert not claim(inbox, 1)


def test_the_mark_passes_a_dead_event_which_can_still_be_claimed_once(inbox: Inbox, engine: Engine) -> None:
    inbox.set_aside(1, DEAD, 3)
    assert claim(inbox, 2)
    assert inbox.move_mark() == 2
    assert rows(engine) == [(1, "dead")]
    assert claim(inbox, 1)
    assert inbox.move_mark() == 2
    assert rows(engine) == []
    assert not claim(inbox, 1)


def test_of_two_who_claim_the_same_event_at_a_time_one_gets_it(inbox: Inbox, engine: Engine) -> None:
    other = Inbox(engine, "me")
    claimed: list[bool] = []
    with inbox.transaction() as connection:
        assert inbox.claim(connection, 1)
        rival = threading.Thread(target=lambda: claimed.append(claim(other, 1)))
        rival.start()
        rival.join(0.2)
        assert claimed == []  # it waits for the outcome
    rival.join(10)
    assert claimed == [False]


def test_the_mark_is_moved_by_one_of_two_only(inbox: Inbox) -> None:
    with inbox.transaction() as connection:
        assert inbox.advance(connection, 0, 1)
    with inbox.transaction() as connection:
        assert not inbox.advance(connection, 0, 1)
        assert inbox.advance(connection, 1, 5)
    assert inbox.life() == Life("log", 5)


def test_the_first_parked_event_of_each_beer_is_tried_the_earliest_due_before_others(inbox: Inbox) -> None:
    with inbox.transaction() as connection:
        inbox.park(connection, event(1, beer_id=7), 1, due=200)
        inbox.park(connection, event(2, beer_id=7), 0, due=0)
        inbox.park(connection, event(3, beer_id=8), 1, due=100)
        assert inbox.has_parked_before(connection, event(4, beer_id=7))
        assert not inbox.has_parked_before(connection, event(1, beer_id=7))
        assert not inbox.has_parked_before(connection, event(4, beer_id=9))
    tried = []
    while found := inbox.parked():
        tried.append((found[0].position, found[0].attempts, found[1]))
        with inbox.transaction() as connection:
            assert inbox.take_back(connection, found[0].position, PARKED)
    assert tried == [(3, 1, 100), (1, 1, 200), (2, 0, 0)]


def test_an_order_leaves_nothing_to_the_other_but_what_it_has_not_brought_to_an_end(inbox: Inbox) -> None:
    assert claim(inbox, 1)  # a stop came before the mark was moved
    assert inbox.left_by_other_order(strict=True) == 0
    inbox.set_aside(2, WAITING, 1, due=1000)
    assert claim(inbox, 3)
    inbox.set_aside(4, DEAD, 3)
    assert inbox.left_by_other_order(strict=True) == 3
    assert inbox.left_by_other_order(strict=False) == 0
    assert claim(inbox, 2)
    assert inbox.left_by_other_order(strict=True) == 0
    with inbox.transaction() as connection:
        assert inbox.advance(connection, 4, 5)
        inbox.park(connection, event(5), 1, due=1000)
    assert inbox.left_by_other_order(strict=True) == 0
    assert inbox.left_by_other_order(strict=False) == 1


def test_a_dead_event_is_taken_back_once(inbox: Inbox) -> None:
    with inbox.transaction() as connection:
        inbox.bury(connection, event(1), 3)
    assert inbox.is_dead(1)
    assert not inbox.is_dead(2)
    with inbox.transaction() as connection:
        assert not inbox.take_back(connection, 1, PARKED)
        assert inbox.take_back(connection, 1, DEAD)
        assert not inbox.take_back(connection, 1, DEAD)


def test_consumers_share_a_database_and_nothing_else(inbox: Inbox, engine: Engine) -> None:
    other = Inbox(engine, "you")
    other.begin(Life("log", 3))
    assert claim(inbox, 4)
    assert claim(other, 4)
    assert other.move_mark() == 4
    assert inbox.move_mark() == 0


def test_a_consumer_that_has_come_no_farther_than_both_logs_are_the_same_goes_on_in_the_other(
    inbox: Inbox, engine: Engine
) -> None:
    inbox.set_aside(1, DEAD, 3)
    assert claim(inbox, 2)
    assert inbox.move_mark() == 2
    inbox.set_aside(4, WAITING, 1, due=1000)
    assert inbox.follow("second", 4, forget=False)
    assert inbox.life() == Life("second", 2)
    assert rows(engine) == [(1, "dead"), (4, "waiting")]
    assert inbox.follow("second", 0, forget=False)  # another instance of it finds that done
    assert inbox.life() == Life("second", 2)


@pytest.mark.parametrize(("shared", "mark", "left"), [(3, 2, []), (1, 1, [])])
def test_a_consumer_that_knows_later_positions_goes_on_in_the_other_log_when_it_may_forget_them(
    inbox: Inbox, engine: Engine, shared: int, mark: int, left: list[tuple[int, str]]
) -> None:
    inbox.skip([1, 2])
    assert inbox.move_mark() == 2
    assert claim(inbox, 4)
    assert not inbox.follow("second", shared, forget=False)
    assert inbox.life() == Life("log", 2)
    assert rows(engine) == [(4, "done")]
    assert inbox.follow("second", shared, forget=True)
    assert inbox.life() == Life("second", mark)
    assert rows(engine) == left
    assert claim(inbox, 4)


def test_nothing_is_done_for_a_log_that_the_consumer_does_not_follow_any_more(inbox: Inbox, engine: Engine) -> None:
    inbox.log_id = "log"
    assert claim(inbox, 1)
    assert Inbox(engine, "me").follow("second", 1, forget=False)
    with pytest.raises(OtherLog):
        claim(inbox, 2)
    with pytest.raises(OtherLog):
        inbox.skip([2])
    assert rows(engine) == [(1, "done")]
    inbox.log_id = "second"
    assert claim(inbox, 2)


def test_whoever_follows_another_log_waits_for_what_is_being_committed_of_this_one(
    inbox: Inbox, engine: Engine
) -> None:
    inbox.log_id = "log"
    followed: list[bool] = []
    rival = threading.Thread(target=lambda: followed.append(Inbox(engine, "me").follow("second", 1, forget=False)))

    def on_commit(_: Connection) -> None:
        if not rival.ident:
            rival.start()
            rival.join(0.2)
            assert followed == []

    listen(engine, "commit", on_commit)
    assert claim(inbox, 2)
    rival.join(10)
    assert followed == [False]
    assert inbox.life() == Life("log", 0)


def test_a_database_that_is_away_is_said_to_be_so() -> None:
    engine = connect("postgresql+psycopg2://me:s3cret@127.0.0.1:1/x")
    with pytest.raises(StoreUnavailable) as error:
        Inbox(engine, "me").prepare()
    assert "s3cret" not in str(error.value)
