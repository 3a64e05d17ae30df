"""What is told of spans that a collector does not take."""

import time
from collections.abc import Sequence

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from beers_runtime import collector
from beers_runtime.tracing_settings import start, tracing_settings
from tests.collector import collecting

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
QUEUE = 10


class Moody(SpanExporter):
    """Takes what it is given, or does not."""

    def __init__(self) -> None:
        self.takes = True
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if not self.takes:
            return SpanExportResult.FAILURE
        self.taken += len(spans)
        return SpanExportResult.SUCCESS


class Scene:
    def __init__(self) -> None:
        self.exporter = Moody()
        self._log = structlog.testing.CapturingLogger()
        self.counting = collector._Counting(self.exporter, QUEUE, structlog.wrap_logger(self._log, processors=[]))

    @property
    def lost(self) -> list[int]:
        """What each line told."""
        return [call.kwargs["lost"] for call in self._log.calls]

    def ends(self, number: int) -> None:
        self.counting.taken += number

    def export(self, number: int) -> None:
        self.counting.export([ReadableSpan("span")] * number)


def test_nothing_is_told_while_all_is_taken() -> None:
    scene = Scene()
    scene.ends(5)
    scene.export(5)
    scene.counting.close()
    assert (scene.lost, scene.exporter.taken, scene.counting.failing) == ([], 5, False)


def test_spans_that_are_not_taken_are_told_with_their_number_and_at_most_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("beers_runtime.collector.time.monotonic", lambda: now)
    scene = Scene()
    scene.exporter.takes = False
    scene.ends(9)
    for _ in range(3):
        scene.export(2)
    assert (scene.lost, scene.counting.failing) == ([2], True)
    now += 60
    scene.exporter.takes = True
    scene.export(1)
    assert (scene.lost, scene.counting.failing) == ([2, 4], False)


def test_spans_that_a_full_queue_pushed_out_count_as_lost() -> None:
    scene = Scene()
    scene.ends(QUEUE + 7)
    scene.export(4)
    assert scene.lost == [7]


def test_spans_that_still_wait_at_the_end_count_as_lost() -> None:
    scene = Scene()
    scene.ends(3)
    scene.export(1)
    scene.counting.close()
    assert scene.lost == [2]


def test_a_provider_of_credentials_that_the_library_would_ask_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER", "nobody")
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "nobody")
    logger = structlog.wrap_logger(structlog.testing.CapturingLogger(), processors=[])
    start(tracing_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, "beers"), logger).close(1.0)


def test_a_span_arrives_as_it_was() -> None:
    logger = structlog.wrap_logger(structlog.testing.CapturingLogger(), processors=[])
    with collecting() as receiver:
        config = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_RESOURCE_ATTRIBUTES": "service.name=b%2Cc"}
        tracing = start(tracing_settings(config, "beers"), logger)
        before = time.time_ns()
        span, other = tracing.join(f"00-{TRACE}-{PARENT}-01"), tracing.enter("")
        assert span is not None
        assert other is not None
        tracing.end(span, "commit", "client", {"text": "ü", "number": 7}, error="StoreUnavailable", links=[other])
        tracing.end(other, "process beers.add", "consumer", {})
        after = time.time_ns()
        tracing.close(5.0)
        tracing.end(other, "too late", "consumer", {})
    arrived, root = receiver.spans
    assert (arrived.service, arrived.name, arrived.kind, arrived.failed) == ("b,c", "commit", "client", True)
    assert (arrived.trace_id, arrived.span_id, arrived.parent_id) == (TRACE, span.span_id, PARENT)
    assert arrived.attributes == {"text": "ü", "number": 7, "error.type": "StoreUnavailable"}
    assert arrived.links == (other.span_id,)
    assert before <= arrived.start <= arrived.end <= after
    assert (root.trace_id, root.parent_id, root.failed, root.attributes) == (other.trace_id, "", False, {})
