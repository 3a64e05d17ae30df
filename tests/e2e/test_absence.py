"""The service goes away and comes back while the bridge stays: health tells the truth, and no call hangs."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from beers_cli import processes
from beers_cli.health import SERVICE, wait_until_serving
from grpc_bridge.proto.beers.v1 import beers_pb2, beers_pb2_grpc
from tests.e2e.running import ROOT, Running, until

DEADLINE = 3.0
SERVING = health_pb2.HealthCheckResponse.SERVING


class Parts:
    """The service and the bridge without a supervisor."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.folder = folder
        self.port = processes.free_port()
        self.environment = os.environ | {
            "AMQP_URI": broker,
            "DATABASE_URL": f"sqlite:///{folder / 'beers.db'}",
            "PORT": str(self.port),
            "PYTHONPATH": str(ROOT),
            "BEERS_CONFIG": str(ROOT / "config.yaml"),
        }
        self.running: list[Running] = []

    def start(self, module: str) -> Running:
        self.running.append(Running([sys.executable, "-m", module], self.environment, self.folder))
        return self.running[-1]


@pytest.fixture
def parts(tmp_path: Path, fresh_amqp_uri: str) -> Iterator[Parts]:
    parts = Parts(tmp_path, fresh_amqp_uri)
    yield parts
    for running in parts.running:
        running.stop()


@pytest.fixture
def channel(parts: Parts) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{parts.port}") as channel:
        yield channel


def status_changes(channel: grpc.Channel) -> Iterator[tuple[bool, float]]:
    request = health_pb2.HealthCheckRequest(service=SERVICE)
    for change in health_pb2_grpc.HealthStub(channel).Watch(request, timeout=60):
        yield change.status == SERVING, time.monotonic()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_health_follows_the_service_within_five_seconds_and_calls_fail_in_time(
    parts: Parts, channel: grpc.Channel, number: signal.Signals
) -> None:
    bridge = parts.start("grpc_bridge")
    service = parts.start("beers_service")
    assert wait_until_serving(channel, 30), bridge.lines
    stub = beers_pb2_grpc.BeersServiceStub(channel)
    beer = stub.AddBeer(beers_pb2.AddBeerRequest(name="Jever"), timeout=10).beer
    changes = status_changes(channel)
    assert next(changes)[0]
    stopped = time.monotonic()
    service.stop(number)
    serving, when = next(changes)
    assert not serving
    assert when - stopped < 5
    assert bridge.process.poll() is None
    calls: list[Callable[[], object]] = [
        lambda: stub.GetBeer(beers_pb2.GetBeerRequest(beer_id=beer.id), timeout=DEADLINE),
        lambda: stub.AddBeer(beers_pb2.AddBeerRequest(name="Late"), timeout=DEADLINE),
    ]
    for call in calls:
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as failure:
            call()
        assert time.monotonic() - began < DEADLINE + 1
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
        assert isinstance(failure.value, grpc.Call)
        status = rpc_status.from_call(failure.value)
        assert status is not None
        assert any(detail.Is(RetryInfo.DESCRIPTOR) for detail in status.details)
    # A service that is back before the deadline may still do what waits for it; after that it may not.
    until(lambda: time.monotonic() > began + DEADLINE, "the deadline of the last call")
    started = time.monotonic()
    parts.start("beers_service")
    serving, when = next(changes)
    assert serving
    assert when - started < 5
    assert stub.GetBeer(beers_pb2.GetBeerRequest(beer_id=beer.id), timeout=10).beer.name == "Jever"
    names = [found.name for found in stub.ListBeers(beers_pb2.ListBeersRequest(), timeout=10).beers]
    assert names == ["Jever"]
