"""One call as one trace, through all processes that have a part in it; or as none."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beers_cli import processes
from tests.collector import Collector, Span, collecting
from tests.processes import Process, Start, eventually

TRACE, CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{CLIENT}-01", f"00-{TRACE}-{CLIENT}-00"


class Parts:
    """A service, a bridge and a subscriber whose spans go to one collector."""

    def __init__(self, start: Start, folder: Path, **environ: str) -> None:
        self.port = processes.free_port()
        self._folder = folder
        traced = {"OTEL_BSP_SCHEDULE_DELAY": "50", **environ}
        self.service = start(**traced)
        self.bridge = start("-m", "grpc_bridge", ready=False, PORT=str(self.port), **traced)
        self.subscriber = start(
            *("-m", "beers_service", "--service", "tests.subscriber.following:Following"),
            ready=False,
            FOLLOWING_DATABASE_URL=f"sqlite:///{folder}/following.db",
            FOLLOWING_FOLDER=str(folder),
            **traced,
        )
        self.bridge.await_line("serving")
        self.subscriber.await_line("consuming")

    def add(self, name: str, traceparent: str = "") -> None:
        """Add a beer with the command line."""
        environ = {**os.environ, "BEERS_ADDRESS": f"127.0.0.1:{self.port}"}
        if traceparent:
            environ["TRACEPARENT"] = traceparent
        subprocess.run([sys.executable, "-m", "beers_cli", "add", name], env=environ, check=True, capture_output=True)

    def await_handled(self, count: int) -> None:
        """Wait until the subscriber has begun to handle so many events."""
        tries = self._folder / "tries"
        eventually(lambda: tries.exists() and len(tries.read_text().split()) >= count)

    def stop(self) -> dict[str, float]:
        """Stop all of them in order; return how long each took."""
        took = {}
        for name in ("bridge", "service", "subscriber"):
            process: Process = getattr(self, name)
            began = time.monotonic()
            assert process.stop() == 0, process.text
            took[name] = time.monotonic() - began
        return took


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def test_a_call_is_one_trace_from_its_client_to_the_subscriber_of_its_event(
    start: Start, tmp_path: Path, collector: Collector
) -> None:
    parts = Parts(start, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    parts.add("Jever", SAMPLED)
    parts.await_handled(1)
    eventually(lambda: len(collector.spans) >= 6)
    parts.stop()
    call = collector.named("beers.v1.BeersService/AddBeer")
    sent, processed = collector.named("send beers.execute"), collector.named("process beers.add")
    commit, published = collector.named("commit"), collector.named("publish BeerAdded")
    handled = collector.named("process BeerAdded")
    assert {span.trace_id for span in collector.spans} == {TRACE}
    assert [span.parent_id for span in (call, sent, processed, commit, published, handled)] == [
        *(CLIENT, call.span_id, sent.span_id, processed.span_id, processed.span_id, published.span_id)
    ]
    assert [(span.service, span.kind) for span in (call, sent, processed, commit, published, handled)] == [
        *(("beers-bridge", "server"), ("beers-bridge", "producer"), ("beers-service", "consumer")),
        *(("beers-service", "client"), ("beers-service", "producer"), ("following", "consumer")),
    ]
    assert len(collector.spans) == 6
    assert not any(span.failed for span in collector.spans)
    assert within(sent, call)
    assert within(processed, call)
    assert within(commit, processed)
    assert published.start >= commit.end
    assert call.attributes["rpc.grpc.status_code"] == 0
    assert commit.attributes["db.system.name"] == "sqlite"
    line = next(line for line in parts.service.lines() if line["event"] == "command")
    assert (line["trace_id"], line["span_id"]) == (TRACE, processed.span_id)
    assert "grpc" not in Path(f"/proc/{os.getpid()}/maps").name


def within(inner: Span, outer: Span) -> bool:
    return outer.start <= inner.start <= inner.end <= outer.end
