"""Health tells the truth about the broker and the service, and calls fail before it hurts."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiormq
import grpc
import pytest
from grpc_health.v1 import health_pb2
from pamqp.common import FieldTable

from grpc_bridge.availability import Absence, Patience
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from tests.bridge.broker_proxy import broker_proxy
from tests.bridge.running_bridge import (
    NOT_SERVING,
    SERVING,
    RunningBridge,
    details,
    refusal,
    running_bridge,
    trailers,
)
from tests.bridge.scripted_service import EXCHANGE, QUEUE, forget_queue, scripted_service

FOLLOWING = ("", "beers.v1.BeersService", "pb.Beers")
DEFAULTS: dict[str, Any] = {"patience": Patience(), "probe_interval": 1.0, "broker_patience": 3.0}
GET = v1.GetBeerRequest(beer_id=1)


class Watcher:
    """What a Watch has told so far."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.end: asyncio.Future[grpc.StatusCode] = asyncio.get_running_loop().create_future()
        self._told = asyncio.Event()

    async def follow(self, running: RunningBridge, service: str) -> None:
        try:
            async for response in running.health.Watch(health_pb2.HealthCheckRequest(service=service)):
                self.statuses.append(response.status)
                self._told.set()
        except grpc.aio.AioRpcError as error:
            self.end.set_result(error.code())

    async def until(self, status: int, within: float) -> None:
        async with asyncio.timeout(within):
            while not self.statuses or self.statuses[-1] != status:
                self._told.clear()
                await self._told.wait()


@asynccontextmanager
async def watching(running: RunningBridge, service: str = "") -> AsyncIterator[Watcher]:
    watcher = Watcher()
    task = asyncio.ensure_future(watcher.follow(running, service))
    try:
        yield watcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def assert_unavailable(error: grpc.aio.AioRpcError) -> None:
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert details(error)["RetryInfo"].retry_delay.ToMilliseconds() > 0
    assert int(trailers(error)["grpc-retry-pushback-ms"]) > 0


async def test_as_people_configure_it_a_stopped_service_is_told_within_five_seconds_and_so_is_its_return(
    amqp_uri: str,
) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri, **DEFAULTS) as running,
        watching(running) as watcher,
    ):
        await watcher.until(SERVING, 5)
        calls = []
        await service.stop()
        started = time.monotonic()
        calls = [refusal(running.beers.GetBeer(GET, timeout=seconds)) for seconds in (1.5, 3, 8, None)]
        errors = asyncio.gather(*calls)
        await watcher.until(NOT_SERVING, 5)
        for error in await errors:
            assert_unavailable(error)
        assert time.monotonic() - started < 8
        quick = time.monotonic()
        assert_unavailable(await refusal(running.beers.GetBeer(GET)))
        assert time.monotonic() - quick < 1  # at once: those that wait do so for seconds
        await service.start()
        await watcher.until(SERVING, 5)
        assert (await running.beers.GetBeer(GET)).beer.id == 1


async def test_as_people_configure_it_a_frozen_broker_is_told_within_five_seconds_and_nothing_hangs(
    amqp_uri: str,
) -> None:
    async with (
        scripted_service(amqp_uri),
        broker_proxy(amqp_uri) as proxy,
        running_bridge(proxy.uri, **DEFAULTS) as running,
        watching(running) as watcher,
    ):
        await watcher.until(SERVING, 5)
        proxy.freeze()
        error = asyncio.ensure_future(refusal(running.beers.GetBeer(GET, timeout=9)))
        await watcher.until(NOT_SERVING, 5)
        assert_unavailable(await error)
        proxy.thaw()
        await watcher.until(SERVING, 5)
        assert (await running.beers.GetBeer(GET)).beer.id == 1


