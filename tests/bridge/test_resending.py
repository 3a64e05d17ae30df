"""A broker that goes for a moment is not noticed; deadlines hold whatever happens."""

import asyncio
import time
from typing import Any

import grpc
import pytest
from pamqp.commands import Queue

from grpc_bridge.availability import Absence, Patience
from grpc_bridge.link import Link, open_link
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from tests.bridge.broker_proxy import broker_proxy
from tests.bridge.running_bridge import details, refusal, running_bridge
from tests.bridge.scripted_service import scripted_service

GET = v1.GetBeerRequest(beer_id=1)


async def test_calls_on_their_way_survive_a_cut_connection_and_run_once(amqp_uri: str) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        broker_proxy(amqp_uri) as proxy,
        running_bridge(proxy.uri) as running,
    ):
        service.gate.clear()
        calls = [running.beers.AddBeer(v1.AddBeerRequest(name=f"b{number}")) for number in range(20)]
        await service.until(1)
        proxy.cut()
        await running.until(Absence.BROKER)
        service.gate.set()
        responses = await asyncio.gather(*calls)
        assert len(responses) == 20
        assert len(service.runs) == 20
        assert set(service.runs.values()) == {1}
        assert proxy.connections == 2


async def test_a_broker_that_is_away_for_three_seconds_costs_no_call(amqp_uri: str) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        broker_proxy(amqp_uri) as proxy,
        running_bridge(proxy.uri, Patience(), probe_interval=1.0, broker_patience=3.0) as running,
    ):
        stop = asyncio.Event()
        answered = 0

        async def caller() -> None:
            nonlocal answered
            while not stop.is_set():
                await running.beers.AddBeer(v1.AddBeerRequest(name="b"), timeout=15)
                answered += 1

        callers = [asyncio.ensure_future(caller()) for _ in range(200)]
        await service.until(400)
        proxy.go_away()
        await asyncio.sleep(3)
        await proxy.listen()
        await running.until(None, timeout=5)
        before = answered
        await service.until(len(service.calls) + 400)
        stop.set()
        await asyncio.gather(*callers)
        assert answered > before
        assert set(service.runs.values()) == {1}


async def test_a_service_that_is_away_for_a_moment_costs_no_call(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, Patience()) as running:
        await service.stop()
        call = running.beers.AddBeer(v1.AddBeerRequest(name="b"))
        await running.until(Absence.SERVICE)
        await service.start()
        assert (await call).beer.name == "b"


async def test_a_command_past_its_deadline_says_how_to_learn_the_outcome(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, Patience()) as running:
        service.gate.clear()
        started = time.monotonic()
        error = await refusal(running.beers.AddBeer(v1.AddBeerRequest(name="b", request_id="r1"), timeout=1))
        assert 0.8 < time.monotonic() - started < 1
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "request_id r1" in (error.details() or "")
        assert details(error)["ErrorInfo"].reason == "DEADLINE_PASSED"


async def test_a_caller_who_does_not_say_how_long_waits_for_the_default(amqp_uri: str) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri, Patience(), default_deadline=0.5) as running,
    ):
        service.gate.clear()
        error = await refusal(running.beers.GetBeer(GET))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert 0 < time.time() - service.calls[0]["deadline"] < 2


async def test_a_caller_may_wait_longer_than_the_default(amqp_uri: str) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri, Patience(), default_deadline=0.2) as running,
    ):
        service.gate.clear()
        call = running.beers.GetBeer(GET, timeout=30)
        await service.until(1)
        assert 25 < service.calls[0]["deadline"] - time.time() < 30
        service.gate.set()
        assert (await call).beer.id == 1


async def test_a_late_answer_goes_nowhere_and_harms_nothing(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, Patience()) as running:
        service.gate.clear()
        await refusal(running.beers.GetBeer(GET, timeout=0.3))
        service.gate.set()
        assert (await running.beers.GetBeer(GET)).beer.id == 1


async def test_a_caller_who_goes_away_leaves_nothing_behind(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.gate.clear()
        call = running.beers.GetBeer(GET)
        await service.until(1)
        call.cancel()
        await running.until_logged("call")
        assert [line["code"] for line in running.calls_logged()] == ["CANCELLED"]


@pytest.mark.parametrize("grace", [2.0, 0.6])
async def test_a_drain_lets_calls_end_and_tells_those_that_cannot(amqp_uri: str, grace: float) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, grace=grace) as running:
        service.gate.clear()
        call = running.beers.GetBeer(GET)
        await service.until(1)
        stopping = asyncio.ensure_future(running.bridge.stop())
        await asyncio.sleep(0.1)
        if grace > 1:
            service.gate.set()
            assert (await call).beer.id == 1
        else:
            error = await refusal(call)
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert details(error)["ErrorInfo"].reason == "SERVICE_STOPPING"
        await stopping


async def test_the_reply_queue_being_deleted_is_noticed(amqp_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    queues: list[str] = []

    async def noting(uri: str, heartbeat: int, patience: float, reply_queue: str, *rest: Any) -> Link:
        queues.append(reply_queue)
        return await open_link(uri, heartbeat, patience, reply_queue, *rest)

    monkeypatch.setattr("grpc_bridge.bus.open_link", noting)
    async with scripted_service(amqp_uri), running_bridge(amqp_uri) as running:
        link = running.bridge._bus._link
        assert link is not None
        assert link._calls is not None
        await link._calls.ask(Queue.Delete(queue=queues[0]))
        await running.until(Absence.BROKER)
        await running.until(None)
        assert (await running.beers.GetBeer(GET)).beer.id == 1
    assert len(set(queues)) == 2


async def test_of_two_nodes_one_is_enough(amqp_uri: str) -> None:
    async with (
        scripted_service(amqp_uri),
        broker_proxy(amqp_uri) as one,
        broker_proxy(amqp_uri) as other,
        running_bridge(f"{one.uri};{other.uri}") as running,
    ):
        used, unused = (one, other) if one.connections else (other, one)
        for _ in range(2):
            before = unused.connections
            used.go_away()
            assert (await running.beers.GetBeer(GET, timeout=5)).beer.id == 1
            assert unused.connections == before + 1
            await used.listen()
            used, unused = unused, used


async def test_a_frozen_node_is_not_the_next_to_be_tried(amqp_uri: str) -> None:
    async with (
        scripted_service(amqp_uri),
        broker_proxy(amqp_uri) as one,
        broker_proxy(amqp_uri) as other,
        running_bridge(f"{one.uri};{other.uri}") as running,
    ):
        used, unused = (one, other) if one.connections else (other, one)
        used.freeze()
        assert (await running.beers.GetBeer(GET, timeout=5)).beer.id == 1
        assert (used.connections, unused.connections) == (1, 1)
