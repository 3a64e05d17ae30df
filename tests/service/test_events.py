"""From an acknowledged command to the bus, whatever happens to the processes on the way."""

import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from nameko.standalone.rpc import ClusterRpcProxy

from beers_cli.rabbitmq import RabbitMQNode
from beers_service import admin, publisher
from beers_service.broker import Broker
from beers_service.domain.events import BeerAdded
from beers_service.ports import PublishingFailed, StoredEvent
from beers_service.publisher import AmqpPublisher
from beers_service.store.codec import event_record, from_microseconds
from tests.processes import Start, eventually
from tests.wire import Wire


@pytest.fixture
def follower(wire: Wire) -> Wire:
    """A queue that gets every event."""
    wire.channel.exchange_declare("beers.events", "topic", durable=True, auto_delete=False)
    wire.channel.queue_declare("all", durable=True, auto_delete=False)
    wire.channel.queue_bind("all", "beers.events", "#")
    return wire


def test_an_event_on_the_bus_is_a_cloud_event_whose_body_is_the_whole_envelope(start: Start, follower: Wire) -> None:
    start()
    beer = follower.answer(follower.call("add", name="Punk IPA", abv=5.6, request_id="r-1"))["result"]
    message = follower.get("all")
    envelope = json.loads(message.body)
    log_id = envelope["id"].partition(":")[0]
    assert envelope == {
        "id": f"{log_id}:1", "type": "BeerAdded", "position": 1, "beer_id": 1, "version": 1,
        "time": beer["added_at"], "request_id": "r-1", "correlation_id": envelope["correlation_id"], "schema": 1,
        "data": {"name": "Punk IPA", "brewery": "", "style": "", "abv": 5.6, "ibu": None, "description": ""},
    }  # fmt: skip
    assert message.delivery_info["routing_key"] == "BeerAdded"
    assert message.properties["content_type"] == "application/json"
    assert message.properties["delivery_mode"] == 2
    assert message.properties["application_headers"] == {
        "ce-specversion": "1.0", "ce-id": f"{log_id}:1", "ce-source": f"/beers/{log_id}", "ce-type": "BeerAdded",
        "ce-subject": "1", "ce-time": beer["added_at"], "ce-position": 1,
    }  # fmt: skip


def test_the_trace_of_a_command_goes_on_in_its_event(start: Start, follower: Wire) -> None:
    start()
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    body = {"args": ["Punk"], "kwargs": {}}
    calls = [
        follower.send(body, "beers.add", application_headers={"traceparent": trace}),
        follower.send(body, "beers.add", application_headers={"traceparent": f"01{trace[2:]}-of-a-later-version"}),
        follower.send(body, "beers.add", application_headers={"traceparent": "nonsense"}),
        follower.call("execute", calls=[{"method": "add", "kwargs": {"name": "x"}, "traceparent": trace}]),
        # What a stock service hands on of its context, and what somebody might put there.
        follower.send(body, "beers.add", application_headers={"nameko.traceparent": trace}),
        follower.send(body, "beers.add", application_headers={"nameko.traceparent": "q" * 100_000}),
        follower.send(body, "beers.add", application_headers={"nameko.traceparent": [1]}),
    ]
    for call in calls:
        assert follower.answer(call)["error"] is None
    traces = [follower.get("all").properties["application_headers"].get("traceparent") for _ in calls]
    assert sorted(traces, key=str) == [trace, trace, trace, trace, None, None, None]


def test_every_kind_of_event_reaches_the_bus_in_order(start: Start, follower: Wire) -> None:
    start()
    calls: list[tuple[str, dict[str, Any]]] = [
        ("add", {"name": "a"}), ("rename", {"beer_id": 1, "name": "b"}), ("update", {"beer_id": 1, "abv": 5}),
        ("remove", {"beer_id": 1}), ("restore", {"beer_id": 1}),
    ]  # fmt: skip
    for method, arguments in calls:
        assert follower.answer(follower.call(method, **arguments))["error"] is None
    events = [json.loads(follower.get("all").body) for _ in calls]
    assert [(event["position"], event["type"], event["data"]) for event in events[1:]] == [
        (2, "BeerNameChanged", {"name": "b", "previous_name": "a"}),
        (3, "BeerDetailsChanged", {"abv": 5.0}),
        (4, "BeerRemoved", {}),
        (5, "BeerRestored", {}),
    ]


