"""What the service tells Prometheus; docs/telemetry.md describes every metric.

`Measures` takes what is measured, as it happens. `ServiceMetrics` reads the rest, when it is asked for, from those who
know it anyway, and knows little before there are any: it answers also while the service waits for its store.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import Metric
from prometheus_client.registry import Collector

from beers_runtime.metrics import (
    DURATIONS,
    NUMBERS,
    SHORT_DURATIONS,
    Distribution,
    Histogram,
    counter,
    counters,
    gauge,
    gauges,
)
from beers_service.domain.errors import BeersError
from beers_service.domain.events import EVENT_TYPES
from beers_service.incoming import is_number
from beers_service.methods import Answer, Call
from beers_service.ports import StoredEvent
from beers_service.publisher import AmqpPublisher
from beers_service.relay import Relay
from beers_service.transport import RequestConsumer
from beers_service.writer import WAITING, Writer

REJECTED: Final = ("unreadable", "unanswerable", "malformed", "unknown_method", "bad_arguments", "error")
FAILED_COMMITS: Final = ("store_unavailable", "outcome_unknown", "error")
FAILED_WINDOWS: Final = ("refused", "broker", "store", "error")

_EXPIRED = "DeadlinePassed"
_OLDEST = 86_400.0
"""Seconds; a message that claims to be older is not believed."""


class Measures:
    """What is measured while calls run.

    Args:
        known: Tells whether there is a method of a name.
    """

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known
        self._calls = Histogram(
            "beers_service_call_duration_seconds",
            "How long calls took, until those of the same message were done.",
            DURATIONS,
            ("method", "outcome"),
        )
        self._message_calls = Histogram("beers_service_message_calls", "Calls in a message.", NUMBERS)
        self._queue_waits = Histogram(
            "beers_service_queue_wait_seconds", "Age of a message when its work begins.", DURATIONS
        )
        self._commit_commands = Histogram(
            "beers_service_commit_commands", "Commands that shared a transaction.", NUMBERS
        )
        self._commit_durations = Histogram(
            "beers_service_commit_duration_seconds", "How long a transaction took.", SHORT_DURATIONS
        )
        self._windows = Histogram(
            "beers_relay_publish_duration_seconds", "How long a window took, confirms included.", SHORT_DURATIONS
        )
        self._ended: dict[tuple[str, type[Any]], Distribution] = {}
        self._sizes, self._waits = self._message_calls.labelled(), self._queue_waits.labelled()
        self._commands, self._commits = self._commit_commands.labelled(), self._commit_durations.labelled()
        self.window = self._windows.labelled().observe
        self._appended: Counter[type[Any]] = Counter()

    def began(self, context: Mapping[str, Any]) -> None:
        """Note that the work for a message begins; *context* is that of its call."""
        sent: Any = context.get("sent_at_ms")
        if is_number(sent):
            age = time.time() - sent / 1000
            if age < _OLDEST:
                self._waits.observe(max(0.0, age))

    def calls(self, calls: Sequence[Call], answers: Sequence[Answer], seconds: float) -> None:
        """Note what became of the calls of a message; see `calls.Measure`."""
        self._sizes.observe(len(calls))
        for call, answer in zip(calls, answers, strict=True):
            ended = self._ended.get((call.method, answer.__class__))
            if ended is None:
                ended = self._distribution(call.method, type(answer))
            ended.observe(seconds, 1, call.traceparent)

    def commit(self, commands: int, seconds: float, events: Sequence[StoredEvent]) -> None:
        """Note a transaction; see `writer.Measure`."""
        self._commands.observe(commands)
        self._commits.observe(seconds)
        self._appended.update([event.data.__class__ for event in events])

    def families(self) -> Iterator[Metric]:
        """Yield what was measured."""
        for histogram in (
            self._calls,
            self._message_calls,
            self._queue_waits,
            self._commit_commands,
            self._commit_durations,
            self._windows,
        ):
            yield histogram.family()
        expired = sum(ended.count for labels, ended in self._calls.children().items() if labels[1] == _EXPIRED)
        yield counter("beers_service_calls_expired", "Calls that came too late to be carried out.", expired)
        appended = {kind.__name__: self._appended[kind] for kind in EVENT_TYPES}
        yield counters("beers_service_events_appended", "Events committed by this process.", "type", appended)

    def _distribution(self, method: str, answer: type[Any]) -> Distribution:
        if issubclass(answer, BeersError):
            outcome = answer.__name__
        else:
            outcome = "error" if issubclass(answer, Exception) else "ok"
        known = self._known(method)
        ended = self._calls.labelled(method if known else "unknown", outcome)
        if known:  # others may be of any number
            self._ended[method, answer] = ended
        return ended


@dataclass(frozen=True, slots=True)
class Core:
    """What there is once the store is there."""

    writer: Writer
    relay: Relay
    publisher: AmqpPublisher


class ServiceMetrics(Collector):
    """All metrics of a service process, as they are at the moment of asking.

    Args:
        measures: What was measured.
        consumer: Takes the calls.
        workers: How many messages may be worked on at a time.
        working: Tells how many are.

    Attributes:
        core: What writes and tells the bus; None before there is a store.
    """

    def __init__(
        self, measures: Measures, consumer: RequestConsumer | None, workers: int, working: Callable[[], int]
    ) -> None:
        self.core: Core | None = None
        self._measures = measures
        self._consumer = consumer
        self._limits = {"workers": workers, "waiting": WAITING}
        self._working = working

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        yield from self._measures.families()
        yield gauge("beers_service_messages_in_progress", "Messages that are worked on.", self._working())
        yield gauges("beers_service_limit", "How many there may be at once.", "of", self._limits)
        yield from self._writing()
        yield from self._telling()
        yield from self._receiving()

    def _receiving(self) -> Iterator[Metric]:
        consumer, core = self._consumer, self.core
        rejected: Mapping[str, int] = {} if consumer is None else consumer.rejected
        up, connections = {"calls": False}, {"calls": 0}
        if consumer is not None and consumer.loop is not None:
            up, connections = {"calls": consumer.loop.consuming}, {"calls": consumer.loop.connections}
        if core is not None and core.relay.leading:
            up["relay"], connections["relay"] = core.publisher.connected, core.publisher.connections
        reconnects = {name: max(0, number - 1) for name, number in connections.items()}
        lost = 0 if consumer is None else consumer.answers_lost
        yield counters(
            "beers_service_messages_rejected", "Messages that were no calls.", "reason", _each(REJECTED, rejected)
        )
        yield counter("beers_service_answers_lost", "Answers that could not be sent.", lost)
        yield gauges("beers_broker_up", "Whether there is a connection.", "connection", up)
        yield counters("beers_broker_reconnects", "Connections after the first.", "connection", reconnects)

    def _writing(self) -> Iterator[Metric]:
        writer = None if self.core is None else self.core.writer
        failed: Mapping[str, int] = {} if writer is None else writer.failed
        waiting = 0 if writer is None else writer.waiting
        yield gauge("beers_service_commands_waiting", "Commands that wait for a commit.", waiting)
        yield counters(
            "beers_service_commits_failed", "Transactions that failed.", "reason", _each(FAILED_COMMITS, failed)
        )

    def _telling(self) -> Iterator[Metric]:
        core = self.core
        relay = None if core is None else core.relay
        head = None if core is None else max(core.writer.head, core.relay.head)
        position = relay.position if relay is not None and relay.leading else None
        lag = age = None
        if relay is not None and head is not None and position is not None:
            lag = max(0, head - position)
            age = 0.0 if relay.oldest is None else max(0.0, time.time() - relay.oldest / 1e6)
        failures: Mapping[str, int] = {} if relay is None else relay.failures
        published = 0 if relay is None else relay.published
        yield gauge("beers_store_up", "Whether the store answered lately.", relay is not None and relay.store_up)
        yield gauge("beers_log_head_position", "The position of the last event, as known here.", head)
        yield gauge("beers_relay_leader", "Whether this process tells the bus.", position is not None)
        yield gauge("beers_relay_position", "Up to where the bus has everything.", position)
        yield gauge("beers_relay_lag_events", "Events that the bus has not confirmed.", lag)
        yield gauge("beers_relay_lag_seconds", "Age of the oldest of them.", age)
        yield counter("beers_relay_events_published", "Events that the bus has confirmed.", published)
        yield counters(
            "beers_relay_failures", "Windows that have to be told again.", "reason", _each(FAILED_WINDOWS, failures)
        )


def _each(names: Sequence[str], counted: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of all *names*, so that each can be seen to grow from 0."""
    return {name: counted.get(name, 0) for name in names}
