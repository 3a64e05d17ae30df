"""Calls leave at once while little is on its way, and gather otherwise."""

import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from grpc_bridge.availability import Patience
from grpc_bridge.batching import Batch, Batcher, Call, Limits
from grpc_bridge.errors import CallFailed
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc
from tests.bridge.running_bridge import details, refusal, running_bridge
from tests.bridge.scripted_service import scripted_service


class Sent:
    """A batcher and what it has sent."""

    def __init__(self, **limits: Any) -> None:
        self.batches: list[Batch] = []
        self.loop = asyncio.get_running_loop()
        self.batcher = Batcher(self.batches.append, Limits(**limits), self.loop)
        self.batcher.resume()

    def add(self, name: str = "c", *, reads: bool = False, rows: int = 1) -> Call:
        call = Call(
            name.encode(),
            reads=reads,
            rows=rows,
            deadline=self.loop.time() + 10,
            request_id="",
            answer=self.loop.create_future(),
        )
        self.batcher.add(call)
        return call

    async def bodies(self) -> list[list[str]]:
        await asyncio.sleep(0)
        return [[call.body.decode() for call in batch.calls] for batch in self.batches]


async def test_while_little_is_on_its_way_each_call_leaves_at_once() -> None:
    sent = Sent(in_flight=3)
    for name in "abc":
        sent.add(name)
        assert (await sent.bodies())[-1] == [name]


async def test_once_enough_is_on_its_way_calls_gather_until_an_answer_comes() -> None:
    sent = Sent(in_flight=1)
    sent.add("first")
    await sent.bodies()
    for name in "abc":
        sent.add(name)
        await asyncio.sleep(0)
    assert await sent.bodies() == [["first"]]
    sent.batcher.take(sent.batches[0].number)
    assert await sent.bodies() == [["first"], ["a", "b", "c"]]


async def test_calls_that_come_together_leave_together() -> None:
    sent = Sent(in_flight=3)
    for name in "abc":
        sent.add(name)
    assert await sent.bodies() == [["a", "b", "c"]]


async def test_commands_come_before_reads_and_keep_their_order() -> None:
    sent = Sent()
    for name, reads in [("r1", True), ("c1", False), ("r2", True), ("c2", False)]:
        sent.add(name, reads=reads)
    assert await sent.bodies() == [["c1", "c2", "r1", "r2"]]


async def test_a_batch_is_limited_in_calls_bytes_and_rows() -> None:
    sent = Sent(in_flight=9, calls=2, size=10, rows=100)
    for name in "abc":
        sent.add(name)
    assert await sent.bodies() == [["a", "b"], ["c"]]
    sent.batches.clear()
    sent.add("12345678")
    sent.add("123")
    assert await sent.bodies() == [["12345678"], ["123"]]
    sent.batches.clear()
    sent.add("many", reads=True, rows=60)
    sent.add("more", reads=True, rows=60)
    assert await sent.bodies() == [["many"], ["more"]]


async def test_a_call_that_is_larger_than_a_batch_may_be_travels_alone() -> None:
    sent = Sent(in_flight=9, size=5)
    for name in ("a", "much too large", "b"):
        sent.add(name)
    assert await sent.bodies() == [["a"], ["much too large"], ["b"]]


async def test_what_nobody_waits_for_any_more_does_not_leave() -> None:
    sent = Sent(in_flight=1)
    sent.add("first")
    await sent.bodies()
    sent.add("given up").answer.cancel()
    sent.add("wanted")
    sent.batcher.take(sent.batches[0].number)
    assert await sent.bodies() == [["first"], ["wanted"]]


async def test_too_many_waiting_calls_are_refused() -> None:
    sent = Sent(in_flight=1, waiting=2)
    sent.add()
    await sent.bodies()
    sent.add()
    sent.add()
    with pytest.raises(CallFailed, match="Overloaded"):
        sent.add()


async def test_calls_that_nobody_wants_any_more_keep_no_others_out_while_the_broker_is_away() -> None:
    sent = Sent(waiting=3, rows=10)
    sent.batcher.hold()
    for _ in range(2):
        sent.add("given up", rows=9).answer.cancel()
    sent.add("wanted", rows=5)
    sent.add("next", rows=5)
    assert (sent.batcher.waiting, sent.batcher.refused) == (2, 0)
    sent.batcher.resume()
    assert await sent.bodies() == [["wanted", "next"]]


