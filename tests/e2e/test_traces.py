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
"""Seconds that a process may take to stop which has only spans in hand: it has two, and else would try for ten."""

NEVER = "600000"


class Parts:
    """A service, a bridge and a subscriber, whose spans go to one collector; the subscriber's when it stops."""

    def __init__(self, folder: Path, amqp_uri: str, collector: str) -> None:
        self.port = processes.free_port()
        self._folder = folder
        self._environ = {"AMQP_URI": amqp_uri, "OTEL_EXPORTER_OTLP_ENDPOINT": collector}
        soon = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
        self.service = self._start("beers_service", DATABASE_URL=f"sqlite:///{folder}/beers.db", **soon)
        self.bridge = self._start("grpc_bridge", PORT=str(self.port), **soon)
        self.subscriber = self._start(
            *("beers_service", "--service", "tests.subscriber.following:Following"),
            FOLLOWING_DATABASE_URL=f"sqlite:///{folder}/following.db",
            FOLLOWING_FOLDER=str(folder),
            OTEL_BSP_SCHEDULE_DELAY=NEVER,
        )
        self.bridge.await_line("serving")
        self.subscriber.await_line("consuming")

    def _start(self, module: str, *arguments: str, **environ: str) -> Process:
        return Process(self._folder, ["-m", module, *arguments], self._environ | environ)

    def add(self, trace: str, flags: str) -> None:
        """Add a beer as a client in the middle of a trace."""
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            stub = beers_pb2_grpc.BeersServiceStub(channel)
            metadata = (("traceparent", f"00-{trace}-{CLIENT}-{flags}"),)
            stub.AddBeer(beers_pb2.AddBeerRequest(name="Punk"), timeout=20, metadata=metadata)

    def add_by_command(self, trace: str) -> None:
        """Add a beer with the command line, in a trace that is sampled."""
        told = {"BEERS_ADDRESS": f"127.0.0.1:{self.port}", "TRACEPARENT": f"00-{trace}-{CLIENT}-01"}
        subprocess.run([sys.executable, "-m", "beers_cli", "add", "Punk"], env={**os.environ, **told}, check=True)

    def await_handled(self, count: int) -> None:
        """Wait until the subscriber has begun to handle so many events."""
        tries = self._folder / "tries"
        eventually(lambda: tries.exists() and len(tries.read_text().split()) >= count)

    def kill(self) -> None:
        for process in (self.bridge, self.service, self.subscriber):
            if process.alive():
                process.kill()


class Story:
    """Two calls, of which one is to be traced, up to the stop of the subscriber that has handled their events."""

    def __init__(self, parts: Parts, collector: Collector) -> None:
        self.parts = parts
        self.collector = collector
        self.wanted, self.unwanted = secrets.token_hex(16), secrets.token_hex(16)
        parts.add(self.unwanted, "00")
        parts.add_by_command(self.wanted)
        parts.await_handled(2)
        eventually(lambda: len(collector.of(self.wanted)) >= 5)
        self.stopped = parts.subscriber.stop()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, module_amqp_uri: str) -> Iterator[Story]:
    with collecting() as collector:
        parts = Parts(tmp_path_factory.mktemp("parts"), module_amqp_uri, collector.url)
        try:
            yield Story(parts, collector)
        finally:
            parts.kill()


def test_a_call_is_one_trace_from_its_client_to_the_subscriber_of_its_event(story: Story) -> None:
    spans = {span.name: span for span in story.collector.of(story.wanted)}
    assert len(story.collector.of(story.wanted)) == len(spans)
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
    assert not any(span.failed for span in story.collector.spans)
    assert within(sent, call)
    assert within(processed, call)
    assert within(commit, processed)
    assert commit.end <= published.start <= handled.start
    assert (call.attributes["rpc.method"], call.attributes["rpc.grpc.status_code"]) == ("AddBeer", 0)
    assert commit.attributes["db.system.name"] == "sqlite"
    assert published.attributes["messaging.destination.name"] == "beers.events:BeerAdded"
    for process, event, span in ((story.parts.bridge, "call", call), (story.parts.service, "command", processed)):
        assert span_ids(process, event, story.wanted) == [span.span_id]


def test_a_call_whose_client_wants_no_trace_has_no_span_anywhere(story: Story) -> None:
    assert {span.trace_id for span in story.collector.spans} == {story.wanted}
    for process, event in ((story.parts.bridge, "call"), (story.parts.service, "command")):
        assert span_ids(process, event, story.unwanted) == [CLIENT]


def test_what_stops_hands_on_its_last_spans(story: Story) -> None:
    assert story.stopped == 0
    assert "process BeerAdded" in [span.name for span in story.collector.of(story.wanted)]


def test_a_service_that_traces_has_no_grpc(story: Story) -> None:
    loaded = Path(f"/proc/{story.parts.service.pid}/maps").read_text()
    assert "_message.abi3.so" in loaded  # protobuf, in which spans are told
    assert "cygrpc" not in loaded


def test_a_collector_that_is_dead_or_deaf_harms_neither_calls_nor_a_stop(story: Story) -> None:
    story.collector.close()
    parts, port = story.parts, int(story.collector.url.rpartition(":")[2])
    parts.add(secrets.token_hex(16), "01")
    with socket.create_server(("127.0.0.1", port)):  # it never answers
        for _ in range(5):
            parts.add(secrets.token_hex(16), "01")
        calls = [line["duration_ms"] for line in parts.bridge.lines() if line["event"] == "call"][2:]
        assert len(calls) == 6
        assert max(calls) < 1000
        for process, spans in ((parts.bridge, 12), (parts.service, 18)):
            began = time.monotonic()
            assert process.stop() == 0
            assert time.monotonic() - began < LIMIT
            told = [line for line in process.lines() if "the collector of traces" in line["event"]]
            assert sum(line["lost"] for line in told) == spans


def span_ids(process: Process, event: str, trace: str) -> list[str]:
    """Return the ids of the spans of *trace* in such lines of the log."""
    return [line["span_id"] for line in process.lines() if line["event"] == event and line.get("trace_id") == trace]


def within(inner: Span, outer: Span) -> bool:
    return outer.start <= inner.start <= inner.end <= outer.end
