"""A bridge in a real Consul: found there while the service serves, and only then."""

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beers_cli import processes
from tests.e2e.running import ROOT, Running, until

AWAY = 40.0
"""Seconds for what takes one or two, since Consul looks each second; many more, for a machine may be busy."""


class Consul:
    """A Consul agent for development: a server of one, with nothing on disk."""

    def __init__(self, program: str, folder: Path) -> None:
        self.port, self.dns, lan, server = (processes.free_port() for _ in range(4))
        ports = ["-http-port", self.port, "-dns-port", self.dns, "-serf-lan-port", lan, "-server-port", server]
        quiet = ["-serf-wan-port", -1, "-grpc-port", -1, "-log-level", "warn"]
        command = [program, "agent", "-dev", "-bind", "127.0.0.1", "-node", "beers-test", *map(str, ports + quiet)]
        self.running = Running(command, dict(os.environ), folder)
        until(lambda: self.get("/v1/status/leader"), "Consul leads itself")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Any:
        """Return what Consul answers; None while it does not listen yet."""
        assert self.running.process.poll() is None, self.running.lines
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer:  # noqa: S310 - ours
                return json.load(answer)
        except OSError:
            return None

    def statuses(self) -> list[str]:
        """Return how Consul judges each registered bridge."""
        checks = self.get("/v1/health/checks/beers")
        assert checks is not None
        return [check["Status"] for check in checks]


@pytest.fixture
def consul(tmp_path: Path) -> Iterator[Consul]:
    fetched = subprocess.run(
        ["sh", "scripts/consul.sh", "build/consul"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if fetched.returncode:
        pytest.skip(f"needs Consul: {(fetched.stderr.strip().splitlines() or ['it could not be fetched'])[-1]}")
    consul = Consul(str(ROOT / fetched.stdout.strip()), tmp_path)
    yield consul
    consul.running.stop()


def test_consul_leads_to_a_bridge_while_the_service_serves_and_only_then(
    tmp_path: Path, consul: Consul, fresh_amqp_uri: str
) -> None:
    port = processes.free_port()
    environment = os.environ | {
        "AMQP_URI": fresh_amqp_uri,
        "DATABASE_URL": f"sqlite:///{tmp_path / 'beers.db'}",
        "PORT": str(port),
        "PYTHONPATH": str(ROOT),
        "BEERS_CONFIG": str(ROOT / "config.yaml"),
        "CONSUL_URL": consul.url,
        "CONSUL_CHECK_INTERVAL": "1",
        # Consul's own DNS, as a client uses it whose resolver does not ask it anyway.
        "BEERS_ADDRESS": f"dns://127.0.0.1:{consul.dns}/beers.service.consul:{port}",
    }

    def start(module: str, *arguments: str) -> Running:
        return Running([sys.executable, "-m", module, *arguments], environment, tmp_path)

    with contextlib.ExitStack() as stack:
        bridge = start("grpc_bridge")
        stack.callback(bridge.stop)
        service = start("beers_service")
        stack.callback(service.stop)
        until(lambda: consul.statuses() == ["passing"], "the bridge is healthy", AWAY)
        (found,) = consul.get("/v1/health/service/beers?passing=1")
        assert (found["Service"]["Address"], found["Service"]["Port"]) == ("127.0.0.1", port)
        health = start("beers_cli", "health")
        assert health.process.wait(AWAY) == 0, health.lines
        health.stop()

        service.stop()
        until(lambda: consul.statuses() == ["critical"], "the service is missed", AWAY)
        assert bridge.process.poll() is None
        assert consul.get("/v1/health/service/beers?passing=1") == []

        assert bridge.stop() == 0
        until(lambda: consul.statuses() == [], "it is gone from there", AWAY)
        assert any("deregistered from Consul" in line for line in bridge.lines)
