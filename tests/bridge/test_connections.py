"""How long connections and streams last, and how often clients may ask whether the other side is still there."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc
from tests.bridge.broker_proxy import broker_proxy
from tests.bridge.running_bridge import details, refusal, running_bridge, trailers
from tests.bridge.scripted_service import ScriptedService, scripted_service
from tests.bridge.watching import PATIENCE, Watching

GET = v1.GetBeerRequest(beer_id=1)
AGE: dict[str, Any] = {"connection_age": 0.3, "connection_grace": 1.0}
"""Connections that are old within a third of a second, and gone a second after that."""


async def test_clients_connect_anew_when_their_connection_is_old_and_no_call_fails(amqp_uri: str) -> None:
    async with (
        scripted_service(amqp_uri),
        running_bridge(amqp_uri, **AGE) as running,
        broker_proxy(f"amqp://{running.target}/") as wire,
        # No retries: what is under way when the connection is given up must end well by itself.
        grpc.aio.insecure_channel(
            wire.uri.removeprefix("amqp://").rstrip("/"), [("grpc.enable_retries", 0)]
        ) as channel,
    ):
        stub: v1_grpc.BeersServiceAsyncStub = v1_grpc.BeersServiceStub(channel)
        answered = 0
        async with asyncio.timeout(PATIENCE):
            while wire.connections < 4:
                await asyncio.gather(*(stub.GetBeer(GET, wait_for_ready=True) for _ in range(20)))
                answered += 20
        assert answered > 20


async def test_a_call_that_outlasts_the_age_of_its_connection_is_answered(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, **AGE) as running:
        service.gate.clear()
        call = running.beers.GetBeer(GET)
        await service.until(1)
        await asyncio.sleep(0.7)  # the client has been told by then, at 0.33 s at the latest
        service.gate.set()
        assert (await call).beer.id == 1


async def test_a_watch_ends_by_itself_before_its_connection_does_and_resumes_without_a_gap(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, **AGE) as running:
        told: list[int] = []
        start: dict[str, Any] = {"from_beginning": True}
        for _ in range(4):
            happening = asyncio.ensure_future(happen(service))
            watching = Watching(running, **start)
            began = time.monotonic()
            error = await watching.end()
            assert time.monotonic() - began < 1.2
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert details(error)["ErrorInfo"].reason == "STREAM_ENDED"
            assert "RetryInfo" in details(error)
            told += watching.positions
            start = {"resume_token": watching.responses[-1].resume_token}
            happening.cancel()
        assert told == list(range(1, len(told) + 1))
        assert len(told) > 40


async def test_an_import_ends_by_itself_as_well_and_says_that_it_can_go_on(amqp_uri: str) -> None:
    async def chunks() -> AsyncIterator[v1.ImportBeersRequest]:
        yield v1.ImportBeersRequest(import_id="i", beers=[v1.AddBeerRequest(name="b")])
        # What this client of gRPC's is just sending when the status comes, it reports as an error of its own, INTERNAL.
        await asyncio.Event().wait()

    # So long a grace leaves half a second from its end to that of the connection: a busy machine needs it.
    age = AGE | {"connection_grace": 3.0}
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, **age) as running:
        service.methods["import_beers"] = lambda beers: {"added": len(beers), "already_added": 0, "refused": []}
        error = await refusal(running.beers.ImportBeers(chunks()))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert details(error)["ErrorInfo"].reason == "STREAM_ENDED"
        assert "grpc-retry-pushback-ms" in trailers(error)


async def test_connections_last_for_ever_where_no_age_is_configured(amqp_uri: str) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri, connection_age=0.0, connection_grace=0.1) as running,
    ):
        watching = Watching(running)
        await watching.until_kind("caught_up")
        await asyncio.sleep(0.3)
        await service.happen()
        await watching.until(1)
        watching.cancel()


async def test_the_command_line_follows_over_many_connections_and_nobody_is_told(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, **AGE) as running:
        command = [sys.executable, "-m", "beers_cli", "watch", "--from", "beginning", "--json"]
        process = await asyncio.create_subprocess_exec(
            *command, "--address", running.target, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        happening = asyncio.ensure_future(happen(service))
        told: list[int] = []
        ended = 0
        async with asyncio.timeout(PATIENCE):
            while ended < 3:
                line = await process.stdout.readline()
                told.append(int(line.split(b'"position": ')[1].split(b",")[0]))
                ended = sum(call.get("code") == "UNAVAILABLE" for call in running.calls_logged())
        happening.cancel()
        process.terminate()
        said = await process.stderr.read()
        await process.communicate()
    assert told == list(range(1, len(told) + 1))
    assert b"Trying again" not in said


async def test_a_client_that_asks_too_often_whether_we_are_there_is_parted_from(amqp_uri: str) -> None:
    async def ending(every: int) -> str:
        """Watch, with a ping each *every* milliseconds, and return how that ended."""
        options = [
            ("grpc.keepalive_time_ms", every),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        async with grpc.aio.insecure_channel(running.target, options) as channel:
            stub: v1_grpc.BeersServiceAsyncStub = v1_grpc.BeersServiceStub(channel)
            watching: Any = stub.WatchBeers(v1.WatchBeersRequest())
            await watching.read()
            try:
                await watching.read()
            except grpc.aio.AioRpcError as error:
                return str(error.details())
            return "told of something"

    async with scripted_service(amqp_uri), running_bridge(amqp_uri) as running:
        patient = asyncio.ensure_future(ending(10_000))
        async with asyncio.timeout(PATIENCE):
            assert "ping" in (await ending(1000)).lower()
        assert not patient.done()
        patient.cancel()


async def happen(service: ScriptedService) -> None:
    """Let something happen every now and then."""
    while True:
        await service.happen()
        await asyncio.sleep(0.02)
