"""What each number of the bridge means."""

import asyncio
import contextlib
import socket
import urllib.request
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from beers_cli import processes
from beers_runtime.configuration import Address
from grpc_bridge.availability import Absence
from grpc_bridge.metrics import PARTS, REASONS, BridgeMetrics, Measures
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.pb import beers_pb2 as pb
from tests.bridge.running_bridge import refusal, running_bridge
from tests.bridge.scripted_service import Refused, beer, scripted_service
from tests.bridge.test_process import NOWHERE, refused_start

GET = v1.GetBeerRequest(beer_id=1)


@pytest.fixture
def address() -> Address:
    return Address("127.0.0.1", processes.free_port())


async def scraped(address: Address) -> dict[tuple[str, ...], float]:
    """Return the values by the name of the sample and the values of its labels."""

    def read() -> str:
        with urllib.request.urlopen(f"http://{address.host}:{address.port}/metrics", timeout=5) as response:
            return str(response.read().decode())

    families = text_string_to_metric_families(await asyncio.to_thread(read))
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


async def until(address: Address, value: float, *sample: str) -> None:
    async with asyncio.timeout(10):
        while (await scraped(address)).get(sample) != value:  # noqa: ASYNC110 - a scrape does not tell of the next
            await asyncio.sleep(0.02)


def ended(told: dict[tuple[str, ...], float], kind: str = "call") -> dict[tuple[str, ...], float]:
    """Return how many calls have ended, by method and code; labels come in the order of their names."""
    name = f"beers_bridge_{kind}_duration_seconds_count"
    return {(key[2], key[1]): value for key, value in told.items() if key[0] == name}


async def test_calls_count_by_method_and_code(amqp_uri: str, address: Address) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, metrics=address) as running:

        def get(beer_id: int, **_: Any) -> dict[str, Any]:
            if beer_id != 1:
                raise Refused("BeerNotFound", [str(beer_id)])
            return beer()

        service.methods["get"] = get
        service.methods["add"] = lambda **_: beer()
        await running.beers.GetBeer(GET)
        await running.beers.GetBeer(GET)
        await refusal(running.beers.GetBeer(v1.GetBeerRequest(beer_id=7)))
        await running.seed.Add(pb.BeerAddRequest(name="Jever"))
        assert (await running.seed.Add(pb.BeerAddRequest(name=" "))).status == pb.BAD
        told = await scraped(address)
        assert ended(told) == {
            ("GetBeer", "OK"): 2,
            ("GetBeer", "NOT_FOUND"): 1,
            ("pb.Add", "OK"): 1,
            ("pb.Add", "INVALID_ARGUMENT"): 1,
        }
        assert told[("beers_bridge_batch_calls_sum",)] == told[("beers_bridge_batch_duration_seconds_count",)] == 4
        assert told[("beers_bridge_calls_in_progress",)] == 0


async def test_what_is_in_hand_waits_or_is_refused_is_told(amqp_uri: str, address: Address) -> None:
    limits: dict[str, Any] = {"max_calls": 3, "metrics": address, "batches_in_flight": 1}
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, **limits) as running:
        service.gate.clear()
        calls = [asyncio.ensure_future(running.beers.GetBeer(GET)) for _ in range(3)]
        await until(address, 3, "beers_bridge_calls_in_progress")
        await refusal(running.beers.GetBeer(GET))
        told = await scraped(address)
        assert told[("beers_bridge_calls_refused_total", "unread")] == 1
        assert told[("beers_bridge_limit", "calls")] == 3
        assert told[("beers_bridge_batches_in_flight",)] >= 1
        service.gate.set()
        await asyncio.gather(*calls)


async def test_watchers_count_and_their_events_and_one_too_many_is_refused(amqp_uri: str, address: Address) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri, metrics=address, max_watches=1) as running,
    ):
        for _ in range(3):
            await service.tell(service.log.append())
        watch: Any = running.beers.WatchBeers(v1.WatchBeersRequest(from_beginning=True))
        seen = 0
        while seen < 3:
            seen += len((await watch.read()).events.events)
        await until(address, 3, "beers_log_head_position")
        told = await scraped(address)
        assert told[("beers_bridge_watchers",)] == 1
        assert told[("beers_bridge_watch_events_total",)] == 3
        await refusal(running.beers.WatchBeers(v1.WatchBeersRequest(from_now=True)).read())
        watch.cancel()
        await until(address, 0, "beers_bridge_watchers")
        told = await scraped(address)
        assert told[("beers_bridge_calls_refused_total", "watches")] == 1
        assert ended(told, "stream") == {("WatchBeers", "CANCELLED"): 1, ("WatchBeers", "RESOURCE_EXHAUSTED"): 1}
        assert not ended(told)


