"""From the log to the bus: every event, in order, at least once.

The log is its own outbox: an event is committed with its command or not at all, and all that the relay has to
remember is a position. It publishes the events after it, a window at a time, and moves on once the bus has confirmed
them. Whatever goes wrong, it starts again from the confirmed position: an event may be told twice, none is skipped.
"""

import threading
from collections.abc import Sequence

from structlog.typing import FilteringBoundLogger

from beers_service.broker import backoff
from beers_service.domain.errors import BeersError
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
        spans: Gets a span for the events of each trace that is sampled; None: there are none.
    """

    def __init__(
        self,
        reader: BeerReader,
        cursor: RelayCursor,
        publisher: EventPublisher,
        logger: FilteringBoundLogger,
        spans: Spans | None = None,
    ) -> None:
        self._reader = reader
        self._cursor = cursor
        self._publisher = publisher
        self._logger = logger
        self._spans = spans or Spans()
        self._stopping = threading.Event()

    def run(self) -> None:
        """Relay until `stop` is called. Failures are logged and tried again; none ends the relay."""
        pauses = backoff()
        while not self._stopping.is_set():
            try:
                if self._relay():
                    pauses = backoff()
            except (BeersError, PublishingFailed) as error:
                pause = next(pauses)
                self._logger.warning("relay interrupted", error=str(error), retry_in=round(pause, 2))
                self._stopping.wait(pause)
            except Exception:
                # Ending here would end the process, and the commands with it; the events wait in the log.
                self._logger.exception("relay failed")
                self._stopping.wait(next(pauses))
        self._publisher.close()
        self._cursor.resign()

    def wake(self) -> None:
        """Say that something was committed."""
        self._cursor.wake()

    def stop(self) -> None:
        """Make `run` return once the window in hand is confirmed."""
        self._stopping.set()
        self._cursor.wake()

    def _relay(self) -> bool:
        """Lead until stopped or deposed; return whether anything was published."""
        position = self._cursor.lead()
        if position is None:
            self._cursor.wait(POLL)
            return False
        published = False
        while not self._stopping.is_set():
            window = self._reader.records(position, WINDOW)
            if not window:
                self._publisher.keep_alive()
                self._cursor.wait(POLL)
                continue
            _require_gapless(position, window)
            with self._spans.publish(window) as told:
                self._publisher.publish(told)
            published = True
            position = window[-1].position
            if not self._cursor.advance(position):
                self._logger.warning("relay deposed", position=position)
                break
            if len(window) < WINDOW:
                self._stopping.wait(REST)
        return published


def _require_gapless(position: int, window: Sequence[EventRecord]) -> None:
    for expected, event in enumerate(window, start=position + 1):
        if event.position != expected:
            raise LookupError(f"the log lacks the event at position {expected}")
