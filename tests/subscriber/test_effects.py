"""The kit for other services: an event has its effect, and has it once, whatever happens to whom."""

from typing import Any

import amqp
import pytest

from beers_service.envelope import EXCHANGE
from tests.processes import Start, eventually

from .conftest import QUEUE, Followed


def test_an_event_that_is_delivered_again_has_no_second_effect(start: Start, followed: Followed) -> None:
    start()
    followed.add(2)
    followed.start()
    followed.add(3)
    followed.await_effects(3, 4, 5)  # born now: what was before is none of its business
    for _ in range(3):
        followed.publish(followed.envelope(4))
        followed.publish(followed.envelope(1))
    followed.add(1)
    followed.await_effects(3, 4, 5, 6)
    eventually(lambda: followed.mark() == 6 and followed.inbox() == [])


def test_a_handler_that_fails_twice_gets_the_event_again_and_others_do_not_wait(
    start: Start, followed: Followed
) -> None:
    start()
    followed.start()
    followed.tell("fail-1", "2")
    followed.add(2)
    followed.await_effects(1, 2)
    assert followed.effects() == [2, 1]
    assert followed.tries(1) == 3
    assert followed.wire.channel.queue_declare(f"{QUEUE}.dead-letters", passive=True).message_count == 0


@pytest.mark.parametrize("service", ["Following", "Orderly"])
def test_a_handler_that_raises_what_is_no_exception_has_failed(start: Start, followed: Followed, service: str) -> None:
    start()
    process = followed.start(service)
    followed.tell("interrupt-1", "Timeout")
    followed.add(2)
    followed.await_effects(1, 2)
    assert followed.tries(1) == 2
    assert '"exception":"Interrupted"' in process.text


@pytest.mark.parametrize("service", ["Following", "Orderly"])
def test_a_handler_that_is_killed_gets_the_event_again_as_if_it_had_not_been_tried(
    start: Start, followed: Followed, service: str
) -> None:
    start()
    process = followed.start(service)
    followed.tell("interrupt-1", "GreenletExit")
    followed.add(2)
    followed.await_effects(1, 2)
    assert followed.tries(1) == 2
    assert "event failed" not in process.text


def test_an_event_that_always_fails_ends_in_the_dead_letters_and_has_its_effect_when_it_is_replayed(
    start: Start, followed: Followed
) -> None:
    start()
    process = followed.start()
    followed.tell("fail-1", "3")
    followed.add(2)
    process.await_line("event given up")
    letter = followed.wire.get(f"{QUEUE}.dead-letters")
    headers = letter.properties["application_headers"]
    assert headers["x-exception"] == "ValueError"
    assert headers["x-reason"] == "ValueError: not yet, 1 to go"
    assert headers["x-attempts"] == 3
    assert headers["x-time"].endswith("Z")
    assert headers["x-queue"] == QUEUE
    eventually(lambda: followed.mark() == 2)
    assert followed.effects() == [2]
    assert followed.inbox() == [(1, "dead")]
    followed.publish(letter.body if isinstance(letter.body, bytes) else letter.body.encode())
    followed.await_effects(1, 2)
    eventually(lambda: followed.inbox() == [])


@pytest.mark.parametrize("service", ["Rash", "Orderly"])
def test_an_event_whose_dead_letter_was_refused_once_becomes_a_dead_letter_once(
    start: Start, followed: Followed, service: str
) -> None:
    """It does not come in a message: nobody else would end the connection that the refusal is remembered of."""
    start()
    process = followed.start(service)
    queue = f"evt-beers--{service.lower()}.on_event"
    channel = followed.wire.channel
    channel.queue_unbind(queue, EXCHANGE, "#")
    channel.queue_unbind(f"{queue}.dead-letters", queue, f"{queue}.dead-letters")
    followed.tell("fail-1", "1000")
    followed.add(2)
    followed.publish(followed.envelope(2), queue)  # 1 is missing, and fetched
    process.await_line("event not settled")
    eventually(lambda: followed.inbox() == [(1, "dead")])
    eventually(lambda: followed.mark() == 2)
    assert followed.effects() == [2]
    assert channel.queue_declare(f"{queue}.dead-letters", passive=True).message_count == 1


