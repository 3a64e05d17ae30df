"""What ends gRPC's own server does not end the bridge."""

import asyncio
import struct

import pytest
from grpc_health.v1 import health_pb2

from fuzz.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, call_headers, frame, header_block
from grpc_bridge import grpc_environment  # noqa: F401 - as the bridge's process does
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from tests.bridge.running_bridge import SERVING, RunningBridge, details, refusal, running_bridge
from tests.bridge.scripted_service import scripted_service

NOWHERE = "amqp://127.0.0.1:1/"
_INITIAL_WINDOW = 4

Writer = asyncio.StreamWriter


async def send(running: RunningBridge, path: bytes, message: bytes = bytes(5), window: int = 65_535) -> Writer:
    """Make a call of *path*, which need not be text, with room for so many bytes of an answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", running.bridge.port)
    begin = frame(HEADERS, END_HEADERS, 1, header_block(call_headers(path)))
    room = frame(SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW, window))
    writer.write(PREFACE + room + begin + frame(DATA, END_STREAM, 1, message))
    await writer.drain()
    await asyncio.sleep(0)
    return writer


async def ended(running: RunningBridge, times: int) -> None:
    """Wait until gRPC's server has ended so many times."""
    async with asyncio.timeout(10):
        while sum(line["event"].startswith("the gRPC server ended") for line in running.lines) < times:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_path_that_is_no_text_does_not_close_the_port() -> None:
    async with running_bridge(NOWHERE, wait=False) as running:
        for times in (1, 2):
            (await send(running, b"/\xff\xfe")).close()
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
        (await send(running, b"/\xff")).close()
        await ended(running, 1)
        assert not call.done()
        error = await refusal(call)
        assert "ErrorInfo" in details(error)


async def test_an_answer_that_nobody_waits_for_any_more_is_no_error(
    amqp_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    request = v1.AddBeerRequest(name="Jever").SerializeToString()
    message = struct.pack(">BL", 0, len(request)) + request
    async with scripted_service(amqp_uri), running_bridge(amqp_uri) as running:
        writer = await send(running, b"/beers.v1.BeersService/AddBeer", message, window=0)
        await running.until_logged("call")
        writer.close()
        # As long as it is not over there is an answer that could not be sent.
        async with asyncio.timeout(5):
            while any(task.get_name().startswith("HandleExceptions") for task in asyncio.all_tasks()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert not [record for record in caplog.records if record.name.startswith("grpc")]
