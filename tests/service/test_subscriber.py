"""The kit for other services: an event has its effect, and has it once, whatever happens to whom."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import amqp
import pytest
from sqlalchemy import Engine, create_engine, text

from beers_cli.rabbitmq import RabbitMQNode

from .conftest import Process, Start, Wire, eventually

QUEUE = "evt-beers--following.on_event"


class Followed:
    """A subscriber in a process of its own, and the table that it writes."""

    def __init__(self, start: Start, wire: Wire, folder: Path, url: str) -> None:
        self.start_process = start
        self.wire = wire
        self.folder = folder
        self.url = url
        self.engine: Engine = create_engine(url)

    def start(self, service: str = "Following", *, ready: bool = True, **environ: str) -> Process:
        given = {"FOLLOWING_DATABASE_URL": self.url, "FOLLOWING_FOLDER": str(self.folder), **environ}
        arguments = ("-m", "beers_service", "--service", f"tests.service.following:{service}")
        process = self.start_process(*arguments, ready=False, **given)
        if ready:
            process.await_line("consuming")
        return process

    def call(self, method: str, /, **arguments: Any) -> Any:
        answer = self.wire.answer(self.wire.call(method, **arguments))
        assert answer["error"] is None, answer
        return answer["result"]

    def add(self, count: int) -> None:
        for _ in range(count):
            self.call("add", name="Punk")

    def effects(self) -> list[int]:
        """Return the positions that had an effect, in the order of their effects."""
        with self.engine.connect() as connection:
            if not connection.dialect.has_table(connection, "effects"):
                return []
            order = "rowid" if connection.dialect.name == "sqlite" else "ctid"
            return list(connection.execute(text(f"SELECT position FROM effects ORDER BY {order}")).scalars())  # noqa: S608

    def await_effects(self, *positions: int) -> None:
        eventually(lambda: sorted(self.effects()) == sorted(positions) or len(self.effects()) > len(positions))
        assert sorted(self.effects()) == sorted(positions)

    def tries(self, position: int) -> int:
        file = self.folder / "tries"
        return file.read_text().split().count(str(position)) if file.exists() else 0

    def tell(self, what: str, content: str = "") -> None:
        (self.folder / what).write_text(content)

    def envelope(self, position: int) -> dict[str, Any]:
        events: list[dict[str, Any]] = self.call("events", after=position - 1, limit=1)["events"]
        return events[0]

    def publish(self, body: bytes | dict[str, Any], queue: str = QUEUE, **properties: Any) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = amqp.Message(raw, **({"content_type": "application/json"} | properties))
        self.wire.channel.basic_publish(message, "", queue)

    def inbox(self) -> list[tuple[int, str]]:
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT position, state FROM beers_inbox_events ORDER BY position"))
            return [(row.position, row.state) for row in rows]

    def mark(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(text("SELECT mark FROM beers_inbox_consumers")).scalar_one())


@pytest.fixture
def followed(start: Start, wire: Wire, tmp_path: Path) -> Iterator[Followed]:
    followed = Followed(start, wire, tmp_path, f"sqlite:///{tmp_path}/following.db")
    yield followed
    followed.engine.dispose()


@pytest.fixture
def followed_on_postgresql(start: Start, wire: Wire, tmp_path: Path, postgres_url: str) -> Iterator[Followed]:
    followed = Followed(start, wire, tmp_path, postgres_url)
    yield followed
    followed.engine.dispose()


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
        "sys.argv += ['--service', 'tests.service.following:Following']; sys.exit(runner.main())"
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


def test_a_stop_waits_for_the_handler_and_its_acknowledgement(start: Start, followed: Followed) -> None:
    start()
    process = followed.start()
    followed.tell("slow-1")
    followed.add(1)
    eventually((followed.folder / "slow").exists)
    assert process.stop() == 0
    assert followed.effects() == [1]
    assert followed.wire.channel.queue_declare(QUEUE, passive=True).message_count == 0


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


def test_two_instances_share_the_work_on_postgresql(start: Start, followed_on_postgresql: Followed) -> None:
    followed = followed_on_postgresql
    start()
    followed.start()
    second = followed.start()
    for position in range(1, 200, 7):
        followed.tell(f"fail-{position}", "1")
    calls = [followed.wire.call("add", name="x") for _ in range(200)]
    eventually(lambda: len(followed.effects()) > 50)
    second.kill()
    for call in calls:
        followed.wire.answer(call)
    followed.await_effects(*range(1, 201))
    eventually(lambda: followed.mark() == 200 and followed.inbox() == [])


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


def test_a_subscriber_starts_before_the_service_and_waits_for_it(start: Start, followed: Followed) -> None:
    process = followed.start(ready=False)
    process.await_line("subscriber waits", times=2)
    start()
    process.await_line("consuming")
    followed.add(1)
    followed.await_effects(1)


def test_a_subscriber_that_waits_can_be_stopped(followed: Followed) -> None:
    process = followed.start(ready=False, AMQP_URI="amqp://127.0.0.1:1/")
    process.await_line("subscriber waits", times=2)
    began = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - began < 3


def test_a_subscriber_outlives_a_frozen_broker_and_stops_while_it_is_frozen(
    start: Start, followed: Followed, rabbitmq_node: RabbitMQNode
) -> None:
    start(HEARTBEAT="2")
    process = followed.start(HEARTBEAT="2")
    other = followed.start("Orderly", HEARTBEAT="2")
    rabbitmq_node.freeze()
    try:
        process.await_line("broker connection lost")
        began = time.monotonic()
        assert other.stop() == 0
        assert time.monotonic() - began < 15
    finally:
        rabbitmq_node.thaw()
    process.await_line("consuming", times=2)
    followed.add(1)
    followed.await_effects(1)


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
    process.kill()
    assert (1, kept) in followed.inbox()
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


def test_its_queues_are_quorum_queues_where_asked_for(start: Start, followed: Followed) -> None:
    start(QUEUE_TYPE="quorum")
    followed.start(QUEUE_TYPE="quorum")
    followed.tell("fail-1", "1")
    followed.add(1)
    followed.await_effects(1)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"FOLLOWING_DATABASE_URL": ""}, "FOLLOWING_DATABASE_URL"),
        ({"FOLLOWING_DATABASE_URL": "mysql://me:s3cret@localhost/x"}, "the database of following.on_event starts with"),
    ],
)
def test_a_database_that_cannot_be_one_stops_the_start_with_one_line(
    followed: Followed, environ: dict[str, str], named: str
) -> None:
    process = followed.start(ready=False, **environ)
    assert process.wait() == 78
    assert f"beers: {named}" in process.text
    assert "s3cret" not in process.text


def test_a_service_under_nameko_run_with_a_configuration_of_its_own_follows_as_well(
    start: Start, followed: Followed, fresh_amqp_uri: str
) -> None:
    start()
    config = followed.folder / "own.yaml"
    config.write_text(f"AMQP_URI: {fresh_amqp_uri}\nFOLLOWING_DATABASE_URL: {followed.url}\n")
    process = followed.start_process(
        "-m", "nameko", "run", "--config", str(config), "tests.service.following:Following",
        ready=False, FOLLOWING_FOLDER=str(followed.folder),
    )  # fmt: skip
    eventually(lambda: "event='consuming'" in process.text)
    followed.tell("fail-1", "1")
    followed.add(2)
    followed.await_effects(1, 2)
    process.signal(signal.SIGINT)
    assert process.wait() == 0


def test_a_stop_does_not_wait_for_a_catalogue_that_is_away(start: Start, followed: Followed) -> None:
    service = start()
    followed.start("Orderly").stop()
    service.stop()
    followed.wire.channel.queue_delete("rpc-beers")
    process = followed.start("Orderly")
    process.await_line("catalogue unavailable", times=3)
    began = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - began < 3


def test_of_two_handlers_with_one_file_of_sqlite_neither_keeps_the_other_from_writing(
    start: Start, followed: Followed
) -> None:
    start()
    followed.call("add_many", beers=[{"name": f"Punk {number}"} for number in range(400)])
    followed.start("Twice")

    def counts() -> dict[int, int]:
        if not followed.effects():
            return {}
        with followed.engine.connect() as connection:
            rows = connection.execute(text("SELECT beer_id, count(*) FROM effects GROUP BY beer_id"))
            return {row[0]: row[1] for row in rows}

    eventually(lambda: 400 in counts().values())
    assert min(counts().get(beer_id, 0) for beer_id in (1, 2)) > 100
    eventually(lambda: counts() == {1: 400, 2: 400})
