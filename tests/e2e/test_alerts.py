"""A real Prometheus on running processes: that it takes the alerts, and that every query finds what it asks for."""

import json
import os
import shutil
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
import yaml

from beers_cli import processes
from beers_cli.packages import NotInstallable, install
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc
from tests.e2e.running import ROOT, Product, Running, until
from tests.haproxy import HAProxy
from tests.promql import Metrics, expressions_of_alerts, expressions_of_dashboards

QUIET = {"users.json: Alerts", "users.json: What is missing"}
"""The panels that show nothing while all is well."""


def ports_in_a_row(count: int) -> int:
    """Return the first of so many free ports."""
    while True:
        first = processes.free_port()
        if all(processes.is_free(first + further) for further in range(1, count)):
            return first


@pytest.fixture(scope="module")
def program(say: Callable[[str], None]) -> str:
    """The program prometheus; skips the test where there is none and none can be installed."""
    if shutil.which("prometheus") is None:
        try:
            install("prometheus", say)
        except NotInstallable as reason:
            pytest.skip(f"needs the package prometheus: {reason}")
    found = shutil.which("prometheus")
    assert found is not None
    return found


class Prometheus:
    """One that reads the metrics of *targets*, HOST:PORT by job, and goes by our alerts."""

    def __init__(self, program: str, folder: Path, targets: dict[str, str]) -> None:
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(ROOT / "telemetry/alerts.yaml")],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{processes.free_port()}"
        self._url = f"http://{address}/api/v1/"
        options = [f"--storage.tsdb.path={folder / 'series'}", f"--web.listen-address={address}"]
        self._running = Running([program, "--config.file=prometheus.yaml", *options], dict(os.environ), folder)
        self._running.wait_for("Server is ready")

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of its answer."""
        with urllib.request.urlopen(f"{self._url}{path}?{urllib.parse.urlencode(parameters)}", timeout=5) as response:  # noqa: S310 - http and our own
            answer = json.load(response)
        assert answer["status"] == "success"
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what *expression* yields; raises HTTPError if it is none."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._running.stop()


@pytest.fixture
def product(tmp_path: Path, fresh_amqp_uri: str) -> Iterator[Product]:
    product = Product(tmp_path, AMQP_URI=fresh_amqp_uri, METRICS_PORT=str(ports_in_a_row(3)))
    product.start("--with", "examples.taplist:TapList")
    yield product
    assert product.stop() == 0


def test_every_query_of_alerts_and_dashboards_finds_what_it_asks_for_and_beers_top_all_processes(
    product: Product, program: str, tmp_path: Path
) -> None:
    _calls(product)
    first = int(product.environment["METRICS_PORT"])
    jobs = ("beers-service", "beers-bridge", "beers-subscriber")
    targets = {job: f"127.0.0.1:{port}" for port, job in enumerate(jobs, start=first)}
    with (
        HAProxy({"BRIDGES": f"127.0.0.1:{product.port}"}, tmp_path / "haproxy.log") as proxy,
        Prometheus(program, tmp_path, {**targets, "beers-proxy": f"127.0.0.1:{proxy.metrics}"}) as prometheus,
    ):
        until(
            lambda: prometheus.query("count(count_over_time(beers_build_info[1m]) > 2) == 3"), "all are scraped thrice"
        )
        until(lambda: prometheus.query("beers:calls_slow:increase6h"), "the rules are evaluated")
        _all_rules_are_well(prometheus)
        for where, expression in [*expressions_of_alerts(), *expressions_of_dashboards()]:
            result = prometheus.query(expression)
            assert result or where in QUIET or ".json: " not in where, where
            for name, labels in Metrics(expression).selected:
                _there_is_a_series(prometheus, where, name, labels - {"namespace"})

    seen = json.loads(product.beers("top", "--once", "--json"))
    assert [process["component"] for process in seen["processes"]] == ["service", "bridge", "taplist"]
    assert (seen["health"]["serving"], seen["health"]["store"], seen["work"]["position"]) == (1, True, 2)
    assert [subscriber["consumer"] for subscriber in seen["subscribers"]] == ["taplist.on_beer"]


def _calls(product: Product) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{product.port}") as channel:
        beers = beers_pb2_grpc.BeersServiceStub(channel)
        for name in ("Orval", "Duvel"):
            beers.AddBeer(v1.AddBeerRequest(name=name))
        with pytest.raises(grpc.RpcError):
            beers.GetBeer(v1.GetBeerRequest(beer_id=77))
        watch = beers.WatchBeers(v1.WatchBeersRequest(from_beginning=True))
        next(watch)
        watch.cancel()


def _all_rules_are_well(prometheus: Prometheus) -> None:
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 18
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule.get("lastError")] == []
    assert prometheus.ask("alerts")["alerts"] == []


def _there_is_a_series(prometheus: Prometheus, where: str, name: str, labels: frozenset[str]) -> None:
    if name != "ALERTS":  # nothing fires
        selector = ",".join(f'{label}!=""' for label in sorted(labels))
        assert prometheus.query(f"count({name}{{{selector}}})"), (where, name, labels)
