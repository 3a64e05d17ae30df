"""What ends gRPC's own server does not end the bridge."""

import asyncio

from grpc_health.v1 import health_pb2

from fuzz.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, frame, header_block
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from tests.bridge.running_bridge import SERVING, RunningBridge, details, refusal, running_bridge

NOWHERE = "amqp://127.0.0.1:1/"


async def send(running: RunningBridge, path: bytes) -> None:
    """Make a call of *path*, which need not be text, and hang up."""
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"x"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
    _, writer = await asyncio.open_connection("127.0.0.1", running.bridge.port)
    begin = frame(HEADERS, END_HEADERS, 1, header_block(headers))
    writer.write(PREFACE + frame(SETTINGS, 0, 0, b"") + begin + frame(DATA, END_STREAM, 1, bytes(5)))
    await writer.drain()
    await asyncio.sleep(0)
    writer.close()


async def ended(running: RunningBridge, times: int) -> None:
    """Wait until gRPC's server has ended so many times."""
    async with asyncio.timeout(10):
        while sum(line["event"].startswith("the gRPC server ended") for line in running.lines) < times:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_path_that_is_no_text_does_not_close_the_port() -> None:
    async with running_bridge(NOWHERE, wait=False) as running:
        for times in (1, 2):
            await send(running, b"/\xff\xfe")
            await ended(running, times)
            alive = health_pb2.HealthCheckRequest(service="liveness")
            response = await running.health.Check(alive, timeout=5, wait_for_ready=True)
            assert response.status == SERVING


async def test_a_call_that_was_on_its_way_is_answered_all_the_same() -> None:
    async with running_bridge(NOWHERE, wait=False) as running:
        call = running.beers.AddBeer(v1.AddBeerRequest(name="Punk"), timeout=1.5)
        async with asyncio.timeout(5):
            while not running.bridge._reception.active:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        await send(running, b"/\xff")
        await ended(running, 1)
        assert not call.done()
        error = await refusal(call)
        assert "ErrorInfo" in details(error)
