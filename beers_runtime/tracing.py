"""Traces: what one call caused in all processes, in the form of W3C Trace Context and OpenTelemetry.

Where a call comes in it is decided whether its trace is sampled; everyone behind that keeps to it. Only what is sampled
has spans. For all else there is a look at its ``traceparent``, which is handed on as it came, and where traces are off
not even that.
"""

import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

Kind = Literal["server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int]

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
# Whatever a later version adds stands behind what version 00 has.
_LATER = re.compile(r"(?!00|ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_LENGTH: Final = 55
_ODD: Final = frozenset("13579bdf")  # of the flags in hexadecimal the last bit says sampled
_IDS: Final = 1 << 64


class Span:
    """A span that is under way, of a trace that is sampled.

    Attributes:
        trace_id: In hexadecimal, as all ids here.
        span_id: Its own.
        parent_id: That of its parent; empty if it has none.
        local: Whether the parent is a span of this process.
        started: When, in nanoseconds since 1970.
    """

    __slots__ = ("local", "parent_id", "span_id", "started", "trace_id")

    def __init__(self, trace_id: str, parent_id: str, *, local: bool = False) -> None:
        self.trace_id = trace_id
        self.span_id = f"{random.getrandbits(64) or 1:016x}"
        self.parent_id = parent_id
        self.local = local
        self.started = time.time_ns()

    @property
    def traceparent(self) -> str:
        """What makes others its children."""
        return f"00-{self.trace_id}-{self.span_id}-01"


Export = Callable[[Span, str, Kind, Attributes, str, Iterable[Span]], None]
"""Takes a span that has ended, with its name, kind and attributes, what went wrong or nothing, and the spans it is
linked to."""


class Tracing:
    """Begins and ends the spans of a process.

    Args:
        export: Takes those that have ended; None: there are none.
        rate: Which part of the traces is sampled, from 0 to 1.
        follows: Whether a caller who has decided already is believed.
        close: Hands on what is left, within so many seconds.
    """

    def __init__(
        self,
        export: Export | None = None,
        *,
        rate: float = 1.0,
        follows: bool = True,
        close: Callable[[float], None] | None = None,
    ) -> None:
        self._export = export
        # As OpenTelemetry's sampler by trace id has it: all processes come to the same decision on a trace.
        self._bound = round(rate * _IDS)
        self._follows = follows
        self._close = close

    def enter(self, traceparent: str | None) -> Span | None:
        """Return the span of a call that comes in from outside, or None if its trace is not sampled.

        A caller's *traceparent* decides on that, also what is none decides nothing.
        """
        if self._export is None:
            return None
        found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
        if found is None:
            low = random.getrandbits(64)
            if low >= self._bound:
                return None
            high = random.getrandbits(64) or 1
            return Span(f"{high:016x}{low:016x}", "")
        trace_id, parent_id, flags = found.groups()
        sampled = int(flags, 16) & 1 if self._follows else int(trace_id[16:], 16) < self._bound
        return Span(trace_id, parent_id) if sampled else None

    def join(self, traceparent: str | None, *, local: bool = False) -> Span | None:
        """Return a span in the trace of *traceparent*, or None if that is not sampled, as was decided elsewhere.

        It is *local* if the parent is a span of this process.
        """
        if self._export is None or not traceparent or not is_sampled(traceparent):
            return None
        found = _TRACEPARENT.fullmatch(traceparent)
        return None if found is None else Span(found[1], found[2], local=local)

    @property
    def on(self) -> bool:
        """Whether there are spans at all."""
        return self._export is not None

    def end(
        self,
        span: Span,
        name: str,
        kind: Kind,
        attributes: Attributes,
        *,
        error: str = "",
        links: Iterable[Span] = (),
    ) -> None:
        """End *span* now.

        Args:
            span: One that `enter` or `join` returned.
            name: What was done, and to what; one of few.
            kind: On which side of what.
            attributes: What else there is to say.
            error: What went wrong, if the one who did it is to blame; empty if nothing.
            links: Spans that belong to it, of this trace or others.
        """
        if self._export is not None:
            self._export(span, name, kind, attributes, error, links)

    def close(self, patience: float) -> None:
        """Hand on what has ended, for *patience* seconds at most; spans that end later are lost."""
        if self._close is not None:
            self._close(patience)


OFF: Final = Tracing()
"""Traces nothing."""


def is_sampled(traceparent: str) -> bool:
    """Tell whether *traceparent*, if it is well-formed, is that of a sampled trace; quicker than to read all of it."""
    return traceparent[-1:] in _ODD and len(traceparent) == _LENGTH


def is_traceparent(text: str) -> bool:
    """Tell whether *text* is a trace context of version 00."""
    return _TRACEPARENT.fullmatch(text) is not None


def as_version_00(text: str) -> str:
    """Return *text* or, if it is a trace context of a later version, what version 00 knows of it."""
    found = None if text.startswith("00-") else _LATER.fullmatch(text)
    return text if found is None else f"00-{found[1]}-{found[2]}-{int(found[3], 16) & 1:02x}"


def ids(traceparent: str | None) -> Mapping[str, str]:
    """Return ``trace_id`` and ``span_id`` of *traceparent* for a log; nothing if there is none."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return {} if found is None else {"trace_id": found[1], "span_id": found[2]}
