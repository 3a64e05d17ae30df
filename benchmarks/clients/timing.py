"""What the client programs of the comparison have in common: a clock that discards the warm-up, and a way to tell."""

import json
import time


class Clock:
    """Counts answers from the end of the warm-up on, until the time is up.

    Attributes:
        latencies: Seconds that each counted call took.
    """

    def __init__(self, warm_up: float, seconds: float) -> None:
        self._from = time.perf_counter() + warm_up
        self._until = self._from + seconds
        self._last = self._from
        self.latencies: list[float] = []
        self.calls = 0
        """How many were made, those of the warm-up included."""

    def runs(self) -> bool:
        """Tell whether another call is to be made."""
        return time.perf_counter() < self._until

    def answered(self, started: float) -> None:
        """Take note of an answer that has just come, to a call made at *started*."""
        now = time.perf_counter()
        self.calls += 1
        if now >= self._from:
            self.latencies.append(now - started)
            self._last = now

    def tell(self) -> None:
        """Print the figures as one line of JSON."""
        counted = len(self.latencies)
        elapsed = self._last - self._from
        document = {
            "calls": self.calls,
            "rate": counted / elapsed if elapsed > 0 else 0.0,
            "p50_ms": percentile(self.latencies, 50) * 1000,
        }
        print(json.dumps(document))


def percentile(values: list[float], percent: float) -> float:
    """Return the value that *percent* of *values* do not exceed; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0
