"""From the log to the bus: every event, in order, at least once.

The log is its own outbox: an event is committed with its command or not at all, and all that the relay has to
remember is a position. It publishes the events after it, a window at a time, and moves on once the bus has confirmed
them. Whatever goes wrong, it starts again from the confirmed position: an event may be told twice, none is skipped.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from beers_service.broker import backoff
from beers_service.domain.errors import BeersError, StoreUnavailable
from beers_service.ports import BeerReader, EventPublisher, EventRecord, PublishingFailed, RelayCursor
from beers_service.spans import Spans

WINDOW = 500
"""How many events are published before their confirms are awaited."""

REST = 0.01
"""Seconds from one window to the next while they are not full: what is committed meanwhile shares the next one. An
event after a quiet moment leaves at once; in a stream of single ones each would cost a window of its own."""

POLL = 1.0
"""Seconds after which a relay that nobody woke looks for itself."""


class Relay:
    """Tells the bus what the log holds. `run` it in a thread of its own.

    Args:
        reader: The log.
        cursor: Remembers how far the bus has it, and who tells it.
        publisher: The bus.
        logger: Where failures are told.
        measure: Takes the seconds that each window took which was published.
        spans: Gets a span for the events of each trace that is sampled; None: there are none.

    Attributes:
        store_up: Whether the store answered when it was last asked.
        leading: Whether this relay tells the bus.
        position: Up to where the bus has everything, as a leader knows it.
        head: Where the log ends, as it was when it was last read.
        oldest: When the first event was committed that the bus has not confirmed (microseconds since 1970); None if it
            has all that was read.
        published: How many events it has published.
        failures: How many windows were not published, by the reason.
    """

    def __init__(
        self,
        reader: BeerReader,
        cursor: RelayCursor,
        publisher: EventPublisher,
        logger: FilteringBoundLogger,
        measure: Callable[[float], None] | None = None,
        spans: Spans | None = None,
    ) -> None:
        self.store_up = self.leading = False
        self.position = self.head = self.published = 0
        self.oldest: int | None = None
        self.failures: Counter[str] = Counter()
        self._measure = measure
        self._reader = reader
        self._cursor = cursor
        self._publisher = publisher
        self._logger = logger
        self._spans = spans or Spans()
        self._stopping = threading.Event()
        self._pauses = backoff()

    def run(self) -> None:
        """Relay until `stop` is called. Failures are logged and tried again; none ends the relay."""
        while not self._stopping.is_set():
            try:
                self._relay()
            except Exception as error:
                # Ending here would end the process, and the commands with it; the events wait in the log.
                pause = next(self._pauses)
                if isinstance(error, BeersError | PublishingFailed):
                    self._note_failure(error)
                    self._logger.warning("relay interrupted", error=str(error), retry_in=round(pause, 2))
                else:
                    self.failures["error"] += 1
                    self._logger.exception("relay failed")
                self._stopping.wait(pause)
        self._publisher.close()
        self._cursor.resign()

    def wake(self) -> None:
        """Say that something was committed."""
        self._cursor.wake()

    def stop(self) -> None:
        """Make `run` return once the window in hand is confirmed."""
        self._stopping.set()
        self._cursor.wake()

    def _relay(self) -> None:
        """Lead until stopped or deposed."""
        position = self._cursor.lead()
        self.store_up = True
        self.leading = position is not None
        if position is None:
            self._cursor.wait(POLL)
            return
        while not self._stopping.is_set():
            window = self._reader.records(position, WINDOW)
            self._note_window(position, window)
            if not window:
                self._publisher.keep_alive()
                self._cursor.wait(POLL)
                continue
            _require_gapless(position, window)
            began = time.monotonic()
            with self._spans.publish(window) as told:
                self._publisher.publish(told)
            if self._measure is not None:
                self._measure(time.monotonic() - began)
            self.published += len(window)
            self.position = position = window[-1].position
            self.oldest = None
            if not self._cursor.advance(position):
                self.leading = False
                self._logger.warning("relay deposed", position=position)
                break
            self._pauses = backoff()  # all is well again, also where nothing ends this
            if len(window) < WINDOW:
                self._stopping.wait(REST)

    def _note_window(self, position: int, window: Sequence[EventRecord]) -> None:
        self.position = position
        self.oldest = window[0].time if window else None
        if len(window) == WINDOW:
            self.head = self._reader.head().position
        else:
            self.head = window[-1].position if window else position

    def _note_failure(self, error: BeersError | PublishingFailed) -> None:
        if isinstance(error, PublishingFailed):
            self.failures["refused" if error.refused else "broker"] += 1
            return
        self.failures["store"] += 1
        if isinstance(error, StoreUnavailable):
            self.store_up = self.leading = False


def _require_gapless(position: int, window: Sequence[EventRecord]) -> None:
    for expected, event in enumerate(window, start=position + 1):
        if event.position != expected:
            raise LookupError(f"the log lacks the event at position {expected}")
