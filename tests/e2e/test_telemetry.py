"""What Prometheus reads from the processes, and that docs/telemetry.md tells of all of it."""

import os
import re
import signal
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from beers_cli import processes
from beers_cli.health import wait_until_serving
from beers_cli.rabbitmq import RabbitMQNode
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc
from tests.e2e.running import ROOT, Running, until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


class Scraped:
    """One scrape of a process."""

    def __init__(self, port: int, accept: str = "") -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 - http and our own
            self.text = response.read().decode()
        parse = openmetrics if accept else plain
        self.families: dict[str, Metric] = {family.name: family for family in parse(self.text)}

    def value(self, sample: str, **labels: str) -> float | None:
        """Return the value of the one *sample* with these labels; None if there is none."""
        found = [
            each.value
            for family in self.families.values()
            for each in family.samples
            if each.name == sample and labels.items() <= each.labels.items()
        ]
        assert len(found) < 2, (sample, labels)
        return found[0] if found else None

    @property
    def names(self) -> set[str]:
        """The names of the metrics as the documentation has them: counters and infos with what they end in."""
        ends = {"counter": "_total", "info": "_info"}
        names = {
            name if name.endswith(ends.get(family.type, "")) else f"{name}{ends[family.type]}"
            for name, family in self.families.items()
        }
        return {name for name in names if name.startswith(("beers_", "process_"))}


