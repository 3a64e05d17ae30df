"""What the kit counts in a subscriber's process, in the default registry of prometheus_client, which is its to export.

docs/telemetry.md describes every metric.
"""

import time
from datetime import datetime

from prometheus_client import Counter, Gauge, Histogram

from beers_runtime.metrics import DURATIONS
from beers_service.consuming import ConsumingLoop
from beers_service.subscriber.arrivals import Event

AGES = (0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0)
"""Upper bounds of buckets, in seconds: from an event that is told at once to one that has waited for its last retry."""

_CONSUMER = ("consumer",)

_EVENTS = Counter("beers_subscriber_events", "How often a handler ran, and whether it raised.", ("consumer", "outcome"))
_DURATIONS = Histogram(
    "beers_subscriber_handler_duration_seconds", "How long a handler took.", _CONSUMER, buckets=DURATIONS
)
_AGES = Histogram(
    "beers_subscriber_event_age_seconds", "Age of an event when its handler has returned.", _CONSUMER, buckets=AGES
)
_RETRIES = Counter("beers_subscriber_retries", "Failed events that will be tried again.", _CONSUMER)
_DEAD_LETTERS = Counter(
    "beers_subscriber_dead_letters", "Messages put into the queue of dead letters.", ("consumer", "reason")
)
_FETCHED = Counter("beers_subscriber_fetched", "Events that the bus did not bring.", _CONSUMER)
_MARK = Gauge("beers_subscriber_mark", "Up to where everything is done.", _CONSUMER)
_HEAD = Gauge("beers_subscriber_head", "The highest position seen.", _CONSUMER)
_BROKER_UP = Gauge("beers_subscriber_broker_up", "Whether it consumes.", _CONSUMER)


class ConsumerMetrics:
    """The metrics of one consumer.

    Args:
        consumer: Its name.
        loop: Brings its messages.
    """

    def __init__(self, consumer: str, loop: ConsumingLoop) -> None:
        self._done, self._failed = (_EVENTS.labels(consumer, outcome) for outcome in ("done", "failed"))
        self._durations = _DURATIONS.labels(consumer)
        self._ages = _AGES.labels(consumer)
        self._retries = _RETRIES.labels(consumer)
        self._dead_letters = {
            reason: _DEAD_LETTERS.labels(consumer, reason) for reason in ("given_up", "malformed", "beyond_log")
        }
        self._fetched = _FETCHED.labels(consumer)
        self._mark = _MARK.labels(consumer)
        self._head = _HEAD.labels(consumer)
        self._highest = 0
        _BROKER_UP.labels(consumer).set_function(lambda: loop.consuming)

    def handled(self, event: Event, seconds: float, *, failed: bool) -> None:
        """Note that a handler ran on *event* for so many *seconds*, and whether it raised."""
        (self._failed if failed else self._done).inc()
        self._durations.observe(seconds)
        if not failed:
            self._observe_age(event)

    def retried(self) -> None:
        """Note that an event will be tried again."""
        self._retries.inc()

    def buried(self, reason: str) -> None:
        """Note a dead letter: ``given_up``, ``malformed`` or ``beyond_log``."""
        self._dead_letters[reason].inc()

    def fetched(self, number: int) -> None:
        """Note that so many events came by RPC."""
        self._fetched.inc(number)

    def reached(self, mark: int) -> None:
        """Note the mark of the inbox."""
        self._mark.set(mark)
        self.saw(mark)

    def saw(self, position: int) -> None:
        """Note a position that is in the log."""
        if position > self._highest:
            self._highest = position
            self._head.set(position)

    def _observe_age(self, event: Event) -> None:
        try:
            committed = datetime.fromisoformat(event.document["time"])
        except (KeyError, TypeError, ValueError):
            return  # nobody needs it to handle an event
        self._ages.observe(max(0.0, time.time() - committed.timestamp()))