async def test_a_crowd_that_is_refused_has_nobody_look_at_all_who_wait_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = Sent(waiting=1000)
    sent.batcher.hold()
    now = 5.0
    monkeypatch.setattr(sent.batcher, "_loop", SimpleNamespace(time=lambda: now))
    calls = [sent.add() for _ in range(1000)]
    assert sent.batcher.crowded()
    calls[500].answer.cancel()
    assert sent.batcher.crowded()
    now += 0.049
    assert sent.batcher.crowded()
    now += 0.002
    assert not sent.batcher.crowded()
    assert sent.batcher.waiting == 999


async def test_a_batch_that_is_lost_does_not_stop_the_others() -> None:
    sent = Sent(in_flight=1, lease=0.2)
    sent.add("lost")
    await sent.bodies()
    sent.add("next")
    await asyncio.sleep(0.3)
    assert await sent.bodies() == [["lost"], ["next"]]
    assert [batch.number for batch in sent.batcher.on_the_way()] == [1, 2]
    # Its late answer is still one, and frees no slot twice.
    assert sent.batcher.take(1) is sent.batches[0]
    sent.add("third")
    assert len(await sent.bodies()) == 2


async def test_failing_all_reaches_what_waits_and_what_is_on_its_way() -> None:
    sent = Sent(in_flight=1)
    calls = [sent.add("on its way")]
    await sent.bodies()
    calls.append(sent.add("waiting"))
    sent.batcher.fail_all(CallFailed("ServiceStopping"))
    for call in calls:
        with pytest.raises(CallFailed, match="ServiceStopping"):
            await call.answer
    assert sent.batcher.on_the_way() == []


async def test_concurrent_calls_reach_the_service_in_few_messages_and_each_gets_its_own_answer(amqp_uri: str) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri, batches_in_flight=2, max_streams=300) as running,
    ):
        service.gate.clear()
        calls = [running.beers.AddBeer(v1.AddBeerRequest(name=f"beer {number}")) for number in range(200)]
        await service.until(1)
        async with asyncio.timeout(10):
            while running.bridge._reception.active < 200:  # the rest is to have gathered
                await running.check()
        service.gate.set()
        responses = await asyncio.gather(*calls)
    assert [response.beer.name for response in responses] == [f"beer {number}" for number in range(200)]
    assert len(service.batches) <= 10  # one keeps its slot for a second, which a busy machine may take for gathering
    assert sum(service.batches) == 200


async def test_overload_is_told_at_once_with_the_time_to_try_again(amqp_uri: str) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri, batches_in_flight=1, max_waiting=5) as running,
    ):
        service.gate.clear()
        calls = [running.beers.GetBeer(v1.GetBeerRequest(beer_id=1), timeout=5)]
        await service.until(1)
        calls += [running.beers.GetBeer(v1.GetBeerRequest(beer_id=1), timeout=5) for _ in range(9)]
        tasks = [asyncio.ensure_future(refusal(call)) for call in calls]
        refused: list[grpc.aio.AioRpcError] = []
        async with asyncio.timeout(0.8):  # sooner than a batch loses its slot
            while len(refused) < 4:
                finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                tasks = [task for task in tasks if task not in finished]
                refused += [task.result() for task in finished]
        for error in refused:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert details(error)["RetryInfo"].retry_delay.ToMilliseconds() > 0
        service.gate.set()
        answered = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(answer, AssertionError) for answer in answered)
        assert len(service.calls) == 6


async def test_more_calls_at_once_than_the_limit_are_refused_but_health_answers(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, max_calls=3) as running:
        service.gate.clear()
        calls = [running.beers.GetBeer(v1.GetBeerRequest(beer_id=1)) for _ in range(3)]
        await service.until(3)
        error = await refusal(running.beers.GetBeer(v1.GetBeerRequest(beer_id=1)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await running.check() == 1
        service.gate.set()
        assert [(await call).beer.id for call in calls] == [1, 1, 1]


async def test_a_burst_of_calls_is_answered_by_us_each_one(amqp_uri: str) -> None:
    """By itself gRPC refuses what comes at once beyond 1,000, without a word of when to try again."""
    async with (
        scripted_service(amqp_uri),
        running_bridge(amqp_uri, Patience(), max_calls=1800, max_waiting=5000, max_streams=400) as running,
        AsyncExitStack() as channels,
    ):
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        stubs = [
            v1_grpc.BeersServiceStub(
                await channels.enter_async_context(grpc.aio.insecure_channel(running.target, options=options))
            )
            for _ in range(8)
        ]
        request = v1.GetBeerRequest(beer_id=1)
        calls = [stubs[number % 8].GetBeer(request, wait_for_ready=True) for number in range(3200)]
        answered = 0
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, grpc.aio.AioRpcError):
                assert details(outcome)["ErrorInfo"].reason == "OVERLOADED"
            else:
                answered += 1
        assert answered >= 1800
