"""When watches are refused or ended, and what becomes of whoever resumes them."""

import asyncio
from typing import Any

import grpc
import pytest

from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from tests.bridge.running_bridge import details, running_bridge
from tests.bridge.scripted_service import scripted_service
from tests.bridge.watching import PATIENCE, Watching, watched


async def test_more_watches_than_allowed_are_refused_and_leave_unary_calls_alone(amqp_uri: str) -> None:
    async with watched(amqp_uri, max_watches=2) as (_service, running):
        watching = [Watching(running) for _ in range(2)]
        for watcher in watching:
            await watcher.until_kind("caught_up")
        error = await Watching(running).end()
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await running.beers.GetBeer(v1.GetBeerRequest(beer_id=1))
        watching[0].cancel()
        async with asyncio.timeout(PATIENCE):
            while not any(line.get("code") == "CANCELLED" for line in running.lines):
                await running.beers.GetBeer(v1.GetBeerRequest(beer_id=1))
        again = Watching(running)
        await again.until_kind("caught_up")
        again.cancel()


async def test_a_stopping_bridge_ends_watches_at_once_and_the_next_one_resumes_them(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service:
        async with running_bridge(amqp_uri, grace=10.0) as running:
            watching = Watching(running)
            await watching.until_kind("caught_up")
            await service.happen(2)
            await watching.until(2)
            stopping = asyncio.ensure_future(running.bridge.stop())
            error = await watching.end()
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert "RetryInfo" in details(error)
            async with asyncio.timeout(3):
                await stopping
        await service.happen(2)
        async with running_bridge(amqp_uri) as running:
            resumed = Watching(running, resume_token=watching.responses[-1].resume_token)
            await resumed.until(4)
            assert resumed.positions == [3, 4]
            resumed.cancel()


async def test_a_store_that_was_replaced_ends_the_watches_of_the_old_one(amqp_uri: str) -> None:
    async with watched(amqp_uri) as (service, running):
        await service.happen(2)
        watching = Watching(running)
        await watching.until_kind("caught_up")
        service.log.log_id = "another"
        error = await watching.end()
        assert error.code() is grpc.StatusCode.OUT_OF_RANGE
        assert details(error)["ErrorInfo"].metadata["log_id"] == "another"
        fresh = Watching(running, from_beginning=True)
        await fresh.until(2)
        fresh.cancel()


async def test_an_older_copy_of_the_store_ends_the_watches_and_its_events_are_told_anew(amqp_uri: str) -> None:
    async with watched(amqp_uri) as (service, running):
        watching = Watching(running)
        await watching.until_kind("caught_up")
        await service.happen(5)
        await watching.until(5)
        del service.log.events[2:]
        error = await watching.end()
        assert error.code() is grpc.StatusCode.OUT_OF_RANGE
        assert details(error)["ErrorInfo"].metadata["head"] == "2"
        fresh = Watching(running)
        await fresh.until_kind("caught_up")
        await service.happen(beer_id=9)
        await fresh.until(3)
        assert [event.beer_id for event in fresh.responses[-1].events.events] == [9]
        fresh.cancel()


@pytest.mark.parametrize("position", [50, 10**15])
async def test_an_event_beyond_the_log_is_not_believed(amqp_uri: str, position: int) -> None:
    async with watched(amqp_uri) as (service, running):
        watching = Watching(running)
        await watching.until_kind("caught_up")
        await service.happen()
        await service.tell(service.log.events[0] | {"position": position, "id": f"log:{position}"})
        await service.happen(2)
        await watching.until(3)
        later = Watching(running, from_beginning=True)
        await later.until_kind("caught_up")
        await service.happen()
        for watcher in (watching, later):
            await watcher.until(4)
            assert watcher.positions == [1, 2, 3, 4]
            watcher.cancel()


async def test_bytes_that_are_no_request_are_refused(amqp_uri: str) -> None:
    async with watched(amqp_uri) as (_service, running):
        call: Any = running.channel.unary_stream("/beers.v1.BeersService/WatchBeers")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"\xff\xff").read()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_while_the_service_is_away_a_watch_is_refused_in_time(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, default_deadline=0.5) as running:
        service.silent = True
        error = await Watching(running).end()
        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_the_bus_is_followed_only_while_somebody_watches(amqp_uri: str) -> None:
    async with watched(amqp_uri) as (service, running):
        kept = vars(vars(running.bridge)["_feed"])
        assert not kept["_ready"].is_set()
        watching = Watching(running)
        await watching.until_kind("caught_up")
        assert kept["_ready"].is_set()
        watching.cancel()
        async with asyncio.timeout(PATIENCE):
            await kept["_abandoned"].wait()
            while kept["_ready"].is_set():  # until the feed has taken notice
                await running.beers.GetBeer(v1.GetBeerRequest(beer_id=1))
        await service.happen(2)
        again = Watching(running, from_beginning=True)
        await again.until(2)
        await service.happen()
        await again.until(3)
        assert again.positions == [1, 2, 3]
        again.cancel()
