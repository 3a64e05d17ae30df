"""One call as one trace, through all processes that have a part in it; or as none."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from beers_cli import processes
from grpc_bridge.proto.beers.v1 import beers_pb2, beers_pb2_grpc
from tests.collector import Collector, Span, collecting
from tests.processes import Process, eventually

CLIENT = "00f067aa0ba902b7"
LIMIT = 8.0
"""Seconds that a process may take to stop which has nothing in hand but spans: it has two for those, and would try for ten
if nobody stopped it."""


class Parts:
    """A service, a bridge and a subscriber, each with a collector."""

    def __init__(self, folder: Path, amqp_uri: str, service: str, bridge: str, subscriber: str) -> None:
        self.port = processes.free_port()
        self._folder = folder
        self._amqp_uri = amqp_uri
        self.service = self._start(service, "beers_service", DATABASE_URL=f"sqlite:///{folder}/beers.db")
        self.bridge = self._start(bridge, "grpc_bridge", PORT=str(self.port))
        following = ("beers_service", "--service", "tests.subscriber.following:Following")
        given = {"FOLLOWING_DATABASE_URL": f"sqlite:///{folder}/following.db", "FOLLOWING_FOLDER": str(folder)}
        self.subscriber = self._start(subscriber, *following, **given)
        self.bridge.await_line("serving")
        self.subscriber.await_line("consuming")

    def _start(self, collector: str, module: str, *arguments: str, **environ: str) -> Process:
        given = {
            "AMQP_URI": self._amqp_uri,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        return Process(self._folder, ["-m", module, *arguments], {**given, **environ})

    @property
    def all(self) -> tuple[Process, ...]:
        """In the order in which they are to stop."""
        return self.bridge, self.service, self.subscriber

    def add(self, traceparent: str) -> None:
        """Add a beer."""
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            stub = beers_pb2_grpc.BeersServiceStub(channel)
            stub.AddBeer(beers_pb2.AddBeerRequest(name="Punk"), timeout=20, metadata=[("traceparent", traceparent)])

    def await_handled(self, count: int) -> None:
        """Wait until the subscriber has begun to handle so many events."""
        tries = self._folder / "tries"
        eventually(lambda: tries.exists() and len(tries.read_text().split()) >= count)

    def kill(self) -> None:
        for process in self.all:
            if process.alive():
                process.kill()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, module_amqp_uri: str, collector: Collector) -> Iterator[Parts]:
    parts = Parts(tmp_path_factory.mktemp("parts"), module_amqp_uri, *[collector.url] * 3)
    yield parts
    parts.kill()


def test_a_call_is_one_trace_from_its_client_to_the_subscriber_of_its_event(parts: Parts, collector: Collector) -> None:
    trace = secrets.token_hex(16)
    environ = {"BEERS_ADDRESS": f"127.0.0.1:{parts.port}", "TRACEPARENT": f"00-{trace}-{CLIENT}-01"}
    subprocess.run([sys.executable, "-m", "beers_cli", "add", "Punk"], env={**os.environ, **environ}, check=True)
    eventually(lambda: len(collector.of(trace)) >= 6)
    spans = {span.name: span for span in collector.of(trace)}
    names = ("beers.v1.BeersService/AddBeer", "send beers.execute", "process beers.add")
    call, sent, processed = (spans.pop(name) for name in names)
    commit, published, handled = (spans.pop(name) for name in ("commit", "publish BeerAdded", "process BeerAdded"))
    assert not spans
    assert [span.parent_id for span in (call, sent, processed, commit, published, handled)] == [
        *(CLIENT, call.span_id, sent.span_id, processed.span_id, processed.span_id, published.span_id)
    ]
    assert [(span.service, span.kind) for span in (call, sent, processed, commit, published, handled)] == [
        *(("beers-bridge", "server"), ("beers-bridge", "producer"), ("beers-service", "consumer")),
        *(("beers-service", "client"), ("beers-service", "producer"), ("following", "consumer")),
    ]
    assert not any(span.failed for span in collector.of(trace))
    assert within(sent, call)
    assert within(processed, call)
    assert within(commit, processed)
    assert published.start >= commit.end
    assert handled.start >= published.start
    assert (call.attributes["rpc.method"], call.attributes["rpc.grpc.status_code"]) == ("AddBeer", 0)
    assert commit.attributes["db.system.name"] == "sqlite"
    assert published.attributes["messaging.destination.name"] == "beers.events:BeerAdded"
    for process, event, span in ((parts.bridge, "call", call), (parts.service, "command", processed)):
        logged = [line for line in process.lines() if line["event"] == event and line.get("trace_id") == trace]
        assert [line["span_id"] for line in logged] == [span.span_id]


def test_a_call_whose_client_wants_no_trace_has_no_span_anywhere(parts: Parts, collector: Collector) -> None:
    unwanted, wanted = secrets.token_hex(16), secrets.token_hex(16)
    parts.add(f"00-{unwanted}-{CLIENT}-00")
    parts.add(f"00-{wanted}-{CLIENT}-01")
    eventually(lambda: len(collector.of(wanted)) >= 6)
    # What comes first is told first, by each of them.
    assert collector.of(unwanted) == []
    (logged,) = [line for line in parts.service.lines() if line.get("trace_id") == unwanted]
    assert logged["span_id"] == CLIENT


def test_grpc_stays_out_of_the_service_and_what_ends_hands_on_its_last_spans(
    parts: Parts, collector: Collector
) -> None:
    for process in (parts.service, parts.subscriber):
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
        assert "_message.abi3.so" in loaded  # of protobuf: it does export
        assert "cygrpc" not in loaded
    trace = secrets.token_hex(16)
    parts.add(f"00-{trace}-{CLIENT}-01")
    parts.await_handled(len({span.trace_id for span in collector.spans} | {trace}))
    for process in parts.all:
        assert process.stop() == 0
    assert len(collector.of(trace)) == 6


def test_a_collector_that_is_dead_or_deaf_harms_neither_calls_nor_a_stop(tmp_path: Path, fresh_amqp_uri: str) -> None:
    dead = f"http://127.0.0.1:{processes.free_port()}"
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        parts = Parts(tmp_path, fresh_amqp_uri, service=url, bridge=url, subscriber=dead)
        try:
            for number in range(1, 4):
                parts.add(f"00-{secrets.token_hex(16)}-{CLIENT}-01")
                parts.await_handled(number)
            durations = [line["duration_ms"] for line in parts.bridge.lines() if line["event"] == "call"]
            assert len(durations) == 3
            assert max(durations) < 1000
            for process in parts.all:
                began = time.monotonic()
                assert process.stop() == 0
                assert time.monotonic() - began < LIMIT
                told = [line for line in process.lines() if "collector of traces" in line["event"]]
                assert sum(line["lost"] for line in told) in (3, 6, 9)
        finally:
            parts.kill()


def within(inner: Span, outer: Span) -> bool:
    return outer.start <= inner.start <= inner.end <= outer.end
