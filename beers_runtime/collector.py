"""Takes the spans of a process to a collector: OTLP over HTTP, in batches, on a thread of its own.

Loaded only where traces are on. Over HTTP because gRPC cannot be where eventlet is; the thread is green there, and
its sockets give way to others. What the collector does not take is dropped and counted: no call waits for it, and a
process that ends waits for a moment only.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.sdk.version import __version__ as sdk_version
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from structlog.typing import FilteringBoundLogger

from beers_runtime.bounded_http import bounded_session
from beers_runtime.tracing import Attributes, Kind, Span
from beers_runtime.tracing_settings import TracingSettings

_TELL_EVERY: Final = 60.0
"""Seconds between two lines about spans that the collector did not take."""

_KINDS: Final[dict[Kind, SpanKind]] = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_UNSET: Final = Status(StatusCode.UNSET)
_SCOPE: Final = InstrumentationScope("beers")


class Collector:
    """The collector as *settings* name it; *logger* is told what it does not take."""

    def __init__(self, settings: TracingSettings, logger: FilteringBoundLogger) -> None:
        # The library tells of each attempt; we tell of what is lost, and not every time.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._resource = Resource(
            {
                "telemetry.sdk.language": "python",
                "telemetry.sdk.name": "opentelemetry",
                "telemetry.sdk.version": sdk_version,
                **settings.resource,
            }
        )
        self._counting = _Counting(
            OTLPSpanExporter(
                endpoint=settings.url,
                headers=settings.headers,
                certificate_file=settings.certificate or None,
                timeout=settings.timeout,
                session=bounded_session(),
            ),
            settings.queue,
            logger,
        )
        self._processor = BatchSpanProcessor(
            self._counting,
            max_queue_size=settings.queue,
            schedule_delay_millis=settings.delay * 1000,
            max_export_batch_size=settings.batch,
        )
        self._closed = False

    def take(
        self, span: Span, name: str, kind: Kind, attributes: Attributes, error: str, links: Iterable[Span]
    ) -> None:
        """Take a span that ends now; see `tracing.Export`.

        It is put together only here, once it has ended: the SDK's own spans cost several times as much.
        """
        if self._closed:
            return
        trace_id = int(span.trace_id, 16)
        parent = None
        if span.parent_id:
            parent = SpanContext(trace_id, int(span.parent_id, 16), is_remote=not span.local, trace_flags=_SAMPLED)
        self._counting.taken += 1
        self._processor.on_end(
            ReadableSpan(
                name,
                SpanContext(trace_id, int(span.span_id, 16), is_remote=False, trace_flags=_SAMPLED),
                parent,
                self._resource,
                {**attributes, "error.type": error} if error else attributes,
                (),
                [_link(link) for link in links],
                _KINDS[kind],
                None,
                Status(StatusCode.ERROR) if error else _UNSET,
                span.started,
                max(span.started, time.time_ns()),
                _SCOPE,
            )
        )

    def close(self, patience: float) -> None:
        """Hand on what is left, for *patience* seconds at most. May be called again."""
        if self._closed:
            return
        self._closed = True
        if self._counting.failing:
            self._counting.shutdown()  # which keeps it from trying again and again
        # The library's own limit is half a minute, and not to be changed.
        closing = threading.Thread(target=self._processor.shutdown, name="traces closing", daemon=True)
        closing.start()
        closing.join(patience)
        self._counting.close()


def _link(span: Span) -> Link:
    return Link(SpanContext(int(span.trace_id, 16), int(span.span_id, 16), is_remote=False, trace_flags=_SAMPLED))


class _Counting(SpanExporter):
    """Hands spans to *exporter*, counts them, and tells from time to time how many it did not get rid of.

    Attributes:
        taken: Spans that have ended.
        failing: Whether the last attempt was in vain.
    """

    def __init__(self, exporter: SpanExporter, queue: int, logger: FilteringBoundLogger) -> None:
        self.taken = 0
        self.failing = False
        self._exporter = exporter
        self._queue = queue
        self._logger = logger
        self._settled = 0  # those that do not wait any more
        self._delivered = 0
        self._told = 0
        self._tell_at = 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter`."""
        # More cannot have waited; the others were pushed out.
        pushed_out = max(0, self.taken - self._settled - self._queue)
        self._settled += pushed_out + len(spans)
        result = self._exporter.export(spans)
        self.failing = result is not SpanExportResult.SUCCESS
        if not self.failing:
            self._delivered += len(spans)
        if time.monotonic() >= self._tell_at:
            self._tell(self._settled)
        return result

    def close(self) -> None:
        """Tell what is lost, now that nothing more comes."""
        self._tell(self.taken)

    def shutdown(self) -> None:
        """See `SpanExporter`."""
        self._exporter.shutdown()

    def _tell(self, settled: int) -> None:
        lost = settled - self._delivered - self._told
        if lost:
            self._told += lost
            self._tell_at = time.monotonic() + _TELL_EVERY
            self._logger.warning("the collector of traces did not take spans", lost=lost)
