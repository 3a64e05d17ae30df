"""Calls are taken in several at a time, and otherwise as gRPC takes them."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc._cython import cygrpc

from grpc_bridge import intake
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from tests.bridge.running_bridge import SERVING, refusal, running_bridge
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


async def test_one_that_fails_ends_the_server_and_another_takes_its_place(
    amqp_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = cygrpc._schedule_rpc_coro
    failing = iter([True])

    def fail_once(work: Any, *arguments: Any) -> Any:
        if next(failing, False):
            work.close()
            raise RuntimeError("a bug")
        return begin(work, *arguments)

    async with scripted_service(amqp_uri), running_bridge(amqp_uri, grace=0.5) as running:
        monkeypatch.setattr(cygrpc, "_schedule_rpc_coro", fail_once)
        await refusal(running.beers.GetBeer(GET, timeout=5))
        assert (await running.beers.GetBeer(GET, wait_for_ready=True)).beer.id == 1
        ended = [line for line in running.lines if line["event"].startswith("the gRPC server ended")]
        assert [line["error"] for line in ended] == ["RuntimeError"]


async def test_without_it_calls_come_in_as_grpc_takes_them(amqp_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "POSSIBLE", False)
    async with scripted_service(amqp_uri), running_bridge(amqp_uri) as running:
        assert not takers()
        assert isinstance(running.bridge._serving._server.server, grpc.aio.Server)
        assert (await running.beers.GetBeer(GET)).beer.id == 1
        assert await running.check() == SERVING