async def test_each_service_follows_and_liveness_stays(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        assert [await running.check(name) for name in (*FOLLOWING, "liveness")] == [SERVING] * 4
        await service.stop()
        await running.until(Absence.SERVICE)
        assert [await running.check(name) for name in (*FOLLOWING, "liveness")] == [NOT_SERVING] * 3 + [SERVING]
        await service.start()
        await running.until(None)
        assert [await running.check(name) for name in FOLLOWING] == [SERVING] * 3


async def test_a_service_that_has_never_run_is_away(amqp_uri: str) -> None:
    await forget_queue(amqp_uri)
    async with running_bridge(amqp_uri, wait=False) as running:
        await running.until(Absence.SERVICE)
        error = await refusal(running.beers.GetBeer(GET))
        assert_unavailable(error)
        assert await running.check() == NOT_SERVING


async def test_a_message_that_the_broker_refuses_fails_its_calls(amqp_uri: str) -> None:
    await forget_queue(amqp_uri)
    async with aiormq.connect(amqp_uri) as connection:
        channel = await connection.channel()
        full: FieldTable = {"x-max-length": 0, "x-overflow": "reject-publish"}
        await channel.queue_declare(QUEUE, auto_delete=True, arguments=full)
        await channel.queue_bind(QUEUE, EXCHANGE, "beers.*")
        async with running_bridge(amqp_uri, wait=False) as running:
            await running.until(Absence.SERVICE)
            assert_unavailable(await refusal(running.beers.GetBeer(GET)))
        await channel.queue_delete(QUEUE)


async def test_a_service_that_listens_and_never_answers_is_away(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.silent = True
        error = asyncio.ensure_future(refusal(running.beers.GetBeer(GET)))
        await running.until(Absence.ANSWERS)
        assert_unavailable(await error)
        service.silent = False
        await running.until(None)


async def test_a_bridge_that_was_too_busy_to_listen_does_not_take_the_service_for_silent(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri), running_bridge(amqp_uri, Patience(silence=0.3)) as running:
        told: list[Absence | None] = []
        running.bridge.availability.on_change(lambda: told.append(running.bridge.availability.absence))
        time.sleep(1)  # noqa: ASYNC251 - what a loop does that is busy
        await running.beers.GetBeer(GET)
        assert told == []


async def test_a_service_without_its_store_does_not_serve_but_is_asked(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.store_away = True
        await running.until(Absence.STORE)
        assert await running.check() == NOT_SERVING
        assert (await running.beers.GetBeer(GET)).beer.id == 1
        service.store_away = False
        await running.until(None)


async def test_without_a_broker_it_lives_does_not_serve_and_ends_in_order() -> None:
    async with running_bridge("amqp://127.0.0.1:1/", wait=False, grace=10.0) as running:
        assert await running.check("liveness") == SERVING
        assert await running.check() == NOT_SERVING
        error = await refusal(running.beers.GetBeer(GET, timeout=0.5))
        assert_unavailable(error)
        await running.until(Absence.BROKER, refusing=True)
        started = time.monotonic()
    assert time.monotonic() - started < 5  # it waits for nobody


async def test_it_finds_a_broker_that_comes_later(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri), broker_proxy(amqp_uri) as proxy:
        proxy.go_away()
        async with running_bridge(proxy.uri, wait=False) as running:
            await running.until(Absence.BROKER, refusing=True)
            await proxy.listen()
            await running.until(None, timeout=5)


async def test_it_stops_within_its_grace_although_the_broker_is_frozen(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri), broker_proxy(amqp_uri) as proxy:
        async with running_bridge(proxy.uri, grace=0.5) as running:
            proxy.freeze()
            call = asyncio.ensure_future(refusal(running.beers.GetBeer(GET)))
            await asyncio.sleep(0.1)
            started = time.monotonic()
        assert time.monotonic() - started < 2.2  # its own goodbye, to a broker that says nothing, included
        assert_unavailable(await call)


async def test_a_watch_of_an_unknown_service_says_so_and_a_check_is_not_found(amqp_uri: str) -> None:
    async with running_bridge(amqp_uri, wait=False) as running, watching(running, "wine") as watcher:
        await watcher.until(health_pb2.HealthCheckResponse.SERVICE_UNKNOWN, 2)
        error = await refusal(running.health.Check(health_pb2.HealthCheckRequest(service="wine")))
        assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_every_status_can_be_listed(amqp_uri: str) -> None:
    async with running_bridge(amqp_uri, wait=False) as running:
        listed = await running.health.List(health_pb2.HealthListRequest())
    assert set(listed.statuses) == {*FOLLOWING, "liveness"}


@pytest.mark.parametrize("service", ["", "liveness"])
async def test_a_drain_is_told_to_watchers_and_does_not_wait_for_them(amqp_uri: str, service: str) -> None:
    async with (
        scripted_service(amqp_uri),
        running_bridge(amqp_uri, grace=5.0) as running,
        watching(running, service) as watcher,
    ):
        await watcher.until(SERVING, 2)
        started = time.monotonic()
        await running.bridge.stop()
        assert time.monotonic() - started < 4  # the grace is longer
        async with asyncio.timeout(2):
            assert await watcher.end is grpc.StatusCode.UNAVAILABLE
        assert watcher.statuses[-1] == (SERVING if service == "liveness" else NOT_SERVING)


async def test_a_watcher_that_never_reads_does_not_hold_up_a_change(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        idle = running.health.Watch(health_pb2.HealthCheckRequest(service=""))
        await idle.read()
        async with watching(running) as watcher:
            await watcher.until(SERVING, 2)
            await service.stop()
            await watcher.until(NOT_SERVING, 2)
        idle.cancel()
