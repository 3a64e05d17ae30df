"""What one client may take, so that one of them leaves something to the others."""

import asyncio
from collections import Counter
from pathlib import Path

import grpc
import pytest

from grpc_bridge.errors import CallFailed
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.quotas import Quota, Quotas
from tests.bridge.running_bridge import SERVING, details, refusal, running_bridge, trailers
from tests.bridge.scripted_service import scripted_service
from tests.bridge.tokens import Issuer, bearing


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_client_gets_its_rate_on_average_and_twice_as_much_at_once() -> None:
    clock = Clock()
    quotas = Quotas(Quota(rate=5), clock, Counter())
    for _ in range(10):
        quotas.take("till", watch=False)
    with pytest.raises(CallFailed) as caught:
        quotas.take("till", watch=False)
    assert caught.value.retry_after == pytest.approx(0.2)
    quotas.take("shop", watch=False)
    clock.now += 0.2
    quotas.take("till", watch=False)
    with pytest.raises(CallFailed):
        quotas.take("till", watch=True)
    clock.now += 1000
    for _ in range(10):
        quotas.take("till", watch=False)
    with pytest.raises(CallFailed):
        quotas.take("till", watch=False)


def test_what_was_given_back_can_be_taken_again_and_calls_and_watches_are_counted_apart() -> None:
    quotas = Quotas(Quota(calls=1, watches=1), Clock(), Counter())
    call, watch = quotas.take("till", watch=False), quotas.take("till", watch=True)
    for kind in (False, True):
        with pytest.raises(CallFailed, match="Overloaded"):
            quotas.take("till", watch=kind)
    quotas.give_back(call, watch=False)
    quotas.give_back(watch, watch=True)
    quotas.take("till", watch=False)
    quotas.take("till", watch=True)


def test_a_busy_client_is_remembered_however_many_others_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_bridge.quotas._MOST_CLIENTS", 3)
    quotas = Quotas(Quota(calls=1), Clock(), Counter())
    quotas.take("till", watch=False)
    for number in range(100):
        quotas.give_back(quotas.take(f"shop {number}", watch=False), watch=False)
    assert len(quotas._shares) <= 4
    with pytest.raises(CallFailed):
        quotas.take("till", watch=False)


async def test_a_client_beyond_its_share_is_refused_with_a_time_to_come_back_and_others_are_not(
    amqp_uri: str, tmp_path: Path
) -> None:
    issuer = Issuer(tmp_path / "jwks.json")
    greedy, modest = bearing(issuer.token(sub="greedy")), bearing(issuer.token(sub="modest"))
    request = v1.GetBeerRequest(beer_id=1)
    quota = Quota(calls=1, watches=1)
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri, tokens=issuer.rules(), quota=quota) as running,
    ):
        watch = running.beers.WatchBeers(v1.WatchBeersRequest(), metadata=greedy)
        await watch.read()
        service.gate.clear()
        come = len(service.calls)
        first = asyncio.ensure_future(running.beers.GetBeer(request, metadata=greedy, timeout=10))
        await service.until(come + 1)
        second_watch = running.beers.WatchBeers(v1.WatchBeersRequest(), metadata=greedy)
        for error in (
            await refusal(running.beers.GetBeer(request, metadata=greedy, timeout=10)),
            await refusal(second_watch.read()),
        ):
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "by this client" in (error.details() or "")
            assert details(error)["RetryInfo"].retry_delay.ToMilliseconds() > 0
            assert int(trailers(error)["grpc-retry-pushback-ms"]) > 0
        assert await running.check("liveness") == SERVING
        other = asyncio.ensure_future(running.beers.GetBeer(request, metadata=modest, timeout=10))
        service.gate.set()
        assert (await first).beer.id == (await other).beer.id == 1
        assert (await running.beers.GetBeer(request, metadata=greedy, timeout=10)).beer.id == 1
        watch.cancel()


async def test_metadata_beyond_its_limit_is_refused_and_the_connection_goes_on(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri), running_bridge(amqp_uri) as running:
        request = v1.GetBeerRequest(beer_id=1)
        assert (await running.beers.GetBeer(request, metadata=[("x", "y" * 12_000)], timeout=5)).beer.id == 1
        error = await refusal(running.beers.GetBeer(request, metadata=[("x", "y" * 20_000)], timeout=5))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await running.beers.GetBeer(request, timeout=5)).beer.id == 1
