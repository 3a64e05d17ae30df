"""HAProxy before bridges, with the configuration of the component proxy: what it lets through, what it says itself."""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from fuzz import http2
from grpc_bridge import errors, server
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc
from grpc_bridge.proto.pb import beers_pb2 as pb
from grpc_bridge.proto.pb import beers_pb2_grpc as pb_grpc
from grpc_bridge.tls import TlsFiles
from tests.bridge.running_bridge import NOT_SERVING, SERVING, RunningBridge, details, refusal, running_bridge, trailers
from tests.bridge.scripted_service import Refused, ScriptedService, beer, scripted_service
from tests.certificates import Authority
from tests.haproxy import CONFIGURATION, HAProxy

Code = grpc.StatusCode
GET = v1.GetBeerRequest(beer_id=1)
BINARY = "grpc-status-details-bin"
AGAIN = (("grpc-previous-rpc-attempts", "2"),)
REFUSED = 'haproxy_frontend_intercepted_requests_total{proxy="grpc"}'
POLICY = Path(server.__file__).with_name("service_config.json")
ADDRESSES = "127.0.0.1", "127.0.0.2"
PATIENCE = 20
LOOK_EVERY = 0.05
NOTICED = 4.0
"""Seconds in which HAProxy has noticed that a bridge does not serve any more."""

Proxied = tuple[ScriptedService, RunningBridge, HAProxy]


@asynccontextmanager
async def proxied(amqp_uri: str, folder: Path, **settings: str) -> AsyncIterator[Proxied]:
    """A service, a bridge, and HAProxy before it with these *settings*."""
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        with HAProxy({"BRIDGES": running.target, **settings}, folder / "haproxy.log") as proxy:
            yield service, running, proxy


@asynccontextmanager
async def through(
    proxy: HAProxy, credentials: grpc.ChannelCredentials | None = None, *, policy: bool = False
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the *proxy*, once it has found bridges; with our *policy* it tries again."""
    retries: tuple[str, Any] = ("grpc.service_config", POLICY.read_text()) if policy else ("grpc.enable_retries", 0)
    options = [retries, ("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        opened = grpc.aio.insecure_channel(proxy.address, options=options)
    else:
        opened = grpc.aio.secure_channel(proxy.address, credentials, options=options)
    async with opened as channel:
        await says(proxy, "/ready", "HTTP/1.1 200")
        yield channel


async def says(proxy: HAProxy, path: str, words: str) -> None:
    """Wait until the *proxy* answers with these *words* where Prometheus and others ask it."""
    async with asyncio.timeout(PATIENCE):
        while words not in await asked(proxy, path):  # noqa: ASYNC110 - it tells who asks
            await asyncio.sleep(LOOK_EVERY)


async def asked(proxy: HAProxy, path: str) -> str:
    """Return what it answers there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.metrics)
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer


async def waiting(proxy: HAProxy, calls: int) -> None:
    """Wait until so many calls wait in the *proxy*."""
    await says(proxy, "/metrics", f'haproxy_backend_current_queue{{proxy="calls"}} {calls}\n')


def beers(channel: grpc.aio.Channel) -> Any:
    return v1_grpc.BeersServiceStub(channel)


def gets(number: int, *channels: grpc.aio.Channel) -> list[asyncio.Future[Any]]:
    """Begin so many calls on each of *channels*."""
    return [asyncio.ensure_future(beers(channel).GetBeer(GET)) for channel in channels for _ in range(number)]


async def check(channel: grpc.aio.Channel) -> int:
    """Return what health answers."""
    health: Any = health_pb2_grpc.HealthStub(channel)
    return int((await health.Check(health_pb2.HealthCheckRequest(), timeout=5)).status)


# ── What goes through ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_a_bridge_says_comes_through_word_for_word(amqp_uri: str, tmp_path: Path) -> None:
    def get(beer_id: int) -> dict[str, Any]:
        if beer_id == 7:
            raise Refused("BeerNotFound", ["7"], "beer 7 not found")
        return beer(beer_id)

    async with proxied(amqp_uri, tmp_path) as (service, running, proxy), through(proxy) as channel:
        service.methods["get"] = get
        assert (await beers(channel).GetBeer(GET, timeout=5)).beer.id == 1
        seventh = v1.GetBeerRequest(beer_id=7)
        theirs, ours = [await refusal(stub.GetBeer(seventh, timeout=5)) for stub in (beers(channel), running.beers)]
        assert theirs.code() == ours.code() == Code.NOT_FOUND
        assert theirs.details() == ours.details()
        assert details(theirs) == details(ours)
        seed: Any = pb_grpc.BeersStub(channel)
        assert (await seed.Add(pb.BeerAddRequest(name="b"), timeout=5)).status == pb.OK
        question = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub
        (answer,) = [it async for it in reflection(channel).ServerReflectionInfo(question)]
        assert {"beers.v1.BeersService", "pb.Beers"} <= {it.name for it in answer.list_services_response.service}