def test_a_stock_subscriber_gets_every_beer_in_order(start: Start, wire: Wire, tmp_path: Path) -> None:
    file = tmp_path / "followed"
    start()
    start(
        "-m", "nameko", "run", "--config", "config.yaml", "tests.service.subscribers",
        ready=False, FOLLOWER_FILE=str(file),
    )  # fmt: skip
    eventually(lambda: wire.consumers("evt-beers-BeerAdded--follower.on_added") > 0)
    calls = [wire.call("add", name=f"beer {number}") for number in range(200)]
    for call in calls:
        assert wire.answer(call)["error"] is None
    eventually(lambda: file.exists() and file.read_text().count("\n") == 200)
    positions = [int(line.split()[0]) for line in file.read_text().splitlines()]
    # A stock subscriber runs its handlers beside each other: all are there, and they began in order.
    assert sorted(positions) == list(range(1, 201))


def test_a_service_killed_again_and_again_loses_no_event_and_keeps_their_order(
    start: Start, follower: Wire, tmp_path: Path
) -> None:
    chance = random.Random(20261123)  # noqa: S311 - any number will do
    total = 0
    for _round in range(5):
        service = start()
        for number in range(200):
            follower.call("add", name=f"beer {total + number}")
        total += 200
        database = sqlite3.connect(tmp_path / "beers.db")
        await_head(database, total - chance.randrange(50, 150))
        database.close()
        service.kill()
    start()
    positions: list[int] = []
    while not positions or max(positions) < total:
        positions.append(json.loads(follower.get("all").body)["position"])
    # First sightings in order, none missing; repeats are what "at least once" allows.
    assert list(dict.fromkeys(positions)) == list(range(1, total + 1))


def await_head(database: sqlite3.Connection, position: int) -> None:
    eventually(lambda: database.execute("SELECT position FROM log_head").fetchone()[0] >= position)


def test_a_frozen_broker_fails_a_window_within_its_time(
    rabbitmq_node: RabbitMQNode, fresh_amqp_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "CONFIRM_TIMEOUT", 0.5)
    bus = AmqpPublisher(Broker(fresh_amqp_uri, heartbeat=10), "log")
    added = BeerAdded("x" * 200, "", "", None, None, "y" * 10_000)
    event = event_record(StoredEvent(1, 1, 1, from_microseconds(0), "r", "c", added))
    bus.publish([event])
    rabbitmq_node.freeze()
    try:
        with pytest.raises(PublishingFailed, match="the broker did not take the events"):
            bus.publish([event] * 10)
    finally:
        rabbitmq_node.thaw()
    bus.publish([event])
    bus.close()


def test_two_services_share_the_work_and_one_relays(start: Start, follower: Wire, fresh_amqp_uri: str) -> None:
    first, _second = start(), start()
    calls = [follower.call("add", name="x") for _ in range(100)]
    for call in calls:
        assert follower.answer(call)["error"] is None
    first.kill()
    with ClusterRpcProxy({"AMQP_URI": fresh_amqp_uri}, timeout=20) as cluster:
        cluster.beers.add("y")
    positions: list[int] = []
    while not positions or max(positions) < 101:
        positions.append(json.loads(follower.get("all").body)["position"])
    assert list(dict.fromkeys(positions)) == list(range(1, 102))


def test_postgresql_serves_as_well(start: Start, follower: Wire, postgres_url: str, beers: Any) -> None:
    empty = start(ready=False, DATABASE_URL=postgres_url)
    assert empty.wait() == 78
    assert "the store is empty; run `beers admin migrate`" in empty.text
    admin.migrate(postgres_url)
    start(DATABASE_URL=postgres_url)
    assert beers.add("Punk")["id"] == 1
    assert json.loads(follower.get("all").body)["position"] == 1