NO_EVENTS: tuple[tuple[Any, dict[str, Any], str], ...] = (
    (b"{", {}, "the body is not JSON"),
    (b"\xff", {}, "the body is not JSON"),
    (b"[]", {}, "the body must be an object"),
    ({"id": "log:1", "position": "1"}, {}, "the body's type must be text"),
    (
        {"id": "log:2", "type": "BeerAdded", "position": 1, "beer_id": 1, "data": {}},
        {},
        "the body's id must be that of a log",
    ),
    (
        {"id": "other:1", "type": "BeerAdded", "position": 1, "beer_id": 1, "data": {}},
        {},
        "it is an event of the log other",
    ),
    (
        {"id": f"log:{2**63}", "type": "BeerAdded", "position": 2**63, "beer_id": 1, "data": {}},
        {},
        "the body's position must have at most 64 bits",
    ),
    (b"{}", {"content_type": "application/x-yaml"}, "content_type must be application/json"),
    (b"{}", {"content_type": "application/json; charset=utf-8"}, "content_type must be application/json"),
)


def test_what_is_no_event_is_put_aside_at_once(start: Start, followed: Followed) -> None:
    start()
    process = followed.start()
    for body, properties, reason in NO_EVENTS:
        followed.publish(body, **properties)
        letter = followed.wire.get(f"{QUEUE}.dead-letters")
        assert reason in letter.properties["application_headers"]["x-reason"]
    followed.add(1)
    followed.await_effects(1)
    assert process.alive()
    assert "broker connection lost" not in process.text


def test_what_cannot_even_be_read_is_put_aside_at_once(start: Start, followed: Followed) -> None:
    start()
    process = followed.start()
    message = amqp.Message(b"{}")
    vars(message)["_serialize_properties"] = lambda: b"\x80\x00\x02\xff\xfe"
    followed.wire.channel.basic_publish(message, "", QUEUE)
    letter = followed.wire.get(f"{QUEUE}.dead-letters")
    assert letter.properties["application_headers"]["x-reason"].startswith("unreadable properties")
    followed.add(1)
    followed.await_effects(1)
    assert "broker connection lost" not in process.text


@pytest.mark.parametrize(("service", "queue"), [("Following", QUEUE), ("Orderly", "evt-beers--orderly.on_event")])
def test_an_event_that_was_lost_on_the_way_is_fetched(
    start: Start, followed: Followed, service: str, queue: str
) -> None:
    start()
    subscriber = followed.start(service)
    followed.add(1)
    followed.await_effects(1)
    eventually(lambda: followed.wire.channel.queue_declare(queue, passive=True).message_count == 0)
    subscriber.stop()
    followed.add(2)
    eventually(lambda: followed.wire.channel.queue_declare(queue, passive=True).message_count == 2)
    followed.wire.channel.queue_purge(queue)
    followed.add(1)
    subscriber = followed.start(service)
    followed.await_effects(1, 2, 3, 4)
    subscriber.await_line("events fetched")


@pytest.mark.parametrize(("service", "queue"), [("Following", QUEUE), ("Orderly", "evt-beers--orderly.on_event")])
def test_an_event_beyond_the_log_is_put_aside_and_nothing_before_it_or_in_its_place_is_lost(
    start: Start, followed: Followed, service: str, queue: str
) -> None:
    start()
    process = followed.start(service)
    followed.add(2)
    followed.await_effects(1, 2)
    followed.publish(followed.envelope(2) | {"id": f"{followed.envelope(2)['id'][:-2]}:6", "position": 6}, queue)
    letter = followed.wire.get(f"{queue}.dead-letters")
    reason = "beyond the log: its position is 6, and the log ends at 2"
    assert letter.properties["application_headers"]["x-reason"] == reason
    process.await_line("event beyond the log")
    followed.add(4)
    followed.await_effects(1, 2, 3, 4, 5, 6)
    eventually(lambda: followed.mark() == 6 and followed.inbox() == [])