async def test_a_watch_tells_of_each_event_when_it_happens(amqp_uri: str, tmp_path: Path) -> None:
    async with proxied(amqp_uri, tmp_path) as (service, _, proxy), through(proxy) as channel:
        watch = beers(channel).WatchBeers(v1.WatchBeersRequest())
        await watch.initial_metadata()
        for position in (1, 2):
            await service.happen()
            async with asyncio.timeout(PATIENCE):
                while [it.position for it in (await watch.read()).events.events] != [position]:
                    pass
        watch.cancel()


@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_goes_in_and_comes_out(amqp_uri: str, tmp_path: Path, *, trusted: bool) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    certificate, _key = authority.issue("proxy")
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes())
    tls = TlsFiles(*authority.issue("bridge"))
    async with scripted_service(amqp_uri), running_bridge(amqp_uri, tls=tls) as running:
        settings = {
            "LISTEN_TLS": str(certificate),
            "BRIDGES": running.target,
            "BRIDGES_TLS": str((authority if trusted else stranger).file),
            "BRIDGES_NAME": "bridge",
        }
        with HAProxy(settings, tmp_path / "haproxy.log") as proxy:
            if trusted:
                async with through(proxy, credentials) as channel:
                    assert (await beers(channel).GetBeer(GET, timeout=5)).beer.id == 1
            else:
                await says(proxy, "/ready", "HTTP/1.1 503")
                async with grpc.aio.secure_channel(proxy.address, credentials) as channel:
                    error = await refusal(beers(channel).GetBeer(GET, timeout=5))
                    assert error.code() == Code.UNAVAILABLE


# ── What is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_crowd_is_refused_in_the_words_of_a_bridge(amqp_uri: str, tmp_path: Path) -> None:
    async with (
        proxied(amqp_uri, tmp_path, CALLS="5") as (service, _, proxy),
        through(proxy) as one,
        through(proxy) as other,
        through(proxy) as third,
    ):
        service.gate.clear()
        calls = gets(90, one, other)
        async with asyncio.timeout(PATIENCE):
            refused = [await refusal(call) for call in await ended(calls, 111)]
        await service.until(5)
        assert await check(third) == SERVING
        assert len(service.calls) == 5, "no more have reached the bridge"
        ready_made = errors.refusal(errors.overloaded("too much to do"))
        assert ready_made is not None
        for error in refused:
            assert (error.code(), error.details()) == (ready_made.code, ready_made.message)
            assert details(error)["ErrorInfo"].reason == "OVERLOADED"
            assert trailers(error)[BINARY] == dict(ready_made.trailers)[BINARY]
        pushbacks = {int(trailers(error)["grpc-retry-pushback-ms"]) for error in refused}
        assert len(pushbacks) > 5
        assert 250 <= min(pushbacks) <= max(pushbacks) < 350
        await says(proxy, "/metrics", f"{REFUSED} {len(refused)}\n")
        service.gate.set()
        await asyncio.gather(*calls, return_exceptions=True)
        assert sum(call.exception() is None for call in calls) == 5 + 64
        assert len(await asyncio.gather(*gets(60, third))) == 60


async def ended(calls: list[asyncio.Future[Any]], count: int) -> list[asyncio.Future[Any]]:
    """Wait until so many of *calls* have ended; return those."""
    while sum(call.done() for call in calls) < count:
        await asyncio.wait([call for call in calls if not call.done()], return_when=asyncio.FIRST_COMPLETED)
    return [call for call in calls if call.done()]


async def test_who_has_gone_does_not_wait_any_more(amqp_uri: str, tmp_path: Path) -> None:
    async with (
        proxied(amqp_uri, tmp_path, CALLS="5") as (service, _, proxy),
        through(proxy) as one,
        through(proxy) as other,
    ):
        service.gate.clear()
        calls = gets(5, one)
        await service.until(5)
        gone, calls = gets(30, one), calls + gets(10, other)
        await waiting(proxy, 40)
        for call in gone:
            call.cancel()
        await waiting(proxy, 10)
        service.gate.set()
        assert len(await asyncio.gather(*calls)) == len(service.calls) == 15


