"""Each gRPC method as a call of the service, and each of its answers as a response."""

import math
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from grpc_bridge import presenting
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from tests.bridge.running_bridge import RunningBridge, details, refusal, running_bridge, trailers
from tests.bridge.scripted_service import TIME, Refused, ScriptedService, beer, scripted_service

MOMENT = Timestamp(seconds=1795470022, nanos=123456000)


async def sent(amqp_uri: str, method: str, request: Any, answer: Any = None) -> tuple[dict[str, Any], Any]:
    """Make one call; return what reached the service, and the response."""
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        if answer is not None:
            for name in ("list", "get_many", "add_many", "history"):
                service.methods[name] = lambda **_: answer
        response = await getattr(running.beers, method)(request, timeout=5)
        (call,) = service.calls
        return call, response


async def test_adding_sends_what_is_known_and_returns_the_whole_beer(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.methods["add"] = lambda **_: beer(
            7, name="Punk IPA", brewery="BrewDog", abv=5.6, ibu=35.0, removed_at=TIME, version=3
        )
        response = await running.beers.AddBeer(
            v1.AddBeerRequest(
                name="Punk IPA", brewery="BrewDog", style="IPA", abv=5.6, ibu=0, description="d", request_id="r"
            )
        )
    assert service.calls[0]["method"] == "add"
    assert service.calls[0]["kwargs"] == {
        "name": "Punk IPA",
        "brewery": "BrewDog",
        "style": "IPA",
        "abv": 5.6,
        "ibu": 0.0,
        "description": "d",
        "request_id": "r",
    }
    assert response.beer == v1.Beer(
        id=7,
        name="Punk IPA",
        brewery="BrewDog",
        abv=5.6,
        ibu=35,
        version=3,
        added_at=MOMENT,
        changed_at=MOMENT,
        removed_at=MOMENT,
    )


async def test_what_is_unknown_is_absent_and_not_zero(amqp_uri: str) -> None:
    call, response = await sent(amqp_uri, "AddBeer", v1.AddBeerRequest(name="Jever"))
    assert set(call["kwargs"]) == {"name", "request_id"}
    assert not response.beer.HasField("abv")
    assert not response.beer.HasField("removed_at")


async def test_a_command_without_a_request_id_gets_one(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        await running.beers.AddBeer(v1.AddBeerRequest(name="Jever"))
        await running.beers.AddBeer(v1.AddBeerRequest(name="Jever"))
    first, second = (call["kwargs"]["request_id"] for call in service.calls)
    assert first
    assert first != second


@pytest.mark.parametrize(
    ("method", "request_", "rpc", "kwargs"),
    [
        (
            "RenameBeer",
            v1.RenameBeerRequest(beer_id=2, name="Jever", request_id="r", expected_version=0),
            "rename",
            {"beer_id": 2, "name": "Jever", "request_id": "r", "expected_version": 0},
        ),
        (
            "RemoveBeer",
            v1.RemoveBeerRequest(beer_id=2**62, request_id="r"),
            "remove",
            {"beer_id": 2**62, "request_id": "r"},
        ),
        (
            "RestoreBeer",
            v1.RestoreBeerRequest(beer_id=2, request_id="r", expected_version=4),
            "restore",
            {"beer_id": 2, "request_id": "r", "expected_version": 4},
        ),
        ("GetBeer", v1.GetBeerRequest(beer_id=-3), "get", {"beer_id": -3}),
        ("GetBeer", v1.GetBeerRequest(beer_id=3, as_of_position=0), "get", {"beer_id": 3, "as_of": 0}),
        ("GetBeer", v1.GetBeerRequest(beer_id=3, as_of_time=MOMENT), "get", {"beer_id": 3, "as_of": TIME}),
    ],
)
async def test_each_call_of_one_beer_becomes_one_of_the_service(
    amqp_uri: str, method: str, request_: Any, rpc: str, kwargs: dict[str, Any]
) -> None:
    call, response = await sent(amqp_uri, method, request_)
    assert (call["method"], call["kwargs"]) == (rpc, kwargs)
    assert response.beer.id == kwargs["beer_id"]


@pytest.mark.parametrize(
    ("request_", "changes"),
    [
        (v1.UpdateBeerRequest(style="Pils", abv=0), {"style": "Pils", "abv": 0.0}),
        (v1.UpdateBeerRequest(), {}),
        (
            v1.UpdateBeerRequest(style="Pils", abv=4.9, update_mask=FieldMask(paths=["abv", "ibu", "brewery"])),
            {"abv": 4.9, "ibu": None, "brewery": ""},
        ),
        (
            v1.UpdateBeerRequest(style="Pils", update_mask=FieldMask(paths=["*"])),
            {"brewery": "", "style": "Pils", "abv": None, "ibu": None, "description": ""},
        ),
    ],
    ids=["no mask", "nothing", "mask", "star"],
)
async def test_updating_changes_what_the_mask_names(
    amqp_uri: str, request_: v1.UpdateBeerRequest, changes: dict[str, Any]
) -> None:
    request_.beer_id, request_.request_id = 5, "r"
    call, _ = await sent(amqp_uri, "UpdateBeer", request_)
    assert call["method"] == "update"
    assert call["kwargs"] == {"beer_id": 5, "request_id": "r", **changes}


async def test_many_beers_are_added_in_one_call(amqp_uri: str) -> None:
    request = v1.BatchAddBeersRequest(
        beers=[v1.NewBeer(name="A", abv=1), v1.NewBeer(name="B", style="Pils")], request_id="r"
    )
    call, response = await sent(amqp_uri, "BatchAddBeers", request, [beer(1), beer(2)])
    assert call["method"] == "add_many"
    assert call["kwargs"] == {"beers": [{"name": "A", "abv": 1.0}, {"name": "B", "style": "Pils"}], "request_id": "r"}
    assert [found.id for found in response.beers] == [1, 2]


async def test_many_beers_are_read_in_one_call(amqp_uri: str) -> None:
    call, response = await sent(amqp_uri, "BatchGetBeers", v1.BatchGetBeersRequest(beer_ids=[2, 1]), [beer(2), beer(1)])
    assert (call["method"], call["kwargs"]) == ("get_many", {"beer_ids": [2, 1]})
    assert [found.id for found in response.beers] == [2, 1]


async def test_a_list_is_asked_for_and_paged(amqp_uri: str) -> None:
    request = v1.ListBeersRequest(
        page_token="t",  # noqa: S106 - a place in a list
        query="q",
        brewery="b",
        style="s",
        order_by="abv desc",
        show_removed=True,
    )
    call, response = await sent(amqp_uri, "ListBeers", request, {"beers": [beer(3)], "next_page_token": "n"})
    assert call["method"] == "list"
    assert call["kwargs"] == {
        "page_size": 50,
        "page_token": "t",
        "query": "q",
        "brewery": "b",
        "style": "s",
        "order_by": "abv desc",
        "show_removed": True,
    }
    assert (response.beers[0].id, response.next_page_token) == (3, "n")


def envelope(position: int, type_: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"e{position}",
        "type": type_,
        "position": position,
        "beer_id": 9,
        "version": position,
        "time": TIME,
        "request_id": "r",
        "correlation_id": "c",
        "data": data,
        "schema": 1,
    }


async def test_a_history_shows_each_kind_of_event(amqp_uri: str) -> None:
    added = {"name": "A", "brewery": "", "style": "", "abv": None, "ibu": 3.0, "description": ""}
    events = [
        envelope(1, "BeerAdded", added),
        envelope(2, "BeerNameChanged", {"name": "B", "previous_name": "A"}),
        envelope(3, "BeerDetailsChanged", {"style": "", "abv": None, "ibu": 5.0}),
        envelope(4, "BeerRemoved", {}),
        envelope(5, "BeerRestored", {}),
        envelope(6, "BeerOfTheFuture", {"unknown": True}),
    ]
    call, response = await sent(
        amqp_uri,
        "ListBeerEvents",
        v1.ListBeerEventsRequest(beer_id=9, page_size=7),
        {"events": events, "next_page_token": "n"},
    )
    assert (call["method"], call["kwargs"]) == ("history", {"beer_id": 9, "page_size": 7, "page_token": ""})
    assert response.next_page_token == "n"
    kinds = [event.WhichOneof("data") for event in response.events]
    assert kinds == ["beer_added", "beer_name_changed", "beer_details_changed", "beer_removed", "beer_restored", None]
    assert response.events[0] == v1.BeerEvent(
        id="e1",
        position=1,
        beer_id=9,
        version=1,
        time=MOMENT,
        request_id="r",
        correlation_id="c",
        beer_added=v1.BeerAdded(name="A", ibu=3),
    )
    assert response.events[2].beer_details_changed == v1.BeerDetailsChanged(
        changed=FieldMask(paths=["style", "abv", "ibu"]), ibu=5
    )


async def refused_field(running: RunningBridge, method: str, request: Any) -> str:
    error = await refusal(getattr(running.beers, method)(request))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    violation = details(error)["BadRequest"].field_violations[0]
    assert violation.description
    return str(violation.field)


async def test_what_no_call_can_express_is_refused_by_its_field(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        refused = [
            await refused_field(running, method, request)
            for method, request in [
                ("AddBeer", v1.AddBeerRequest(name="A", abv=math.nan)),
                ("AddBeer", v1.AddBeerRequest(name="A", ibu=-math.inf)),
                ("UpdateBeer", v1.UpdateBeerRequest(beer_id=1, abv=math.inf)),
                ("UpdateBeer", v1.UpdateBeerRequest(beer_id=1, update_mask=FieldMask(paths=["name"]))),
                ("UpdateBeer", v1.UpdateBeerRequest(beer_id=1, update_mask=FieldMask(paths=["version"]))),
                ("BatchAddBeers", v1.BatchAddBeersRequest(beers=[v1.NewBeer(name="A"), v1.NewBeer(abv=math.nan)])),
                ("GetBeer", v1.GetBeerRequest(beer_id=1, as_of_time=Timestamp(seconds=2**60))),
            ]
        ]
        assert refused == ["abv", "ibu", "abv", "update_mask", "update_mask", "beers[1].abv", "as_of_time"]
        assert service.calls == []


async def test_the_conversation_is_carried_through_and_returned(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        metadata = [("x-correlation-id", "tour-1"), ("traceparent", trace)]
        call = running.beers.GetBeer(v1.GetBeerRequest(beer_id=1), metadata=metadata)
        await call
        assert service.calls[0]["correlation_id"] == "tour-1"
        assert service.calls[0]["traceparent"] == trace
        assert ("x-correlation-id", "tour-1") in tuple(await call.trailing_metadata())


@pytest.mark.parametrize("given", ["", "two words", "x" * 129])
async def test_a_correlation_id_that_may_not_stand_in_a_log_is_replaced(amqp_uri: str, given: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        await running.beers.GetBeer(v1.GetBeerRequest(beer_id=1), metadata=[("x-correlation-id", given)])
    assert service.calls[0]["correlation_id"] not in ("", given)


async def test_a_failed_command_tells_the_id_to_repeat_it_with(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.methods["add"] = failing
        error = await refusal(running.beers.AddBeer(v1.AddBeerRequest(name="A")))
    assert trailers(error)["x-request-id"] == service.calls[0]["kwargs"]["request_id"]


def failing(**_: Any) -> Any:
    raise Refused("StoreUnavailable", ["x"])


async def test_one_message_asks_for_all_that_the_service_has_to_know(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        await running.beers.GetBeer(v1.GetBeerRequest(beer_id=1), timeout=3)
        message = next(found for found in service.messages if found.routing_key == "beers.execute")
        properties = message.header.properties
        headers = properties.headers or {}
        deadline = service.calls[0]["deadline"]
    assert properties.content_type == "application/json"
    assert properties.reply_to
    assert properties.correlation_id
    assert 2000 < int(properties.expiration or 0) <= 3000
    assert isinstance(headers["nameko.call_id_stack"], list)
    assert headers["nameko.correlation_id"]
    # Rounded up to whole seconds, since AMQP floats of this client are off by minutes.
    assert 0 <= headers["nameko.deadline"] - deadline < 1.1


async def test_only_execute_and_ping_are_ever_sent(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        await running.beers.AddBeer(v1.AddBeerRequest(name="A"))
        await running.beers.GetBeer(v1.GetBeerRequest(beer_id=1))
        assert {message.routing_key for message in service.messages} == {"beers.execute", "beers.ping"}


@pytest.mark.parametrize(
    ("text", "nanos"), [(TIME, 123456000), ("2026-11-23T21:40:22Z", 0), ("2026-11-23T22:40:22.5+01:00", 500000000)]
)
def test_a_time_is_read_in_every_form_that_rfc_3339_allows(text: str, nanos: int) -> None:
    assert presenting.timestamp(text) == Timestamp(seconds=MOMENT.seconds, nanos=nanos)


def test_the_scripted_service_is_what_the_tests_take_it_for() -> None:
    assert ScriptedService("amqp://x")._answer({"method": "get", "kwargs": {"beer_id": 4}})["result"]["id"] == 4
