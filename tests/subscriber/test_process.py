"""A subscriber's process: how it starts, shares its work, stops, and what it does while others are away."""

import signal
import time
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from beers_cli.rabbitmq import RabbitMQNode
from tests.processes import Start, eventually

from .conftest import QUEUE, Followed


def test_a_stop_waits_for_the_handler_and_its_acknowledgement(start: Start, followed: Followed) -> None:
    start()
    process = followed.start()
    followed.tell("slow-1")
    followed.add(1)
    eventually((followed.folder / "slow").exists)
    assert process.stop() == 0
    assert followed.effects() == [1]
    assert followed.wire.channel.queue_declare(QUEUE, passive=True).message_count == 0


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


def test_its_queues_are_quorum_queues_where_asked_for(
    start: Start, followed: Followed, rabbitmq_node: RabbitMQNode, fresh_amqp_uri: str
) -> None:
    start(QUEUE_TYPE="quorum")
    followed.start(QUEUE_TYPE="quorum")
    followed.tell("fail-1", "1")
    followed.add(1)
    followed.await_effects(1)
    host = urlsplit(fresh_amqp_uri).path[1:]
    told = rabbitmq_node.control("list_queues", "--silent", "-p", host, "name", "type")
    types = dict(line.split() for line in told.splitlines())
    names = (QUEUE, f"{QUEUE}.retry-in-0.1s", f"{QUEUE}.retry-in-0.3s", f"{QUEUE}.dead-letters")
    assert {name: types[name] for name in names} == dict.fromkeys(names, "quorum")


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
        "-m", "nameko", "run", "--config", str(config), "tests.subscriber.following:Following",
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