@pytest.mark.parametrize(("service", "queue"), [("Following", QUEUE), ("Orderly", "evt-beers--orderly.on_event")])
def test_an_event_that_leaps_ahead_is_neither_handled_nor_put_aside_while_the_catalogue_is_away(
    start: Start, followed: Followed, service: str, queue: str
) -> None:
    catalogue = start()
    process = followed.start(service)
    followed.add(1)
    followed.await_effects(1)
    leaping = followed.envelope(1) | {"id": f"{followed.envelope(1)['id'][:-2]}:6", "position": 6}
    catalogue.stop()
    followed.wire.channel.queue_delete("rpc-beers")
    followed.publish(leaping, queue)
    process.await_line("catalogue unavailable")
    assert process.stop() == 0
    assert followed.effects() == [1]
    assert followed.wire.channel.queue_declare(queue, passive=True).message_count == 1
    assert followed.wire.channel.queue_declare(f"{queue}.dead-letters", passive=True).message_count == 0


def test_even_the_last_event_is_missed_when_it_is_lost(start: Start, followed: Followed) -> None:
    """No later position tells of it: the catalogue is asked after a silence."""
    start()
    followed.start().stop()
    followed.add(1)
    eventually(lambda: followed.wire.channel.queue_purge(QUEUE) == 1)
    followed.start()
    followed.await_effects(1)


@pytest.mark.parametrize("service", ["Choosy", "Orderly"])
def test_who_is_born_from_the_beginning_has_the_whole_past(start: Start, followed: Followed, service: str) -> None:
    start()
    calls = [followed.wire.call("add", name="x") for _ in range(700)]
    for call in calls:
        followed.wire.answer(call)
    followed.call("rename", beer_id=1, name="y")
    followed.start(service)
    followed.add(1)
    past = range(1, 701)
    followed.await_effects(*past, *([701] if service == "Orderly" else []), 702)
    if service == "Orderly":
        assert followed.effects() == sorted(followed.effects())


def test_a_stock_handler_beside_it_gets_its_events_and_unwanted_types_are_passed_over(
    start: Start, followed: Followed
) -> None:
    start()
    followed.start("Choosy").await_line("consuming", times=2)  # its RPC as well
    followed.add(2)
    followed.call("remove", beer_id=1)
    followed.add(1)
    followed.await_effects(1, 2, 4)
    stock = followed.folder / "stock"
    eventually(lambda: stock.exists() and stock.read_text() == "3\n")
    eventually(lambda: followed.mark() == 4 and followed.inbox() == [])


def test_a_subscriber_that_is_killed_in_the_middle_of_a_handler_has_changed_nothing(
    start: Start, followed: Followed
) -> None:
    start()
    process = followed.start()
    followed.tell("crash-1")
    followed.add(1)
    assert process.wait() == 9
    assert followed.effects() == []
    followed.start()
    followed.await_effects(1)
    assert followed.tries(1) == 2


def test_a_subscriber_that_is_killed_after_the_commit_and_before_the_acknowledgement_handles_nothing_twice(
    start: Start, followed: Followed
) -> None:
    crashing = (
        "import os, sys; import beers_service.__main__ as runner; from beers_service.unreadable import RequestChannel;"
        "RequestChannel.basic_ack = lambda *_: os._exit(9);"
        "sys.argv += ['--service', 'tests.subscriber.following:Following']; sys.exit(runner.main())"
    )
    start()
    environ = {"FOLLOWING_DATABASE_URL": followed.url, "FOLLOWING_FOLDER": str(followed.folder)}
    process = start("-c", crashing, **environ)
    followed.add(1)
    assert process.wait() == 9
    assert followed.effects() == [1]
    followed.start()
    followed.add(1)
    followed.await_effects(1, 2)
    assert followed.tries(1) == 1


def test_a_handler_that_goes_on_after_an_error_of_postgresql_is_tried_again_and_not_believed(
    start: Start, followed_on_postgresql: Followed
) -> None:
    followed = followed_on_postgresql
    start()
    process = followed.start()
    followed.tell("swallow-1")
    followed.add(1)
    followed.await_effects(1)
    assert followed.tries(1) == 2
    process.await_line("event failed")  # at once, and not only when it is missed
