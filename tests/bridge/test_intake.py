"""Calls are taken in several at a time, and otherwise as gRPC takes them."""

import asyncio

import grpc
import pytest

from grpc_bridge import intake
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from tests.bridge.running_bridge import SERVING, running_bridge
from tests.bridge.scripted_service import scripted_service

GET = v1.GetBeerRequest(beer_id=1)


def takers() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("intake of ")]


def test_the_grpc_that_we_run_on_has_what_it_takes() -> None:
    assert intake.POSSIBLE


async def test_several_calls_of_each_unary_method_are_asked_for_at_a_time_until_the_end(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri), running_bridge(amqp_uri) as running:
        assert takers().count("intake of /beers.v1.BeersService/AddBeer") == intake.AT_ONCE
        assert takers().count("intake of /grpc.health.v1.Health/Check") == intake.AT_ONCE
        assert not [name for name in takers() if "WatchBeers" in name]
        answers = await asyncio.gather(*(running.beers.GetBeer(GET) for _ in range(5 * intake.AT_ONCE)))
        assert {answer.beer.id for answer in answers} == {1}
    assert not takers()


async def test_a_client_that_cancels_is_noticed(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.gate.clear()
        call = running.beers.GetBeer(GET)
        await service.until(1)
        call.cancel()
        async with asyncio.timeout(5):
            while running.bridge._reception.active:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        assert [line["code"] for line in running.calls_logged()] == ["CANCELLED"]
        service.gate.set()


async def test_without_it_calls_come_in_as_grpc_takes_them(amqp_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "POSSIBLE", False)
    async with scripted_service(amqp_uri), running_bridge(amqp_uri) as running:
        assert not takers()
        assert isinstance(running.bridge._serving._server.server, grpc.aio.Server)
        assert (await running.beers.GetBeer(GET)).beer.id == 1
        assert await running.check() == SERVING
