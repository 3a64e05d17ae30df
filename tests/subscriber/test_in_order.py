"""The kit in strict order: a failure holds up its own beer alone, and nothing overtakes."""

import pytest
from sqlalchemy import text

from tests.processes import Start, eventually

from .conftest import Followed


def test_in_strict_order_a_failure_holds_up_its_own_beer_alone(start: Start, followed: Followed) -> None:
    start()
    followed.start("Orderly")
    followed.tell("fail-2", "2")
    followed.add(1)
    followed.call("rename", beer_id=1, name="a")  # 2 fails twice
    followed.call("rename", beer_id=1, name="b")
    followed.add(1)
    followed.call("rename", beer_id=1, name="c")
    followed.await_effects(1, 2, 3, 4, 5)
    assert followed.effects() == [1, 4, 2, 3, 5]
    assert followed.tries(2) == 3
    assert followed.tries(3) == 1
    assert followed.inbox() == []


def test_in_strict_order_the_events_of_a_beer_go_on_after_one_that_was_given_up(
    start: Start, followed: Followed
) -> None:
    start()
    process = followed.start("Orderly")
    followed.tell("fail-1", "3")
    followed.add(1)
    followed.call("rename", beer_id=1, name="a")
    process.await_line("event given up")
    followed.await_effects(2)
    letter = followed.wire.get("evt-beers--orderly.on_event.dead-letters")
    assert letter.properties["application_headers"]["x-attempts"] == 3
    followed.publish(followed.envelope(1), "evt-beers--orderly.on_event")
    followed.await_effects(1, 2)


def test_in_strict_order_a_replayed_letter_does_not_overtake_an_earlier_one_of_its_beer(
    start: Start, followed: Followed
) -> None:
    start()
    process = followed.start("Orderly")
    followed.tell("fail-1", "3")
    followed.tell("fail-2", "3")
    followed.add(1)
    followed.call("rename", beer_id=1, name="a")
    process.await_line("event given up", times=2)
    eventually(lambda: followed.inbox() == [(1, "dead"), (2, "dead")])
    followed.tell("fail-1", "1")  # still
    for position in (1, 2):
        followed.publish(followed.envelope(position), "evt-beers--orderly.on_event")
    followed.await_effects(1, 2)
    assert followed.effects() == [1, 2]
    assert followed.tries(2) == 4
    assert followed.inbox() == []


def test_an_event_that_waits_is_done_when_its_type_is_not_wanted_any_more(start: Start, followed: Followed) -> None:
    start()
    followed.start("Choosy").stop()
    with followed.engine.begin() as connection:  # 1 was lost on its way back
        row = (
            "INSERT INTO beers_inbox_events (consumer, position, state, attempts, due) VALUES (:me, 1, 'waiting', 1, 0)"
        )
        connection.execute(text(row), {"me": "choosy.on_added"})
    followed.add(2)
    queue = "evt-beers--choosy.on_added"
    eventually(lambda: followed.wire.channel.queue_declare(queue, passive=True).message_count == 2)
    followed.wire.channel.queue_purge(queue)
    followed.start("Turned")
    followed.call("remove", beer_id=2)
    followed.await_effects(3)
    eventually(lambda: followed.mark() == 3 and followed.inbox() == [])


def test_in_strict_order_a_parked_event_is_done_when_its_type_is_not_wanted_any_more(
    start: Start, followed: Followed
) -> None:
    start()
    process = followed.start("Orderly")
    followed.tell("fail-1", "9")
    followed.add(1)
    followed.call("remove", beer_id=1)
    process.await_line("event failed")
    process.kill()
    assert (1, "parked") in followed.inbox()
    tries = followed.tries(1)
    followed.start("TurnedOrderly")
    followed.await_effects(2)
    assert followed.tries(1) == tries
    assert followed.inbox() == []


def test_in_strict_order_events_that_were_passed_over_are_not_fetched_after_another_start(
    start: Start, followed: Followed
) -> None:
    start()
    process = followed.start("TurnedOrderly")

    def is_noted_again() -> bool:
        followed.add(1)
        return followed.mark() > 1

    eventually(is_noted_again)  # while it runs
    head = followed.call("ping")["head"]
    queue = "evt-beers--orderly.on_event"
    followed.publish(followed.envelope(head), queue)
    followed.publish(b"{", queue)
    followed.wire.get(f"{queue}.dead-letters")  # so what was before it has been passed over
    assert process.stop() == 0
    assert followed.mark() == head
    process = followed.start("TurnedOrderly")
    followed.call("remove", beer_id=1)
    followed.await_effects(head + 1)
    assert "events fetched" not in process.text


def test_in_strict_order_one_of_two_instances_works_and_the_other_takes_over(start: Start, followed: Followed) -> None:
    start()
    first = followed.start("Orderly")
    followed.start("Orderly")
    calls = [followed.wire.call("add", name="x") for _ in range(100)]
    eventually(lambda: len(followed.effects()) > 10)
    first.kill()
    for call in calls:
        followed.wire.answer(call)
    followed.await_effects(*range(1, 101))
    assert followed.effects() == list(range(1, 101))


def test_another_order_on_the_same_queue_stops_the_start_with_one_line(followed: Followed) -> None:
    followed.wire.channel.queue_declare("evt-beers--orderly.on_event", durable=True, auto_delete=False)
    process = followed.start("Orderly", ready=False)
    assert process.wait() == 78
    lines = [line for line in process.text.splitlines() if not line.startswith("{")]
    assert len(lines) == 1
    assert lines[0].startswith("beers: QUEUE_TYPE=classic, order=strict: a queue was declared otherwise before")


@pytest.mark.parametrize(
    ("service", "other", "line", "kept"),
    [
        ("Disorderly", "Orderly", "order=strict: the inbox still holds 2 event(s) that order=any has begun", "waiting"),
        ("Orderly", "Disorderly", "order=any: the inbox still holds 1 event(s) that order=strict has begun", "parked"),
    ],
)
def test_the_order_is_changed_when_the_inbox_holds_nothing_that_the_other_would_miss(
    start: Start, followed: Followed, service: str, other: str, line: str, kept: str
) -> None:
    start()
    process = followed.start(service)
    followed.tell("fail-1", "2")
    followed.add(2)
    followed.await_effects(2)
    eventually(lambda: (1, kept) in followed.inbox())
    process.kill()
    refused = followed.start(other, ready=False)
    assert refused.wait() == 78
    assert f"beers: {line}" in refused.text
    process = followed.start(service)
    followed.await_effects(1, 2)
    process.stop()
    followed.wire.channel.queue_delete("evt-beers--orderly.on_event")
    followed.add(1)
    followed.start(other)
    followed.await_effects(1, 2, 3)
