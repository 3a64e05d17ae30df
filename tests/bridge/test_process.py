"""The bridge as a process: how it starts, what it refuses to start with, how it ends."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import grpc
import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from beers_cli.rabbitmq import RabbitMQNode
from beers_runtime.configuration import ConfigurationError
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc
from grpc_bridge.server import CannotListen
from grpc_bridge.settings import Settings, settings
from tests.bridge.running_bridge import refusal, running_bridge
from tests.bridge.scripted_service import scripted_service

ROOT = Path(__file__).parents[2]
NOWHERE = "amqp://127.0.0.1:1/"
PATIENCE = 20.0
FULL = Path("/dev/full")


def environment(port: int, amqp_uri: str, **more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BEERS_")}
    given = {"PORT": str(port), "HOST": "127.0.0.1", "AMQP_URI": amqp_uri, "LOG_FORMAT": "json", "GRACE": "5"}
    return inherited | given | {"LOG_LEVEL": "INFO"} | more


@contextmanager
def process(
    port: int, amqp_uri: str, output: IO[bytes] | None = None, /, **more: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The bridge as a process that listens, or is about to, if its log goes to an *output*."""
    started = subprocess.Popen(
        [sys.executable, "-m", "grpc_bridge"],
        cwd=ROOT,
        env=environment(port, amqp_uri, **more),
        stdout=output or subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        while started.stdout is not None and orjson.loads(started.stdout.readline())["event"] != "listening":
            pass
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.communicate()


def refused_start(port: int, amqp_uri: str = NOWHERE, **more: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "grpc_bridge"],
        cwd=ROOT,
        env=environment(port, amqp_uri, **more),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system has no scheduling policies")
def test_no_thread_of_the_bridge_interrupts_another(port: int) -> None:
    with process(port, NOWHERE) as bridge:
        threads = [int(thread.name) for thread in Path(f"/proc/{bridge.pid}/task").iterdir()]
        assert len(threads) > 2
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_BATCH}


def test_a_port_that_is_taken_is_told_in_one_line(port: int) -> None:
    with process(port, NOWHERE):
        second = refused_start(port)
    assert second.returncode == 78
    (line,) = second.stderr.decode().splitlines()
    assert str(port) in line
    assert "taken" in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "beer"),
        ("PORT", "65536"),
        ("HEARTBEAT", "0"),
        ("AMQP_URI", "http://x"),
        ("AMQP_URI", "amqp://u:secret@h:x/"),
        ("AMQP_URI", "amqps://u:secret@h/?cafile=/nowhere"),
        ("AMQP_URI", f"amqps://u:secret@h/?cafile={__file__}"),
    ],
)
def test_a_malformed_value_stops_the_start_with_one_line_that_names_it(port: int, name: str, value: str) -> None:
    refused = refused_start(port, **{name: value}) if name != "AMQP_URI" else refused_start(port, value)
    assert refused.returncode == 78
    (line,) = refused.stderr.decode().splitlines()
    assert name in line
    assert "secret" not in line


def test_an_address_that_is_not_ours_stops_the_start_with_one_line(port: int) -> None:
    refused = refused_start(port, HOST="9.9.9.9", ALLOW_INSECURE="true")
    assert refused.returncode == 78
    (line,) = refused.stderr.decode().splitlines()
    assert "cannot listen" in line
    assert "9.9.9.9" in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_with_the_broker_away_it_ends_with_zero(port: int, number: signal.Signals) -> None:
    with process(port, NOWHERE) as bridge, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        live = health.Check(health_pb2.HealthCheckRequest(service="liveness"), timeout=PATIENCE)
        assert live.status == health_pb2.HealthCheckResponse.SERVING
        bridge.send_signal(number)
        assert bridge.wait(PATIENCE) == 0
        assert bridge.stderr is not None
        assert bridge.stderr.read() == b""
        assert bridge.stdout is not None
        assert orjson.loads(bridge.stdout.read().splitlines()[-1])["event"] == "stopped"


