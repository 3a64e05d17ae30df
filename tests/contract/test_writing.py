"""What every store and the writer on it promise about commands."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from beers_service.domain import commands
from beers_service.domain.beer import Beer, evolve, fold
from beers_service.domain.errors import BeerNotFound, DeadlinePassed, RequestIdReused, VersionConflict
from beers_service.domain.events import BeerAdded
from beers_service.ports import Head, StoredAnswer, StoredEvent
from beers_service.writer import Request

from .conftest import Store


def added(store: Store, name: str = "Punk IPA") -> Beer:
    outcome = store.run(commands.add(name, brewery="BrewDog", abv=5.6, description="line\none"))
    assert isinstance(outcome, list)
    return outcome[0]


def test_an_added_beer_can_be_read_as_it_was_answered(store: Store) -> None:
    beer = added(store)
    assert store.reader.beers([beer.id, 99]) == {beer.id: beer}


def test_an_accepted_command_is_an_event_with_the_next_position(store: Store) -> None:
    beer = added(store)
    store.run(commands.rename(beer.id, "Punk"))
    events = store.reader.events(0, 10)
    assert [(event.position, event.beer_id, event.version) for event in events] == [(1, beer.id, 1), (2, beer.id, 2)]
    assert events[0].data == BeerAdded("Punk IPA", "BrewDog", "", 5.6, None, "line\none")
    assert (events[0].request_id, events[0].correlation_id, events[0].time) == ("request-1", "conversation", store.now)
    assert store.reader.head().position == 2


def test_a_log_with_another_id_is_the_same_otherwise_and_remembers_the_ids_that_it_had(store: Store) -> None:
    beer = added(store)
    head, events = store.reader.head(), store.reader.records(0, 10)
    assert store.reader.former_logs() == {}
    assert store.log.change_id("second") == head
    assert store.reader.head() == replace(head, log_id="second")
    assert store.reader.records(0, 10) == events
    assert store.reader.former_logs() == {head.log_id: 1}
    store.run(commands.rename(beer.id, "Punk"))
    assert store.reader.head().log_id == "second"
    assert store.log.change_id("third").log_id == "second"
    assert store.reader.former_logs() == {head.log_id: 1, "second": 2}


def test_every_event_keeps_who_did_it_and_none_where_nobody_is_known(store: Store) -> None:
    """Each kind of command in one batch, of several actors."""
    requests = [
        store.request(commands.add("a"), actor="Åse"),
        store.request(commands.rename(1, "b"), actor="till 3"),
        store.request(commands.update(1, {"abv": 5}), actor="👩\u200d🍳" * 66 + "!?"),  # 200 characters
        store.request(commands.remove(1)),
        store.request(commands.restore(1), actor="Åse"),
        store.request(*commands.add_many([{"name": "c"}, {"name": "d"}]), actor="till 3"),
    ]
    for outcome in store.writer().submit(requests):
        assert isinstance(outcome, list)
    expected = ["Åse", "till 3", "👩\u200d🍳" * 66 + "!?", None, "Åse", "till 3", "till 3"]
    assert [event.actor for event in store.reader.events(0, 10)] == expected
    assert [record.actor for record in store.reader.records(0, 10)] == expected
    assert [event.actor for event in store.reader.history(1)] == expected[:5]


def test_a_request_that_comes_again_from_another_actor_is_the_same_and_stays_that_of_the_first(store: Store) -> None:
    first = store.run(commands.add("a"), request_id="once", actor="till 3")
    assert store.run(commands.add("a"), request_id="once", actor="till 4") == first
    assert store.run(commands.add("a"), request_id="once") == first
    assert [event.actor for event in store.reader.events(0, 10)] == ["till 3"]


def test_ids_are_given_from_one_and_never_again(store: Store) -> None:
    first = added(store)
    store.run(commands.remove(first.id))
    assert (first.id, added(store).id) == (1, 2)


def test_two_beers_may_share_a_name(store: Store) -> None:
    assert added(store).name == added(store).name


def test_the_read_model_is_the_fold_of_the_log(store: Store) -> None:
    beer = added(store)
    store.run(commands.update(beer.id, {"abv": None, "style": "IPA"}))
    store.run(commands.rename(beer.id, "Pünk"))
    store.run(commands.remove(beer.id))
    store.run(commands.restore(beer.id))
    history = store.reader.history(beer.id)
    assert store.reader.beers([beer.id])[beer.id] == fold(beer.id, ((event.data, event.time) for event in history))
    assert [event.version for event in history] == [1, 2, 3, 4, 5]


def test_a_command_that_changes_nothing_succeeds_and_appends_nothing(store: Store) -> None:
    beer = added(store)
    assert store.run(commands.rename(beer.id, beer.name)) == [beer]
    assert store.reader.head().position == 1


def test_a_refused_command_appends_nothing(store: Store) -> None:
    assert isinstance(store.run(commands.remove(7)), BeerNotFound)
    assert store.reader.head().position == 0
    assert store.committed == []


def test_a_stale_version_is_refused(store: Store) -> None:
    beer = added(store)
    assert isinstance(store.run(commands.rename(beer.id, "x"), expected_version=7), VersionConflict)
    renamed = store.run(commands.rename(beer.id, "x"), expected_version=1)
    assert isinstance(renamed, list)
    assert renamed[0].version == 2


def test_one_batch_may_touch_a_beer_many_times(store: Store) -> None:
    requests = [
        store.request(commands.add("a")),
        store.request(commands.rename(1, "b"), expected_version=1),
        store.request(commands.remove(1), expected_version=1),
        store.request(commands.remove(1), expected_version=2),
        store.request(commands.rename(1, "c")),
        store.request(commands.restore(1)),
    ]
    outcomes = store.writer().submit(requests)
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "list", "list", "VersionConflict", "list", "BeerNotFound", "list",
    ]  # fmt: skip
    assert [event.version for event in store.reader.history(1)] == [1, 2, 3, 4]


def test_a_request_of_many_commands_is_carried_out_together_or_not_at_all(store: Store) -> None:
    beers = store.run(*commands.add_many([{"name": "a"}, {"name": "b"}]))
    assert isinstance(beers, list)
    assert [beer.name for beer in beers] == ["a", "b"]
    outcome = store.run(commands.add("c"), commands.remove(99), commands.add("d"))
    assert isinstance(outcome, BeerNotFound)
    assert store.reader.head().last_beer_id == 2
    assert [beer.id for beer in [added(store)]] == [3]


def test_the_same_request_is_answered_again_as_it_was(store: Store) -> None:
    first = store.run(commands.add("a"), request_id="once")
    store.run(commands.rename(1, "b"))
    assert store.run(commands.add("a"), request_id="once") == first
    assert store.reader.head().position == 2


def test_a_refusal_is_answered_again_though_it_would_not_be_refused_now(store: Store) -> None:
    assert isinstance(store.run(commands.rename(1, "b"), request_id="once"), BeerNotFound)
    added(store)
    again = store.run(commands.rename(1, "b"), request_id="once")
    assert isinstance(again, BeerNotFound)
    assert again.args == ("1",)


def test_a_request_id_with_another_command_is_an_error_and_does_nothing(store: Store) -> None:
    store.run(commands.add("a"), request_id="once")
    assert isinstance(store.run(commands.add("b"), request_id="once"), RequestIdReused)
    assert isinstance(store.run(commands.add("a"), request_id="once", expected_version=0), RequestIdReused)
    assert store.reader.head().position == 1


def test_the_same_request_twice_in_one_batch_runs_once(store: Store) -> None:
    request = store.request(commands.add("a"))
    first, second = store.writer().submit([request, request])
    assert first == second
    assert store.reader.head().position == 1


def test_answers_are_forgotten_after_their_time_a_few_at_a_time(store: Store) -> None:
    for number in range(5):
        store.run(commands.add("a"), request_id=f"old-{number}")
    store.now += timedelta(days=8)
    store.run(commands.add("a"), request_id="new")
    assert [store.log.forget_answers(store.now - timedelta(days=7), 3) for _ in range(3)] == [3, 2, 0]
    store.run(commands.add("a"), request_id="old-0")
    store.run(commands.add("a"), request_id="new")
    assert store.reader.head().position == 7


def test_time_never_runs_backwards_in_the_log(store: Store) -> None:
    added(store)
    store.now -= timedelta(hours=1)
    added(store)
    first, second = store.reader.events(0, 10)
    assert first.time == second.time


def test_a_request_whose_time_is_over_is_not_carried_out(store: Store) -> None:
    late = Request((commands.add("a"),), "late", "conversation", deadline=0.0)
    outcome = store.writer().submit([late])[0]
    assert isinstance(outcome, DeadlinePassed)
    assert outcome.args == ("late",)
    assert store.reader.head().position == 0


def test_a_transaction_that_dies_leaves_no_gap_and_nothing_else(store: Store) -> None:
    added(store)
    with pytest.raises(KeyboardInterrupt), store.log.transaction() as transaction:  # noqa: PT012 - it has to raise inside
        event = StoredEvent(2, 2, 1, store.now, "dies", "conversation", BeerAdded("x", "", "", None, None, ""))
        head = Head(transaction.head.log_id, 2, 2, store.now)
        transaction.append(
            head,
            [event],
            {2: evolve(None, event.data, beer_id=2, time=store.now)},
            [StoredAnswer("dies", "", (), None)],
            store.now,
        )
        raise KeyboardInterrupt
    added(store)
    assert [event.position for event in store.reader.events(0, 10)] == [1, 2]


def test_whoever_commits_says_so_once_a_batch(store: Store) -> None:
    store.writer().submit([store.request(commands.add("a")) for _ in range(10)])
    assert len(store.committed) == 1


def test_the_same_request_sent_20_times_at_once_runs_once(store: Store) -> None:
    writers = [store.writer() for _ in range(4)]
    request = store.request(commands.add("a"))
    outcomes: list[object] = []
    threads = [
        threading.Thread(target=lambda writer=writers[number % 4]: outcomes.extend(writer.submit([request])))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 20
    assert all(outcome == outcomes[0] and isinstance(outcome, list) for outcome in outcomes)
    assert store.reader.head().position == 1


def test_eight_writers_leave_no_gap_and_a_tail_reader_misses_nothing(store: Store) -> None:
    """8 writers, each with a writer of its own as 8 processes would have, of 500 commands."""
    failures: list[object] = []

    def write(number: int) -> None:
        writer = store.writer()
        for batch in range(20):
            requests = [
                Request((commands.add(f"beer {number}"),), f"{number}-{batch}-{index}", "conversation")
                for index in range(25)
            ]
            failures.extend(outcome for outcome in writer.submit(requests) if not isinstance(outcome, list))

    threads = [threading.Thread(target=write, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    seen: list[int] = []
    while any(thread.is_alive() for thread in threads) or store.reader.head().position > len(seen):
        seen += [event.position for event in store.reader.events(seen[-1] if seen else 0, 200)]
    assert failures == []
    assert seen == list(range(1, 4001))
    assert store.reader.head().last_beer_id == 4000
