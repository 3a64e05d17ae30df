"""What is told of spans that a collector does not take."""

from collections.abc import Sequence

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from beers_runtime import collector

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