async def test_what_is_missing_is_told_and_the_breaker_and_whom_it_refused(amqp_uri: str, address: Address) -> None:
    async with running_bridge(amqp_uri, metrics=address, wait=False) as running:
        await running.until(Absence.SERVICE, refusing=True)
        await refusal(running.beers.GetBeer(GET))
        told = await scraped(address)
        missing = {key[1]: value for key, value in told.items() if key[0] == "beers_bridge_missing"}
        assert missing == {"broker": 0, "service": 1, "answers": 0, "store": 0}
        assert told[("beers_bridge_breaker_open",)] == 1
        assert told[("beers_bridge_calls_refused_total", "breaker")] == 1
        assert told[("beers_broker_up", "calls")] == 1
        assert told[("beers_broker_reconnects_total", "calls")] == 0


def collected(positions: list[int], absence: Absence | None = None) -> dict[tuple[str, ...], float]:
    """Return what a bridge tells that holds events 31 to 50; each number of its parts is another one."""
    batcher = SimpleNamespace(waiting=2, refused=3, in_flight=4)
    bus = SimpleNamespace(batcher=batcher, refused=5, connected=asyncio.Event(), connections=7)
    pongs: list[Any] = []
    bus.on_pong = pongs.append
    parts: dict[str, Any] = {
        "reception": SimpleNamespace(refused={"client_rate": 8}, active=9, watches=10),
        "bus": bus,
        "feed": SimpleNamespace(start=30, end=50, lag=11),
        "watches": SimpleNamespace(positions=dict(enumerate(positions)), told=12),
        "availability": SimpleNamespace(absence=absence, refusing=absence is not None),
        "health": SimpleNamespace(serving=absence is None),
    }
    settings: Any = SimpleNamespace(max_calls=13, max_waiting=14, max_watches=15)
    metrics = BridgeMetrics(Measures(), settings, **parts)
    (on_pong,) = pongs
    on_pong({"head": 61}, 0.0)
    if absence is None:
        bus.connected.set()
    return {(each.name, *each.labels.values()): each.value for family in metrics.collect() for each in family.samples}


def test_a_bridge_tells_what_its_parts_know() -> None:
    told = collected([])
    assert told[("beers_bridge_calls_waiting",)] == 2
    assert told[("beers_bridge_batches_in_flight",)] == 4
    assert told[("beers_bridge_calls_in_progress",)] == 9
    refused = {key[1]: value for key, value in told.items() if key[0] == "beers_bridge_calls_refused_total"}
    assert refused == dict.fromkeys(REASONS, 0) | {"waiting": 3, "breaker": 5, "client_rate": 8}
    limits = {key[1]: value for key, value in told.items() if key[0] == "beers_bridge_limit"}
    assert limits == {"calls": 13, "waiting": 14, "watches": 15}
    assert told[("beers_broker_up", "calls")] == told[("beers_bridge_serving",)] == 1
    assert told[("beers_broker_reconnects_total", "calls")] == 6
    assert told[("beers_bridge_watchers",)] == 10
    assert told[("beers_bridge_feed_lag_events",)] == 11
    assert told[("beers_bridge_watch_events_total",)] == 12
    assert told[("beers_log_head_position",)] == 61
    assert told[("beers_bridge_breaker_open",)] == 0
    assert not [key for key, value in told.items() if key[0] == "beers_bridge_missing" and value]


@pytest.mark.parametrize(
    ("positions", "lag", "catching_up"), [([], 0, 0), ([50, 50], 0, 0), ([50, 30, 42], 20, 0), ([29, 7, 30, 50], 43, 2)]
)
def test_the_lag_of_watchers_is_that_of_the_last_one(positions: list[int], lag: int, catching_up: int) -> None:
    told = collected(positions)
    assert told[("beers_bridge_watch_lag_events",)] == lag
    assert told[("beers_bridge_watchers_catching_up",)] == catching_up


@pytest.mark.parametrize("absence", Absence)
def test_a_bridge_that_misses_something_says_what_and_does_not_serve(absence: Absence) -> None:
    told = collected([], absence)
    assert [key[1] for key, value in told.items() if key[0] == "beers_bridge_missing" and value] == [PARTS[absence]]
    assert told[("beers_broker_up", "calls")] == told[("beers_bridge_serving",)] == 0
    assert told[("beers_bridge_breaker_open",)] == 1


async def test_without_a_port_nothing_is_measured() -> None:
    async with running_bridge(NOWHERE, wait=False) as running:
        assert running.bridge._reception._journal._measure is None
        assert running.bridge._bus._measure is None


def test_a_port_that_is_taken_stops_the_start_with_one_line_that_names_it(port: int, address: Address) -> None:
    with contextlib.closing(socket.create_server(address)):
        refused = refused_start(port, METRICS_PORT=str(address.port))
    assert refused.returncode == 78
    (line,) = refused.stderr.decode().splitlines()
    assert line.startswith(f"beers bridge: METRICS_PORT={address.port}: cannot listen on that port of 127.0.0.1: ")