def documented(process: str) -> set[str]:
    """Return the metrics that docs/telemetry.md says *process* has."""
    names = set()
    for line in (ROOT / "docs/telemetry.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 8 and cells[1].startswith("`") and (process in cells[5] or cells[5] == "all"):
            names.update(re.findall(r"`([a-z_]+)`", cells[1]))
    assert names, "the table is gone"
    return names


class Parts:
    """The service, a subscriber and the bridge, each with its metrics."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.port, self.service, self.bridge, self.taps = (processes.free_port() for _ in range(4))
        self.environment = os.environ | {
            "AMQP_URI": broker,
            "HEARTBEAT": "1",
            "BROKER_PATIENCE": "1",
            "DATABASE_URL": f"sqlite:///{folder / 'beers.db'}",
            "TAPLIST_DATABASE_URL": f"sqlite:///{folder / 'taps.db'}",
            "PORT": str(self.port),
            "PYTHONPATH": str(ROOT),
            "BEERS_CONFIG": str(ROOT / "config.yaml"),
        }
        self.folder = folder
        self.running: list[Running] = []

    def start(self, metrics_port: int, *arguments: str) -> None:
        environment = self.environment | {"METRICS_PORT": str(metrics_port)}
        self.running.append(Running([sys.executable, "-m", *arguments], environment, self.folder))


@pytest.fixture
def parts(tmp_path: Path, fresh_amqp_uri: str) -> Iterator[Parts]:
    parts = Parts(tmp_path, fresh_amqp_uri)
    parts.start(parts.service, "beers_service")
    parts.start(parts.taps, "beers_service", "--service", "examples.taplist:TapList")
    parts.start(parts.bridge, "grpc_bridge")
    yield parts
    assert [running.stop(patience=20) for running in parts.running] == [0, 0, 0]


def test_the_metrics_are_those_that_are_documented_mean_what_happened_and_answer_while_the_broker_is_away(
    parts: Parts, rabbitmq_node: RabbitMQNode
) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{parts.port}") as channel:
        wait_until_serving(channel, 30)
        beers = beers_pb2_grpc.BeersServiceStub(channel)
        traced = (("traceparent", TRACEPARENT),)
        for name in ("Orval", "Duvel", "Jever"):
            beers.AddBeer(v1.AddBeerRequest(name=name), metadata=traced)
        beers.RemoveBeer(v1.RemoveBeerRequest(beer_id=2))
        with pytest.raises(grpc.RpcError):
            beers.GetBeer(v1.GetBeerRequest(beer_id=77))
        watch = beers.WatchBeers(v1.WatchBeersRequest(from_beginning=True))
        seen = 0
        while seen < 4:
            seen += len(next(watch).events.events)

        until(lambda: Scraped(parts.bridge).value("beers_bridge_watch_lag_events") == 0, "the watcher was told all")
        _the_bridge_told(parts.bridge)
        until(lambda: Scraped(parts.service).value("beers_relay_lag_events") == 0, "the relay has told all")
        _the_service_told(parts.service)
        until(lambda: Scraped(parts.taps).value("beers_subscriber_mark") == 4, "the subscriber has done all")
        _the_subscriber_told(parts.taps)
        watch.cancel()

        rabbitmq_node.process.send_signal(signal.SIGSTOP)
        try:
            until(lambda: Scraped(parts.bridge).value("beers_broker_up") == 0, "the bridge notices")
            until(lambda: Scraped(parts.service).value("beers_broker_up", connection="calls") == 0, "the service too")
            away = Scraped(parts.bridge)
            assert away.value("beers_bridge_missing", part="broker") == 1
            assert away.value("beers_bridge_serving") == 0
            until(lambda: Scraped(parts.bridge).value("beers_bridge_breaker_open") == 1, "the breaker opens")
            with pytest.raises(grpc.RpcError):
                beers.GetBeer(v1.GetBeerRequest(beer_id=1))
            assert Scraped(parts.bridge).value("beers_bridge_calls_refused_total", reason="breaker") == 1
            assert Scraped(parts.service).value("beers_store_up") == 1
        finally:
            rabbitmq_node.process.send_signal(signal.SIGCONT)
        wait_until_serving(channel, 30)
    back = Scraped(parts.bridge)
    assert back.value("beers_broker_reconnects_total") == 1
    assert back.value("beers_bridge_breaker_open") == 0


def _the_bridge_told(port: int) -> None:
    bridge = Scraped(port, ACCEPT)
    assert bridge.names == documented("bridge")
    calls = "beers_bridge_call_duration_seconds_count"
    assert bridge.value(calls, method="AddBeer", code="OK") == 3
    assert bridge.value(calls, method="RemoveBeer", code="OK") == 1
    assert bridge.value(calls, method="GetBeer", code="NOT_FOUND") == 1
    assert bridge.value(calls, method="GetBeer", code="OK") is None
    assert f'trace_id="{TRACE}"' in bridge.text
    assert bridge.value("beers_bridge_watchers") == 1
    assert bridge.value("beers_bridge_watch_events_total") == 4
    assert bridge.value("beers_bridge_serving") == 1
    assert bridge.value("beers_bridge_limit", of="calls") == 2000
    assert (bridge.value("beers_bridge_batch_calls_sum") or 0) >= 5
    assert bridge.value("beers_build_info", component="bridge") == 1


def _the_service_told(port: int) -> None:
    service = Scraped(port, ACCEPT)
    assert service.names == documented("service")
    calls = "beers_service_call_duration_seconds_count"
    assert service.value(calls, method="add", outcome="ok") == 3
    assert service.value(calls, method="get", outcome="BeerNotFound") == 1
    assert f'trace_id="{TRACE}"' in service.text
    assert service.value("beers_service_events_appended_total", type="BeerAdded") == 3
    assert service.value("beers_service_events_appended_total", type="BeerRemoved") == 1
    assert service.value("beers_service_commit_commands_sum") == 4
    assert (service.value("beers_service_queue_wait_seconds_count") or 0) >= 5
    assert service.value("beers_log_head_position") == service.value("beers_relay_position") == 4
    assert service.value("beers_relay_events_published_total") == 4
    assert service.value("beers_relay_leader") == service.value("beers_store_up") == 1
    assert service.value("beers_broker_up", connection="relay") == 1


def _the_subscriber_told(port: int) -> None:
    taps = Scraped(port, ACCEPT)
    assert taps.names == documented("subscriber")
    assert taps.value("beers_subscriber_events_total", outcome="failed") == 0
    assert (taps.value("beers_subscriber_events_total", outcome="done") or 0) >= 1
    assert taps.value("beers_subscriber_head") == 4
    assert taps.value("beers_subscriber_broker_up") == 1
