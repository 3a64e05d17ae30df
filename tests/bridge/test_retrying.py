"""What becomes of calls whose client leaves retries to gRPC, with the service config that we tell clients to use."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import grpc
import pytest

from grpc_bridge import errors
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc
from grpc_bridge.proto.pb import beers_pb2 as pb
from grpc_bridge.proto.pb import beers_pb2_grpc as pb_grpc
from tests.bridge.broker_proxy import broker_proxy
from tests.bridge.running_bridge import details, refusal, running_bridge, trailers
from tests.bridge.scripted_service import Refused, beer, scripted_service

CONFIG = files("grpc_bridge").joinpath("service_config.json").read_text(encoding="utf-8")
AGAIN = (("grpc-previous-rpc-attempts", "1"),)
"""What gRPC sends along with a further attempt."""


@asynccontextmanager
async def client(target: str, config: str = CONFIG) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.service_config", config), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        yield channel


def beers(channel: grpc.aio.Channel) -> "v1_grpc.BeersServiceAsyncStub":
    return v1_grpc.BeersServiceStub(channel)


def failing(times: int, *failures: Refused) -> Any:
    """Return a method that fails so often before it answers."""
    left = [failures[number % len(failures)] for number in range(times)]

    def method(**_: Any) -> Any:
        if left:
            raise left.pop(0)
        return beer()

    return method


def be_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have clients told to come back sooner than people can wait for."""
    rules = {
        name: errors.Rule(rule.code, rule.arguments, rule.detail, rule.retry_after and 0.01)
        for name, rule in errors.RULES.items()
    }
    monkeypatch.setattr(errors, "RULES", rules)


def test_the_config_is_one_that_grpc_takes_whole() -> None:
    """It cuts down to five attempts, and to 1,000 tokens, what is more; and a malformed config it ignores."""
    config = json.loads(CONFIG)
    for method in config["methodConfig"]:
        assert method.get("retryPolicy", {"maxAttempts": 5})["maxAttempts"] == 5
    assert config["retryThrottling"]["maxTokens"] <= 1000
    named = {name.get("method") for method in config["methodConfig"] for name in method["name"]}
    assert named == {None, "BatchAddBeers", "ImportBeers", "WatchBeers"}
    timed = {name.get("method") for method in config["methodConfig"] if "timeout" in method for name in method["name"]}
    assert timed == {None, "BatchAddBeers"}, "a stream lasts as long as it lasts"


async def test_a_command_with_an_id_and_a_read_are_sent_again_until_they_are_answered(
    amqp_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri) as running,
        client(running.target) as channel,
    ):
        be_quick(monkeypatch)
        unsure = (Refused("OutcomeUnknown", ["r1"]), Refused("Overloaded", ["busy"]))
        service.methods["get"] = failing(4, *unsure)
        service.methods["rename"] = failing(4, *unsure)
        assert (await beers(channel).GetBeer(v1.GetBeerRequest(beer_id=1))).beer.id == 1
        assert len(service.calls) == 5
        service.runs.clear()
        # The stand-in answers a repeated request id without running it: what was sent again is seen in the calls.
        assert (await beers(channel).RenameBeer(v1.RenameBeerRequest(beer_id=1, request_id="r1"))).beer.id == 1
        sent = [call["kwargs"]["request_id"] for call in service.calls if call["method"] == "rename"]
    assert set(sent) == {"r1"}
    assert len(sent) == 2


@pytest.mark.parametrize("name", ["OutcomeUnknown", "StoreUnavailable", "ServiceStopping", "Overloaded"])
async def test_a_command_without_an_id_is_not_sent_again(amqp_uri: str, name: str) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri) as running,
        client(running.target) as channel,
    ):
        service.methods["add"] = failing(9, Refused(name, ["r"]))
        error = await refusal(beers(channel).AddBeer(v1.AddBeerRequest(name="once")))
        assert len(service.calls) == 1
        assert trailers(error)["grpc-retry-pushback-ms"] == "-1"
        # Who wants to learn the outcome can: with the id that the bridge has made.
        assert trailers(error)["x-request-id"] == service.calls[0]["kwargs"]["request_id"]
        assert "RetryInfo" in details(error)


