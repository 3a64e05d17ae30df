"""What the bridge tells Prometheus; docs/telemetry.md describes every metric.

`Measures` takes what is measured, as it happens. `BridgeMetrics` reads the rest, when it is asked for, from those who
know it anyway.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import grpc
from prometheus_client import Metric
from prometheus_client.registry import Collector

from beers_runtime.metrics import DURATIONS, NUMBERS, Distribution, Histogram, counter, counters, gauge, gauges
from grpc_bridge.availability import Absence, Availability
from grpc_bridge.bus import Bus
from grpc_bridge.calls import Reception
from grpc_bridge.feed import Feed
from grpc_bridge.health import Health
from grpc_bridge.settings import Settings
from grpc_bridge.watching import Watches

STREAMS: Final = frozenset({"ImportBeers", "WatchBeers"})
"""The methods whose calls last as long as their clients like."""

STREAM_DURATIONS: Final = (1.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0)
"""Upper bounds of the buckets for these, in seconds."""

REASONS: Final = ("unread", "calls", "waiting", "watches", "client_calls", "client_watches", "client_rate", "breaker")
"""Why calls are refused."""

PARTS: Final[Mapping[Absence, str]] = {absence: absence.name.lower() for absence in Absence}


class Measures:
    """What is measured while calls run."""

    def __init__(self) -> None:
        labels = ("method", "code")
        self._calls = Histogram(
            "beers_bridge_call_duration_seconds", "How long gRPC calls took that have ended.", DURATIONS, labels
        )
        self._streams = Histogram(
            "beers_bridge_stream_duration_seconds", "How long streams lasted that have ended.", STREAM_DURATIONS, labels
        )
        self._batch_calls = Histogram("beers_bridge_batch_calls", "Calls in a message to the service.", NUMBERS)
        self._batch_durations = Histogram(
            "beers_bridge_batch_duration_seconds", "From a message's leaving to its answer.", DURATIONS
        )
        self._ended: dict[tuple[str, grpc.StatusCode], Distribution] = {}
        self._sizes, self._ages = self._batch_calls.labelled(), self._batch_durations.labelled()

    def call(self, method: str, code: grpc.StatusCode, seconds: float, traceparent: str) -> None:
        """Note that a call has ended; see `journal.Measure`."""
        ended = self._ended.get((method, code))
        if ended is None:
            histogram = self._streams if method in STREAMS else self._calls
            ended = self._ended[method, code] = histogram.labelled(method, code.name)
        ended.observe(seconds, 1, traceparent)

    def batch(self, calls: int, seconds: float) -> None:
        """Note that a batch was answered; see `batching.Measure`."""
        self._sizes.observe(calls)
        self._ages.observe(seconds)

    def families(self) -> Iterator[Metric]:
        """Yield what was measured."""
        for histogram in (self._calls, self._streams, self._batch_calls, self._batch_durations):
            yield histogram.family()


class BridgeMetrics(Collector):
    """All metrics of a bridge, as they are at the moment of asking."""

    def __init__(
        self,
        measures: Measures,
        settings: Settings,
        *,
        reception: Reception,
        bus: Bus,
        feed: Feed,
        watches: Watches,
        availability: Availability,
        health: Health,
    ) -> None:
        self._measures = measures
        self._limits = {
            "calls": settings.max_calls,
            "waiting": settings.max_waiting,
            "watches": settings.max_watches,
        }
        self._reception = reception
        self._bus = bus
        self._feed = feed
        self._watches = watches
        self._availability = availability
        self._health = health
        self._head: int | None = None
        bus.on_pong(self._note_head)

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        yield from self._measures.families()
        yield from self._calls()
        yield from self._parts()
        yield from self._watched()

    def _calls(self) -> Iterator[Metric]:
        batcher = self._bus.batcher
        refused = dict.fromkeys(REASONS, 0) | self._reception.refused
        refused |= {"waiting": batcher.refused, "breaker": self._bus.refused}
        yield gauge("beers_bridge_calls_in_progress", "gRPC calls in hand.", self._reception.active)
        yield gauge("beers_bridge_calls_waiting", "Calls that gather for the next message.", batcher.waiting)
        yield counters("beers_bridge_calls_refused", "Calls that were refused.", "reason", refused)
        yield gauges("beers_bridge_limit", "How many there may be at once.", "of", self._limits)
        yield gauge("beers_bridge_batches_in_flight", "Messages that are not answered yet.", batcher.in_flight)

    def _parts(self) -> Iterator[Metric]:
        absence, bus = self._availability.absence, self._bus
        missing = {part: float(absence is missing) for missing, part in PARTS.items()}
        yield gauge("beers_bridge_serving", "Whether health says SERVING.", self._health.serving)
        yield gauges("beers_bridge_missing", "What is missing.", "part", missing)
        yield gauge("beers_bridge_breaker_open", "Whether calls fail at once.", self._availability.refusing)
        yield gauges(
            "beers_broker_up", "Whether there is a connection.", "connection", {"calls": bus.connected.is_set()}
        )
        yield counters(
            "beers_broker_reconnects",
            "Connections after the first.",
            "connection",
            {"calls": max(0, bus.connections - 1)},
        )

    def _watched(self) -> Iterator[Metric]:
        feed, positions = self._feed, list(self._watches.positions.values())
        behind = sum(position < feed.start for position in positions)
        lag = max(0, feed.end - min(positions, default=feed.end))
        yield gauge("beers_bridge_watchers", "Streams of WatchBeers.", self._reception.watches)
        yield gauge("beers_bridge_watchers_catching_up", "Those that read pages.", behind)
        yield gauge("beers_bridge_watch_lag_events", "How far the last watcher is behind.", lag)
        yield counter("beers_bridge_watch_events", "Events sent to watchers.", self._watches.told)
        yield gauge("beers_bridge_feed_lag_events", "What the bus has yet to bring.", feed.lag)
        yield gauge("beers_log_head_position", "The position of the last event, as known here.", self._head)

    def _note_head(self, pong: Mapping[str, Any], _asked_at: float) -> None:
        self._head = pong["head"]