@pytest.mark.skipif(not FULL.exists(), reason="this system has no file that is always full")
def test_a_log_that_cannot_be_written_hinders_neither_calls_nor_the_end(port: int) -> None:
    with FULL.open("wb") as full, process(port, NOWHERE, full) as bridge:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            asked = health_pb2.HealthCheckRequest(service="liveness")
            live = health_pb2_grpc.HealthStub(channel).Check(asked, wait_for_ready=True, timeout=PATIENCE)
        assert live.status == health_pb2.HealthCheckResponse.SERVING
        bridge.send_signal(signal.SIGTERM)
        assert bridge.wait(PATIENCE) == 0
        assert bridge.stderr is not None
        assert bridge.stderr.read() == b"the log cannot be written: [Errno 28] No space left on device\n"


async def test_a_limit_of_connections_is_told_and_waited_for(fresh_amqp_uri: str, rabbitmq_node: RabbitMQNode) -> None:
    virtual_host = urlsplit(fresh_amqp_uri).path[1:]
    rabbitmq_node.control("set_vhost_limits", "--vhost", virtual_host, '{"max-connections": 0}')
    async with running_bridge(fresh_amqp_uri, wait=False) as running:
        line = await running.until_logged("the broker cannot be reached; trying on")
        assert "connection limit" in line["reason"]
        await asyncio.to_thread(rabbitmq_node.control, "clear_vhost_limits", "--vhost", virtual_host)
        await running.until_logged("connected to the broker")


async def test_told_to_stop_it_finishes_the_calls_in_progress(amqp_uri: str, port: int) -> None:
    async with scripted_service(amqp_uri) as service:
        with process(port, amqp_uri) as bridge:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                beers: v1_grpc.BeersServiceAsyncStub = v1_grpc.BeersServiceStub(channel)
                service.gate.clear()
                call = beers.GetBeer(v1.GetBeerRequest(beer_id=1), wait_for_ready=True, timeout=PATIENCE)
                await service.until(1)
                bridge.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.2)
                service.gate.set()
                assert (await call).beer.id == 1
                assert await asyncio.to_thread(bridge.wait, PATIENCE) == 0


async def test_told_twice_it_ends_at_once(amqp_uri: str, port: int) -> None:
    async with scripted_service(amqp_uri) as service:
        with process(port, amqp_uri, GRACE="60", DEFAULT_DEADLINE="60") as bridge:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                beers: v1_grpc.BeersServiceAsyncStub = v1_grpc.BeersServiceStub(channel)
                service.gate.clear()
                call = asyncio.ensure_future(refusal(beers.GetBeer(v1.GetBeerRequest(beer_id=1), wait_for_ready=True)))
                await service.until(1)
                bridge.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.2)
                assert bridge.poll() is None
                bridge.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(bridge.wait, 5) == 1
                await call


def test_the_bridge_loads_neither_eventlet_nor_nameko_nor_the_service() -> None:
    strangers = "{'eventlet', 'nameko', 'kombu', 'beers_service'}"
    code = f"import sys, grpc_bridge.__main__; print({strangers} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert found.stdout.strip() == b"set()"


async def test_a_part_that_ends_by_itself_ends_the_bridge_so_that_it_is_restarted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def failing(_self: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("grpc_bridge.probing.Prober.run", failing)
    async with running_bridge(NOWHERE, wait=False) as running:
        assert not await running.bridge.run(asyncio.Event())
        (line,) = [line for line in running.lines if line["log_level"] == "error"]
    assert line["part"] == "prober"


def test_what_a_configuration_leaves_out_has_a_default() -> None:
    given = {
        "AMQP_URI": "pyamqp://guest:guest@127.0.0.1:5672/",
        "HOST": "127.0.0.1",
        "PORT": 8000,
        "LOG_LEVEL": "INFO",
        "LOG_FORMAT": "auto",
        "DEFAULT_DEADLINE": 10,
        "GRACE": 10,
        "HEARTBEAT": 10,
    }
    assert settings(given) == Settings(amqp_uri="amqp://guest:guest@127.0.0.1:5672/")
    with pytest.raises(ConfigurationError, match="REUSE_PORT"):
        settings(given | {"REUSE_PORT": "yes please"})


async def test_two_bridges_share_a_port_only_if_they_are_told_to(port: int) -> None:
    async with (
        running_bridge(NOWHERE, wait=False, port=port, reuse_port=True) as first,
        running_bridge(NOWHERE, wait=False, port=port, reuse_port=True) as second,
    ):
        assert first.bridge.port == second.bridge.port == port
        with pytest.raises(CannotListen):
            async with running_bridge(NOWHERE, wait=False, port=port):
                pass