async def test_a_command_under_whose_connection_the_client_lost_the_answer_runs_once(amqp_uri: str) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri) as running,
        broker_proxy(f"amqp://{running.target}/") as wire,
        client(wire.uri.removeprefix("amqp://").rstrip("/")) as channel,
    ):

        async def cut_off(call: Any, seen: int) -> None:
            await service.until(seen)
            wire.cut()
            service.gate.set()
            with_id = await asyncio.gather(call, return_exceptions=True)
            outcomes.extend(with_id)

        outcomes: list[Any] = []
        service.gate.clear()
        await cut_off(beers(channel).AddBeer(v1.AddBeerRequest(name="named", request_id="mine")), 1)
        service.gate.clear()
        await cut_off(beers(channel).AddBeer(v1.AddBeerRequest(name="nameless")), len(service.calls) + 1)
        service.gate.clear()
        original: pb_grpc.BeersAsyncStub = pb_grpc.BeersStub(channel)
        await cut_off(original.Add(pb.BeerAddRequest(name="original")), len(service.calls) + 1)
    named, nameless, lost = outcomes
    assert named.beer.name in ("named", "answered before")
    assert nameless.code() is grpc.StatusCode.UNAVAILABLE
    assert details(nameless)["ErrorInfo"].reason == "REQUEST_ID_MISSING"
    assert lost.code() is grpc.StatusCode.UNAVAILABLE, "nothing of pb.Beers is sent again"
    assert service.runs["mine"] == 1
    assert sum(service.runs.values()) == 3


async def test_a_further_attempt_without_an_id_is_refused_whoever_sends_it(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        error = await refusal(running.beers.RemoveBeer(v1.RemoveBeerRequest(beer_id=1), metadata=AGAIN))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert trailers(error)["grpc-retry-pushback-ms"] == "-1"
        assert "RetryInfo" not in details(error)
        bad = await running.seed.Remove(pb.BeerRemoveRequest(id=1), metadata=AGAIN)
        assert bad.status == pb.BAD
        assert service.calls == []
        named = v1.RemoveBeerRequest(beer_id=1, request_id="r")
        assert (await running.beers.RemoveBeer(named, metadata=AGAIN)).beer.id == 1
        assert (await running.beers.GetBeer(v1.GetBeerRequest(beer_id=1), metadata=AGAIN)).beer.id == 1


async def test_those_who_are_told_to_come_back_do_not_come_all_at_once(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.methods["get"] = failing(20, Refused("Overloaded", ["busy"]))
        waits = [
            int(trailers(await refusal(running.beers.GetBeer(v1.GetBeerRequest(beer_id=1))))["grpc-retry-pushback-ms"])
            for _ in range(20)
        ]
    assert len(set(waits)) > 5
    assert min(waits) >= 250
    assert max(waits) <= 375


async def test_calls_go_to_all_bridges_behind_an_address(amqp_uri: str) -> None:
    async with (
        scripted_service(amqp_uri),
        running_bridge(amqp_uri) as first,
        running_bridge(amqp_uri) as second,
        client(f"ipv4:{first.target},{second.target}") as channel,
    ):
        async with asyncio.timeout(10):
            while not (first.calls_logged() and second.calls_logged()):  # a bridge counts once it is connected
                await beers(channel).AddBeer(v1.AddBeerRequest(name="Jever"), wait_for_ready=True)
        before = len(first.calls_logged()), len(second.calls_logged())
        for _ in range(10):
            await beers(channel).AddBeer(v1.AddBeerRequest(name="Jever"))
    assert (len(first.calls_logged()), len(second.calls_logged())) == (before[0] + 5, before[1] + 5)
