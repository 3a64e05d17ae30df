"""How the rows of a file reach the service: in segments, each one ImportBeers call, until each has its answer.

Loads gRPC, so whoever imports this does so late; see `options.load_grpc`.
"""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from beers_cli.client import Catalogue, delay_before
from beers_cli.failure import INTERRUPTED, Failure
from beers_cli.problem import Problem
from beers_cli.rows import Lines, Refused, Row, Source
from grpc_bridge.proto.beers.v1.beers_pb2 import AddBeerRequest, ImportBeersRequest, ImportBeersResponse

CHUNK_ROWS = 1000
"""Rows in a message; the service takes no more."""

CHUNK_BYTES = 1_000_000
"""Bytes of a message, unless a single row has more; the bridge takes 8 MB."""

SEGMENT_ROWS = 4000
"""Rows in a call: enough for the service to be busy with one message while the next is on its way, and few enough that
their answer comes within a second or so."""

_IMPORT_ID_LENGTH = 64
_TICK = 0.25


@dataclass
class Summary:
    """What became of the rows of a file."""

    read: int = 0
    added: int = 0
    already_there: int = 0
    refusals: list[Refused] = field(default_factory=list)

    @property
    def done(self) -> int:
        """How many rows are accounted for."""
        return self.added + self.already_there + len(self.refusals)

    @property
    def sentence(self) -> str:
        """The same in words."""
        return (
            f"{self.read:,} rows read: {self.added:,} added, {self.already_there:,} already there, "
            f"{len(self.refusals):,} refused."
        )


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows that travel in one call.

    Attributes:
        lines: The lines of each in the file.
        beers: Each as the service reads it.
        position: How much of the file was read when the last of them was.
        counted: Whether it is known how many were added, and only some refusals are to be told yet.
    """

    lines: Sequence[Lines]
    beers: Sequence[AddBeerRequest]
    position: int
    counted: bool = False

    def part(self, start: int, end: int | None = None, *, counted: bool = False) -> "Segment":
        """Return the rows from *start* on, up to *end* if it is given."""
        return Segment(self.lines[start:end], self.beers[start:end], self.position, self.counted or counted)

    def chunks(self) -> list[ImportBeersRequest]:
        """Return the messages of the call. It is named after its first row: sent again, it is called the same."""
        chunks: list[ImportBeersRequest] = []
        size = CHUNK_BYTES
        for beer in self.beers:
            size += beer.ByteSize()
            if size > CHUNK_BYTES or len(chunks[-1].beers) == CHUNK_ROWS:
                chunks.append(ImportBeersRequest(import_id=self.beers[0].request_id[:_IMPORT_ID_LENGTH]))
                size = beer.ByteSize()
            chunks[-1].beers.append(beer)
        return chunks


class Importer:
    """Sends rows to the service in order, a segment at a time.

    A segment without an answer (the service or the way to it is down) is sent again, with the same request ids and ever
    longer pauses. That is why `kill -9` of the service in the middle of an import costs time and nothing else.

    Args:
        catalogue: Where to.
        summary: Filled in as answers come.
        patience: Seconds without any answer after which to give up.
        on_progress: Called with every refusal, or None a few times a second, and with how much of the file is
            accounted for.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        summary: Summary,
        patience: float,
        on_progress: Callable[[Refused | None, int], None],
    ) -> None:
        self._catalogue = catalogue
        self._summary = summary
        self._patience = patience
        self._on_progress = on_progress
        self._position = 0
        self._raise_if_interrupted: Callable[[], None] = lambda: None

    def run(self, rows: Iterator[Row | Refused], source: Source) -> None:
        """Import *rows* of *source*; return when each is accounted for.

        Raises:
            Failure: If no answer came for too long, or the service will have none of it.
        """
        with _held_interrupts() as self._raise_if_interrupted:
            # One after the other: reading on may wait for a slow pipe, and a call that failed would wait with it.
            for segment in self._segments(rows, source):
                self._finish(segment)

    def _segments(self, rows: Iterator[Row | Refused], source: Source) -> Iterator[Segment]:
        lines: list[Lines] = []
        beers: list[AddBeerRequest] = []
        for row in rows:
            self._raise_if_interrupted()
            self._summary.read += 1
            if isinstance(row, Refused):
                self._refuse(row)
                continue
            known = {name: value for name, value in row.details.items() if value is not None}
            lines.append(row.lines)
            beers.append(AddBeerRequest(**known, request_id=row.request_id))  # type: ignore[arg-type] # as rows.py made them
            if len(beers) == SEGMENT_ROWS:
                yield Segment(lines, beers, source.read)
                lines, beers = [], []
        if beers:
            yield Segment(lines, beers, source.read)

    def _finish(self, segment: Segment) -> None:
        """See to it that every row of *segment* is accounted for."""
        left = deque([segment])
        while left:
            part = left.popleft()
            answer = self._answer(part)
            if isinstance(answer, ImportBeersResponse):
                left.extendleft(self._take(part, answer))
            elif len(part.beers) == 1:
                self._refuse(Refused(part.lines[0], answer.field, answer.why or answer.message))
            else:
                # One of them is more than the service can take, and does not say which. It must not cost the others.
                middle = len(part.beers) // 2
                left.extendleft([part.part(middle), part.part(0, middle)])
        self._position = segment.position
        self._look()

    def _answer(self, segment: Segment) -> ImportBeersResponse | Problem:
        """Return the answer to *segment*, sent again if need be, or what the service has against it."""
        started = time.monotonic()
        attempt = 1
        while True:
            call = self._catalogue.begin_import(segment.chunks())
            error = self._wait(call)
            if error is None:
                response: ImportBeersResponse = call.result()
                return response
            problem = Problem.of(error)
            if problem.about_the_request and not problem.passing:
                return problem
            failure = self._catalogue.failure(problem)
            if not problem.passing:
                raise failure
            if time.monotonic() - started > self._patience:
                raise Failure(f"No answer for {self._patience:g} s. {failure.message}", failure.hint, **failure.facts)
            self._pause(delay_before(attempt, problem.retry_after))
            attempt += 1

    def _take(self, segment: Segment, response: ImportBeersResponse) -> list[Segment]:
        """Take *response* in; return the rows whose refusals it does not tell, if there are any."""
        if not segment.counted:
            self._summary.added += response.added
            self._summary.already_there += response.already_added
        for failure in response.failures:
            self._refuse(Refused(segment.lines[failure.index], failure.field, failure.reason))
        if response.refused == len(response.failures):
            return []
        return [segment.part(response.failures[-1].index + 1, counted=True)]

    def _refuse(self, refusal: Refused) -> None:
        self._summary.refusals.append(refusal)
        self._on_progress(refusal, self._position)

    def _wait(self, call: Any) -> Any:
        """Wait for the end of *call* and return the error that it ended in; None if there is none."""
        ended = threading.Event()
        call.add_done_callback(lambda _: ended.set())
        while not ended.wait(_TICK):
            self._look()
        return call.exception()

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._look()
            time.sleep(min(left, _TICK))

    def _look(self) -> None:
        self._raise_if_interrupted()
        self._on_progress(None, self._position)


@contextmanager
def _held_interrupts() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until the given function is called, which raises it then; a second one ends at once.

    Raised wherever the program happens to be, it gets lost in a callback of gRPC's, or cuts a call off half begun.
    """
    interrupted = False

    def on_interrupt(_number: int, _frame: object) -> None:
        nonlocal interrupted
        if interrupted:
            os._exit(INTERRUPTED)
        interrupted = True

    def raise_if_interrupted() -> None:
        if interrupted:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield raise_if_interrupted
    finally:
        signal.signal(signal.SIGINT, before)
