"""Too much to do: what is refused costs little, and what is accepted does not wait for long."""

import asyncio
from collections import Counter
from typing import Any

import grpc

from grpc_bridge.batching import Batch, Batcher, Call, Limits, Pace
from grpc_bridge.errors import CallFailed
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc
from grpc_bridge.proto.pb import beers_pb2 as pb
from tests.bridge.running_bridge import SERVING, RunningBridge, details, refusal, running_bridge, trailers
from tests.bridge.scripted_service import scripted_service

GET = v1.GetBeerRequest(beer_id=1)


def test_the_pace_is_that_of_the_answers_while_the_service_is_busy() -> None:
    pace = Pace()
    assert pace.seconds == 0
    for step in range(100):
        pace.answered(step * 0.1, busy=True)
    assert round(pace.seconds, 3) == 0.1


def test_a_time_without_calls_does_not_make_a_service_look_slow() -> None:
    pace = Pace()
    for step in range(100):
        pace.answered(step * 100.0, busy=True)
        pace.answered(step * 100.0 + 0.1, busy=False)
    assert round(pace.seconds, 3) == 0.1


def test_a_pause_of_the_service_is_not_taken_for_its_pace() -> None:
    pace = Pace()
    for step in range(100):
        pace.answered(step * 0.01, busy=True)
    pace.answered(30.0, busy=True)
    assert pace.seconds < 0.35
    for step in range(10):
        pace.answered(30.0 + step * 0.01, busy=True)
    assert pace.seconds < 0.03
    pace.rest()
    known = pace.seconds
    pace.answered(60.0, busy=True)
    assert pace.seconds == known


def test_a_few_calls_that_were_quick_say_little_of_a_full_batch() -> None:
    pace, now = Pace(), 0.0
    for _ in range(30):
        for seconds, fullness in ((0.3, 1.0), (0.03, 0.1)):
            now += seconds
            pace.answered(now, busy=True, fullness=fullness)
    assert pace.seconds > 0.25


def test_after_a_pause_a_few_calls_that_are_quick_show_that_all_is_well() -> None:
    pace = Pace()
    pace.answered(0.0, busy=True)
    for step in range(1, 6):
        pace.answered(step * 1.0, busy=True)
    assert pace.seconds > 0.5
    for step in range(60):
        pace.answered(5.0 + step * 0.005, busy=True, fullness=0.004)
    assert pace.seconds < 0.2, "a third of a second later"


def test_a_few_full_batches_that_were_quick_do_not_let_a_crowd_in() -> None:
    pace, now = Pace(), 0.0
    for step in [*([0.1] * 50), *([0.02] * 4)]:
        now += step
        pace.answered(now, busy=True)
    assert pace.seconds > 0.07