async def test_watchers_are_no_crowd(amqp_uri: str, tmp_path: Path) -> None:
    async with proxied(amqp_uri, tmp_path, CALLS="1") as (_, _, proxy), through(proxy) as channel:
        watches = [beers(channel).WatchBeers(v1.WatchBeersRequest()) for _ in range(10)]
        for watch in watches:
            await watch.initial_metadata()
        assert (await beers(channel).GetBeer(GET, timeout=5)).beer.id == 1
        for watch in watches:
            watch.cancel()


PATHS = [
    b"/beers.v1.BeersService/\xff",
    b"/beers.v1.BeersService/GetBeer?\xff",
    b"/beers.v1.BeersService/GetBeer?a=1",
    b"/\xff\xfe",
    b"/",
    b"",
    b"/other.Service/Call",
    b"no/path",
]


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_no_call_of_ours_does_not_reach_a_bridge(amqp_uri: str, tmp_path: Path, path: bytes) -> None:
    headers = http2.call_headers(path)
    call = http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 1, http2.header_block(headers))
    reset = re.escape(http2.frame(http2.RESET, 0, 1, bytes(4))[:9])
    async with proxied(amqp_uri, tmp_path) as (_, running, proxy), through(proxy) as channel:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0, b"") + call)
        answer = b""
        async with asyncio.timeout(PATIENCE):
            while not re.search(rb"grpc-status\x0212|" + reset, answer, re.DOTALL):
                piece = await reader.read(65536)
                assert piece, "the connection ended without an answer"
                answer += piece
        writer.close()
        assert (await beers(channel).GetBeer(GET, timeout=5)).beer.id == 1
        assert f"{REFUSED} 0\n" in await asked(proxy, "/metrics"), "only too much to do counts as such"
        assert [line for line in running.lines if line["event"].startswith("the gRPC server ended")] == []


METADATA = [[("a", "b" * 10)] * 150, [("a", "b" * 12_000)], [("a", "b" * 15_500)], [("a", "b" * 20_000)]]


@pytest.mark.parametrize("metadata", METADATA, ids=lambda them: f"{len(them)} of {len(them[0][1])}")
async def test_a_bridge_says_itself_that_metadata_is_too_much(
    amqp_uri: str, tmp_path: Path, metadata: list[tuple[str, str]]
) -> None:
    async with proxied(amqp_uri, tmp_path) as (_, running, proxy), through(proxy) as channel:
        codes = []
        for stub in (running.beers, beers(channel)):
            call = stub.GetBeer(GET, timeout=5, metadata=metadata)
            codes.append(await call.code())
        assert codes[0] == codes[1]
        assert codes[0] == (Code.RESOURCE_EXHAUSTED if len(metadata[0][1]) > 16_384 else Code.OK)


async def test_who_only_connects_keeps_nobody_out(amqp_uri: str, tmp_path: Path) -> None:
    async with proxied(amqp_uri, tmp_path, CONNECTIONS="10") as (_, _, proxy), through(proxy) as channel:
        assert (await beers(channel).GetBeer(GET, timeout=5)).beer.id == 1
        opened = [it for it in await asyncio.gather(*(dialled(proxy) for _ in range(30))) if it is not None]
        ends: list[asyncio.Future[Any]] = [asyncio.ensure_future(reader.read()) for reader, _ in opened]
        async with asyncio.timeout(PATIENCE):
            await ended(ends, len(opened) - 9)
        assert (await beers(channel).GetBeer(GET, timeout=5)).beer.id == 1
        assert (await asked(proxy, "/live")).startswith("HTTP/1.1 200")
        assert sum(not end.done() for end in ends) == 9, "with the channel's own, ten"
        for _, writer in opened:
            writer.close()
        await asyncio.gather(*ends, return_exceptions=True)


