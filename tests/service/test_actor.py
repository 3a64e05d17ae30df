"""Who did it, as Nameko's context tells: from the caller to the event."""

import json
from typing import Any

import pytest
from nameko.exceptions import IncorrectSignature
from nameko.standalone.rpc import ClusterRpcProxy

from tests.processes import PATIENCE, Start
from tests.wire import Wire


def calling(uri: str, user_id: Any = None) -> ClusterRpcProxy:
    context = {} if user_id is None else {"user_id": user_id}
    return ClusterRpcProxy({"AMQP_URI": uri}, context_data=context, timeout=PATIENCE)


def test_the_user_of_a_stock_client_is_the_actor_of_its_events(start: Start, fresh_amqp_uri: str, wire: Wire) -> None:
    start()
    wire.channel.exchange_declare("beers.events", "topic", durable=True, auto_delete=False)
    wire.channel.queue_declare("all", durable=True, auto_delete=False)
    wire.channel.queue_bind("all", "beers.events", "#")
    with calling(fresh_amqp_uri, "Åse") as cluster:
        beers = cluster.beers
        beers.add("a")
        beers.rename(1, "b")
        beers.update(1, abv=5)
        beers.remove(1)
        beers.restore(1)
        beers.add_many([{"name": "c"}])
        beers.import_beers([{"name": "d", "request_id": "import/0"}])
        calls = [{"method": "add", "kwargs": {"name": "e"}}, {"method": "add", "kwargs": {"name": "f"}, "user_id": "x"}]
        assert [answer["error"] for answer in beers.execute(calls)] == [None, None]
    with calling(fresh_amqp_uri, 42) as cluster:  # as many know their users
        cluster.beers.add("g")
    with calling(fresh_amqp_uri) as cluster:
        beers = cluster.beers
        beers.add("h")
        expected = [*["Åse"] * 8, "x", "42", "nobody"]
        events = beers.events()["events"]
        assert [event.get("actor", "nobody") for event in events] == expected
        assert beers.history(1)["events"] == events[:5]
    messages = [wire.get("all") for _ in expected]
    assert [json.loads(message.body) for message in messages] == events
    headers = [message.properties["application_headers"] for message in messages]
    assert [given.get("ce-actor", "nobody") for given in headers] == expected


def test_a_user_that_cannot_be_kept_is_refused_by_its_name_and_may_read(start: Start, wire: Wire) -> None:
    start()
    add: dict[str, Any] = {"args": ["Punk"], "kwargs": {}}
    for wrong in ("", "x" * 201, "till\n3", 4.5, True, ["till 3"], {"id": 3}):
        headers = {"nameko.user_id": wrong}
        refused = wire.answer(wire.send(add, "beers.add", application_headers=headers))["error"]
        assert (refused["exc_type"], refused["exc_args"][0]) == ("InvalidField", "user_id"), wrong
        assert wire.answer(wire.send({"args": [], "kwargs": {}}, "beers.ping", application_headers=headers))["result"]
    assert wire.answer(wire.call("ping"))["result"]["head"] == 0


def test_a_service_hands_on_whom_it_was_called_by(start: Start, fresh_amqp_uri: str) -> None:
    start()
    till = start("-m", "beers_service", "--service", "tests.service.till:Till", ready=False)
    till.await_line("service started")
    with calling(fresh_amqp_uri, "Åse") as cluster:
        cluster.till.add("Punk")
        assert cluster.beers.history(1)["events"][0]["actor"] == "Åse"
        with pytest.raises(IncorrectSignature, match="actor"):
            cluster.beers.add("Punk", actor="somebody else")