class Queue:
    """A batcher before a service that answers when it is told to."""

    def __init__(self, **limits: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.sent: list[Batch] = []
        self.batcher = Batcher(self.sent.append, Limits(in_flight=1, waiting=1000, **limits), self.loop)
        self.batcher.resume()

    def offer(self, number: int, rows: int = 1) -> int:
        """Offer so many calls; return how many were taken on."""
        for taken in range(number):
            answer: asyncio.Future[object] = self.loop.create_future()
            call = Call(b"{}", reads=True, rows=rows, deadline=self.loop.time() + 10, request_id="", answer=answer)
            try:
                self.batcher.add(call)
            except CallFailed:
                return taken
        return number

    async def answer(self, times: int, every: float) -> None:
        """Answer a batch every so many seconds."""
        for _ in range(times):
            await asyncio.sleep(every)
            self.batcher.take(self.sent[-1].number)
            await asyncio.sleep(0)


async def test_a_slow_service_has_a_short_queue() -> None:
    queue = Queue(calls=10, patience=0.1)
    assert queue.offer(250) == 250, "nothing is known of its pace"
    await queue.answer(20, 0.02)
    assert queue.batcher.crowded(), "another five batches wait"
    await queue.answer(5, 0.02)
    # Ten calls each fiftieth of a second: in a tenth it answers fifty, and ten of these are on their way.
    assert 5 < queue.offer(200) < 50


async def test_who_was_let_in_and_has_not_come_yet_is_taken_for_waiting_up_to_a_batch() -> None:
    for patience, entering, crowded in (
        (1.9, 0, False),
        (1.9, 8, False),
        (1.9, 9, True),
        (2.0, 9, False),
        (2.0, 2000, False),
    ):
        queue = Queue(calls=10, patience=patience)
        for _ in range(30):
            queue.offer(10)
            await asyncio.sleep(0)
            await queue.answer(1, 0)  # those are no longer on their way
        queue.offer(20)
        await asyncio.sleep(0)
        queue.batcher._pace.seconds = 0.5
        assert (queue.batcher.waiting, len(queue.sent[-1].calls)) == (10, 10), "a batch waits, and one is on its way"
        assert queue.batcher.crowded(10 + 10 + entering) is crowded, (patience, entering)


async def test_what_answers_hold_counts_as_well() -> None:
    queue = Queue(calls=10, rows=100, patience=0.1)
    assert queue.offer(25, rows=100) == 25
    await queue.answer(24, 0.02)
    assert queue.offer(200, rows=100) <= 5


async def test_a_service_that_is_slow_for_each_message_has_a_queue_for_one() -> None:
    queue = Queue(calls=256, patience=0.5)
    queue.offer(1)
    for _ in range(10):
        await asyncio.sleep(0)
        queue.offer(1)
        await queue.answer(1, 0.05)
    assert queue.offer(256) == 256, "the next message takes them all"


async def test_while_the_broker_is_away_calls_are_only_counted() -> None:
    queue = Queue(calls=10, patience=0.1)
    queue.offer(250)
    await queue.answer(20, 0.02)
    queue.batcher.hold()
    assert queue.offer(500) == 500


async def test_what_is_refused_is_not_read_and_told_in_one_line(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, max_calls=3) as running:
        service.gate.clear()
        calls = [running.beers.GetBeer(GET) for _ in range(3)]
        await service.until(3)
        raw: Any = running.channel.unary_unary("/beers.v1.BeersService/AddBeer")
        errors = await asyncio.gather(*(refusal(raw(b"\xff no message")) for _ in range(50)))
        assert {error.code() for error in errors} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert {details(error)["ErrorInfo"].reason for error in errors} == {"OVERLOADED"}
        waits = {int(trailers(error)["grpc-retry-pushback-ms"]) for error in errors}
        assert len(waits) > 5
        assert await running.check() == SERVING
        assert (await running.seed.Add(pb.BeerAddRequest(name="b"))).status == pb.BAD, "that contract has no statuses"
        async with asyncio.timeout(5):
            while not (told := [line for line in running.lines if line["event"].startswith("refused calls")]):
                await running.check()
        assert [line["count"] for line in told] == [50]
        service.gate.set()
        assert [(await call).beer.id for call in calls] == [1, 1, 1]
        assert (await running.beers.GetBeer(GET)).beer.id == 1


async def test_what_a_client_has_beyond_the_streams_of_a_connection_waits_with_it(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, max_streams=3) as running:
        service.gate.clear()
        calls = [asyncio.ensure_future(running.beers.GetBeer(GET)) for _ in range(8)]
        await service.until(3)
        other = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(running.target, options=other) as channel:
            # Its own connection has room; and what came before on the full one has not reached the service meanwhile.
            another = v1_grpc.BeersServiceStub(channel).GetBeer(GET)
            await service.until(4)
            assert len(service.calls) == 4
            service.gate.set()
            assert (await another).beer.id == 1
        assert [(await call).beer.id for call in calls] == [1] * 8


async def test_what_protects_from_resets_refuses_some_who_keep_a_connection_full(amqp_uri: str) -> None:
    told: dict[bool, Counter[grpc.StatusCode]] = {}
    for protected in (False, True):
        bridge = running_bridge(amqp_uri, max_streams=10, reset_protection=protected)
        async with scripted_service(amqp_uri), bridge as running:
            told[protected] = codes = Counter[grpc.StatusCode]()

            async def call_again_and_again(running: RunningBridge = running, codes: Any = codes) -> None:
                for _ in range(20):
                    try:
                        await running.beers.GetBeer(GET, timeout=10)
                    except grpc.aio.AioRpcError as error:
                        codes[error.code()] += 1

            await asyncio.gather(*(call_again_and_again() for _ in range(30)))
    assert not told[False]
    assert told[True].keys() == {grpc.StatusCode.UNAVAILABLE}