async def dialled(proxy: HAProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    """Return a connection to the *proxy*, unless it refuses one."""
    try:
        return await asyncio.open_connection("127.0.0.1", proxy.port)
    except OSError:
        return None


@pytest.mark.parametrize("required", [True, False])
async def test_where_ids_are_required_a_command_without_one_may_be_a_repetition_and_is_not_carried_out(
    amqp_uri: str, tmp_path: Path, *, required: bool
) -> None:
    settings = {"REQUEST_IDS": "required"} if required else {}
    async with proxied(amqp_uri, tmp_path, **settings) as (service, _, proxy), through(proxy) as channel:
        await beers(channel).AddBeer(v1.AddBeerRequest(name="b", request_id="r"), timeout=5)
        await beers(channel).GetBeer(GET, timeout=5)
        without_id = beers(channel).AddBeer(v1.AddBeerRequest(name="b"), timeout=5)
        if required:
            error = await refusal(without_id)
            assert (error.code(), details(error)["ErrorInfo"].reason) == (Code.UNAVAILABLE, "REQUEST_ID_MISSING")
            assert trailers(error)["grpc-retry-pushback-ms"] == "-1"
            await beers(channel).AddBeer(v1.AddBeerRequest(name="b", request_id="s"), timeout=5, metadata=AGAIN)
        else:
            await without_id
        assert [call["method"] for call in service.calls] == ["add", "get", "add"]


# ── Which bridges are called ─────────────────────────────────────────────────────────────────────────────────────────


async def test_bridges_are_asked_whether_they_serve_as_grpc_has_it() -> None:
    (sent,) = re.findall(r"tcp-check send-binary (\w+)", CONFIGURATION.read_text())
    (expected,) = re.findall(r"tcp-check expect binary (\w+)", CONFIGURATION.read_text())
    rest = bytes.fromhex(sent).removeprefix(http2.PREFACE)
    frames: list[tuple[int, bytes]] = []
    while rest:
        end = 9 + int.from_bytes(rest[:3], "big")
        frames.append((rest[3], rest[9:end]))
        rest = rest[end:]
    (_, headers, (_, message)) = frames
    assert [kind for kind, _ in frames] == [http2.SETTINGS, http2.HEADERS, http2.DATA]
    assert b"/grpc.health.v1.Health/Check" in headers[1]
    assert struct.unpack(">?I", message[:5]) == (False, len(message) - 5)
    assert health_pb2.HealthCheckRequest.FromString(message[5:]).service == "beers.v1.BeersService"
    assert health_pb2.HealthCheckResponse.FromString(bytes.fromhex(expected)[5:]).status == SERVING


async def test_calls_go_to_bridges_that_serve_and_if_there_is_none_they_are_told_why(
    amqp_uri: str, tmp_path: Path
) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri, host=ADDRESSES[0], drain_delay=NOTICED) as first,
        running_bridge(amqp_uri, host=ADDRESSES[1], port=first.bridge.port) as second,
    ):
        with names(*ADDRESSES) as resolver:
            settings = {"BRIDGES": f"bridges.test:{first.bridge.port}", "BRIDGES_AT_MOST": "4", "RESOLVER": resolver}
            with HAProxy(settings, tmp_path / "haproxy.log") as proxy:
                async with through(proxy) as channel, through(proxy, policy=True) as patient:
                    async with asyncio.timeout(PATIENCE):
                        while not (first.calls_logged() and second.calls_logged()):
                            await beers(channel).GetBeer(GET, timeout=5)
                    stopping = asyncio.ensure_future(first.bridge.stop())
                    while not stopping.done():
                        await asyncio.gather(*(beers(patient).GetBeer(GET, timeout=15) for _ in range(10)))
                    await stopping
                    for _ in range(20):
                        assert (await beers(channel).GetBeer(GET, timeout=5)).beer.id == 1
                    await service.stop()
                    await says(proxy, "/ready", "HTTP/1.1 503")
                    error = await refusal(beers(channel).GetBeer(GET, timeout=5))
                    assert error.code() == Code.UNAVAILABLE
                    assert details(error)["ErrorInfo"].domain == "beers", "that is a bridge's"
                    assert await check(channel) == NOT_SERVING
                    await second.bridge.stop()
                    error = await refusal(beers(channel).GetBeer(GET, timeout=5))
                    assert (error.code(), error.details()) == (
                        Code.UNAVAILABLE,
                        "no bridge can be reached in time; try again",
                    )


@contextmanager
def names(*addresses: str) -> Iterator[str]:
    """Where a server of names listens that knows these *addresses*, whatever the name."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))

        def answer() -> None:
            query, client = listening.recvfrom(512)
            end = query.index(b"\0", 12) + 5
            (kind,) = struct.unpack(">H", query[end - 4 : end - 2])
            record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4)
            found = [record + socket.inet_aton(address) for address in addresses if kind == 1]
            header = query[:2] + struct.pack(">5H", 0x8180, 1, len(found), 0, 0)
            listening.sendto(header + query[12:end] + b"".join(found), client)

        loop.add_reader(listening, answer)
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            loop.remove_reader(listening)
