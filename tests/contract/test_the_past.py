"""What a beer was, asked of every store: as the log says, and nothing else."""

import itertools
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beers_service import histories
from beers_service.calls import Calls
from beers_service.domain import commands
from beers_service.domain.beer import fold
from beers_service.domain.commands import Command
from beers_service.domain.errors import BeerNotFound, DeadlinePassed, PositionOutOfRange
from beers_service.methods import Answer, Call
from beers_service.ports import StoredEvent
from beers_service.representation import represent_beer, represent_time

from .conftest import Store

BEERS = 3

Step = tuple[int, Callable[[int], Command], int]
"""Which of the beers, what is done to it, and how many microseconds after the step before."""

_DOINGS: list[Callable[[int], Command]] = [
    lambda beer_id: commands.rename(beer_id, "Punk"),
    lambda beer_id: commands.rename(beer_id, "Jever"),
    lambda beer_id: commands.update(beer_id, {"abv": 5.6, "style": "IPA"}),
    lambda beer_id: commands.update(beer_id, {"abv": None}),
    commands.remove,
    commands.restore,
]
STEPS = st.lists(st.tuples(st.integers(0, BEERS - 1), st.sampled_from(_DOINGS), st.integers(0, 2)), max_size=15)


@pytest.fixture
def calls(store: Store) -> Calls:
    return Calls(store.writer(), store.reader, structlog.get_logger())


def ask(calls: Calls, questions: Sequence[tuple[int, int | str]]) -> list[Answer]:
    """Ask for beers as of positions or times, and tell refusals by their names."""
    asked = [Call("get", {"beer_id": beer_id, "as_of": as_of}, "call", "talk") for beer_id, as_of in questions]
    return [type(answer) if isinstance(answer, Exception) else answer for answer in calls.run(asked)]


def expected(log: Sequence[StoredEvent], beer_id: int, until: int | datetime) -> Answer:
    """What the plain log says that a beer was."""
    so_far = [event for event in log if (event.position <= until if isinstance(until, int) else event.time <= until)]
    history = [(event.data, event.time) for event in so_far if event.beer_id == beer_id]
    beer = fold(beer_id, history)
    return BeerNotFound if beer is None or beer.removed_at is not None else represent_beer(beer)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_a_beer_as_of_then_is_what_the_log_up_to_then_folds_to(store: Store, calls: Calls, steps: list[Step]) -> None:
    before = store.reader.head()
    store.now = max(store.now, before.time) + timedelta(microseconds=1)
    added = store.run(*(commands.add(f"beer {number}") for number in range(BEERS)))
    assert isinstance(added, list)
    ids = [beer.id for beer in added]
    for beer, doing, later in steps:
        store.now += timedelta(microseconds=later)
        store.run(doing(ids[beer]))  # what is refused leaves nothing in the log

    log = store.reader.events(before.position, 1000)
    moments: list[int | datetime] = [before.position]
    moments += [event.position for event in log]
    moments += sorted({event.time for event in log} | {log[0].time - timedelta(microseconds=1)})
    questions = [(beer_id, moment) for moment in moments for beer_id in ids]
    asked = [(beer_id, moment if isinstance(moment, int) else represent_time(moment)) for beer_id, moment in questions]
    assert ask(calls, asked) == [expected(log, beer_id, moment) for beer_id, moment in questions]

    head = log[-1].position
    assert ask(calls, [(beer_id, head + 1) for beer_id in ids]) == [PositionOutOfRange] * BEERS


def changed(store: Store, times: int) -> int:
    """Add a beer and rename it so many times; return its id."""
    added = store.run(commands.add("version 1"))
    assert isinstance(added, list)
    for version in range(2, times + 2):
        store.run(commands.rename(added[0].id, f"version {version}"), request_id=f"{added[0].id}-{version}")
    return added[0].id


def test_a_long_history_is_folded_page_by_page_and_others_have_their_turn_in_between(
    store: Store, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "PAGE", 3)
    turns: list[float] = []
    monkeypatch.setattr(time, "sleep", turns.append)
    before = store.reader.head().position
    beer_id = changed(store, 6)
    for version in range(1, 8):
        (answer,) = ask(calls, [(beer_id, before + version)])
        assert (answer["version"], answer["name"]) == (version, f"version {version}")
    assert turns == [0] * 7, "after each whole page"
    again = store.run(commands.rename(beer_id, "version 7"), request_id=f"{beer_id}-7")
    assert isinstance(again, list)
    assert (again[0].version, again[0].name) == (7, "version 7")


def test_who_has_no_time_for_a_long_history_is_told_so_and_a_short_one_is_answered(
    store: Store, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "PAGE", 3)
    beer_id = changed(store, 6)
    late = time.monotonic() - 1
    with pytest.raises(DeadlinePassed):
        histories.beer_until(store.reader, beer_id, None, deadline=late)
    short = histories.beer_until(store.reader, beer_id, None, version=2, deadline=late)
    assert short is not None
    assert short.name == "version 2"
    assert histories.beer_until(store.reader, beer_id + 1, None, deadline=late) is None
    clock = itertools.count(time.time(), 100)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    head = store.reader.head().position
    asked = Call("get", {"beer_id": beer_id, "as_of": head}, "call", "talk", deadline=time.time() + 50)
    (answer,) = calls.run([asked])
    assert isinstance(answer, DeadlinePassed)
