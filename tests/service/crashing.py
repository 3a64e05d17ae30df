"""The service with a crash in it: at the point that $CRASH names it kills itself as `kill -9` would.

The points lie around what the composition root puts together, so that the service itself knows nothing of them.
"""

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import beers_service.__main__ as runner  # first of all: it makes the standard library green
from beers_service import dependencies
from beers_service.ports import EventRecord
from beers_service.publisher import AmqpPublisher
from beers_service.store.event_log import SqlEventLog, SqlTransaction
from beers_service.store.relay_cursor import SqlRelayCursor
from tests.service.points import AFTER_COMMIT, AFTER_CONFIRM, BEFORE_COMMIT, MID_WINDOW


def crash_at(point: str) -> None:
    """End without a word if this is the point."""
    if os.environ["CRASH"] == point:
        os.kill(os.getpid(), signal.SIGKILL)


class CrashingLog(SqlEventLog):
    """Crashes when everything has been written, on either side of the commit."""

    @contextmanager
    def transaction(self) -> Iterator[SqlTransaction]:
        with super().transaction() as transaction:
            yield transaction
            crash_at(BEFORE_COMMIT)
        crash_at(AFTER_COMMIT)


class CrashingPublisher(AmqpPublisher):
    """Crashes when the broker has half of a window."""

    def publish(self, events: Iterable[EventRecord]) -> None:
        # On PostgreSQL the news of a commit may reach the relay before the answer to it reaches the writer.
        crash_at(AFTER_COMMIT)
        window = list(events)
        if len(window) > 1:
            super().publish(window[: len(window) // 2])
            crash_at(MID_WINDOW)
        super().publish(window[len(window) // 2 :])


class CrashingCursor(SqlRelayCursor):
    """Crashes when the broker has confirmed a window, and nobody has noted it yet."""

    def advance(self, position: int) -> bool:
        crash_at(AFTER_CONFIRM)
        return super().advance(position)


if __name__ == "__main__":
    for name, crashing in (
        ("SqlEventLog", CrashingLog),
        ("AmqpPublisher", CrashingPublisher),
        ("SqlRelayCursor", CrashingCursor),
    ):
        getattr(dependencies, name)  # a point that nobody passes would show nothing
        setattr(dependencies, name, crashing)
    sys.exit(runner.main())
