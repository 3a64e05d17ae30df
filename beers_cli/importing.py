"""`beers import`: adds the beers of a file, many at a time, each exactly once however often it is run."""

import heapq
import itertools
import os
import queue
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beers_cli.failure import INTERRUPTED, Failure
from beers_cli.options import DEFAULT_ADDRESS, Address, AsJson, Timeout, connect, print_json
from beers_cli.progress import Progress
from beers_cli.rows import FORMATS, Refused, Row, Source, guess_format

if TYPE_CHECKING:
    from beers_cli.client import Catalogue
    from beers_cli.problem import Problem

_OUTSTANDING = 64
_TICK = 0.25

commands = typer.Typer()


@dataclass
class Summary:
    """What became of the rows of a file."""

    read: int = 0
    added: int = 0
    already_there: int = 0
    refusals: list[Refused] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """The same in words."""
        return (
            f"{self.read:,} rows read: {self.added:,} added, {self.already_there:,} already there, "
            f"{len(self.refusals):,} refused."
        )


@commands.command("import")
def import_beers(
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to read; - is standard input.")],
    file_format: Annotated[
        str, typer.Option("--format", metavar="csv|jsonl", help="Guessed from the name or the content if not given.")
    ] = "",
    keep_zero: Annotated[
        bool, typer.Option("--keep-zero", help="0 in abv and ibu is a zero; without this it means unknown.")
    ] = False,
    patience: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Give up after so long without any answer.")
    ] = 60.0,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = 10.0,
) -> None:
    """Add the beers of a CSV or JSON Lines file.

    Reads the columns name, brewery, style, abv, ibu and description; the first is required. Empty and 0 in abv and
    ibu mean unknown. Rows that are refused are reported with their line, and the rest goes on.

    Running it again adds nothing twice, also after an interruption and with rows appended, for as long as the
    service remembers requests (7 days unless it is set up otherwise). The exit status is 1 if a row was refused.
    """
    if file_format and file_format not in FORMATS:
        raise typer.BadParameter("--format must be csv or jsonl")
    with _opened(file) as opened, connect(address, timeout) as catalogue:
        start = opened.peek(4096)
        source = Source(opened, file_format or guess_format(file, start), keep_zero=keep_zero)
        summary = _import(source, catalogue, patience, as_json=as_json, size=_size(file))
    if as_json:
        refusals = [asdict(refusal) for refusal in summary.refusals]
        print_json(
            asdict(summary) | {"refused": len(refusals), "refusals": refusals, "ignored_columns": source.ignored}
        )
    else:
        typer.echo(summary.sentence)
    if summary.refusals:
        raise typer.Exit(1)


def _import(source: Source, catalogue: "Catalogue", patience: float, *, as_json: bool, size: int | None) -> Summary:
    summary = Summary()
    rows = source.rows()
    with Progress("imported", size) as progress:
        try:
            first = next(rows, None)  # a file that is none of beers is refused before anything is sent
            if source.ignored:
                progress.say(f"Columns that are not read: {', '.join(source.ignored)}")

            def on_progress(refusal: Refused | None) -> None:
                if refusal is not None and not as_json:
                    at = f"{refusal.field}: " if refusal.field else ""
                    progress.say(f"line {refusal.line}: {at}{refusal.reason}")
                done = summary.added + summary.already_there + len(summary.refusals)
                progress.update(done, source.read)

            remaining = rows if first is None else itertools.chain([first], rows)
            Importer(catalogue, summary, patience, on_progress).run(remaining)
        except (Failure, KeyboardInterrupt):
            if summary.read:
                progress.say(f"Not finished. {summary.sentence}")
                progress.say("Run the same command again: what is there already is not added twice.")
            raise
    return summary


class Importer:
    """Sends rows to the service, up to 64 at a time, until each has its answer.

    A row without one (the service or the way to it is down) is sent again, with the same request id and ever longer
    pauses. That is why `kill -9` of the service in the middle of an import costs time and nothing else.
    """

    def __init__(
        self,
        catalogue: "Catalogue",
        summary: Summary,
        patience: float,
        on_progress: Callable[[Refused | None], None],
    ) -> None:
        """Prepare to import.

        Args:
            catalogue: Where to.
            summary: Filled in as answers come.
            patience: Seconds without any answer after which to give up.
            on_progress: Called with every refusal, and with None a few times a second.
        """
        self._catalogue = catalogue
        self._summary = summary
        self._patience = patience
        self._on_progress = on_progress
        self._finished: queue.SimpleQueue[tuple[Row, int, Any]] = queue.SimpleQueue()
        self._waiting: list[tuple[float, int, Row, int]] = []  # when to send again, line, row, which try it will be
        self._flying = 0
        self._last_answer = time.monotonic()
        self._highest_before = 0

    def run(self, rows: Iterator[Row | Refused]) -> None:
        """Import *rows*; return when each is accounted for.

        Raises:
            Failure: If no answer came for too long, or the service will have none of it.
        """
        # An answer to a repeated request is that of the first time: its beer is older than this run.
        self._highest_before = self._catalogue.highest_id()
        self._last_answer = time.monotonic()
        with _held_interrupts() as raise_if_interrupted:
            self._run(rows, raise_if_interrupted)

    def _run(self, rows: Iterator[Row | Refused], raise_if_interrupted: Callable[[], None]) -> None:
        exhausted = False
        while not exhausted or self._flying or self._waiting:
            raise_if_interrupted()
            while not exhausted and self._flying + len(self._waiting) < _OUTSTANDING:
                row = next(rows, None)
                if row is None:
                    exhausted = True
                    break
                self._summary.read += 1
                if isinstance(row, Row):
                    self._send(row, 1)
                else:
                    self._refuse(row)
            self._send_again()
            self._receive()

    def _send(self, row: Row, attempt: int) -> None:
        self._flying += 1
        future = self._catalogue.begin_add(row.details, row.request_id)
        future.add_done_callback(lambda done: self._finished.put((row, attempt, done)))

    def _send_again(self) -> None:
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            _, _, row, attempt = heapq.heappop(self._waiting)
            self._send(row, attempt)

    def _receive(self) -> None:
        """Wait for an answer, or until there is something to send again, and take in all answers that are there."""
        pause = max(0.0, min(_TICK, self._waiting[0][0] - time.monotonic())) if self._waiting else _TICK
        try:
            self._take(*self._finished.get(timeout=pause))
            while not self._finished.empty():
                self._take(*self._finished.get_nowait())
        except queue.Empty:
            if not self._flying and not self._waiting:
                return
        self._on_progress(None)

    def _take(self, row: Row, attempt: int, done: Any) -> None:
        from beers_cli.problem import Problem  # noqa: PLC0415 - see options.load_grpc

        self._flying -= 1
        error = done.exception()
        if error is None:
            self._last_answer = time.monotonic()
            if done.result().beer.id > self._highest_before:
                self._summary.added += 1
            else:
                self._summary.already_there += 1
            return
        problem = Problem.of(error)
        if problem.passing:
            self._postpone(row, attempt, problem)
        elif problem.about_the_request:
            self._last_answer = time.monotonic()
            self._refuse(Refused(row.line, problem.field, problem.why or problem.message))
        else:
            raise self._catalogue.failure(problem)

    def _postpone(self, row: Row, attempt: int, problem: "Problem") -> None:
        from beers_cli.client import delay_before  # noqa: PLC0415 - see options.load_grpc

        now = time.monotonic()
        if now - self._last_answer > self._patience:
            failure = self._catalogue.failure(problem)
            raise Failure(f"No answer for {self._patience:g} s. {failure.message}", failure.hint, **failure.facts)
        heapq.heappush(self._waiting, (now + delay_before(attempt, problem.retry_after), row.line, row, attempt + 1))

    def _refuse(self, refusal: Refused) -> None:
        self._summary.refusals.append(refusal)
        self._on_progress(refusal)


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


def _opened(file: str) -> Any:
    if file == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise Failure(f"Cannot read {file}: {error.strerror}.") from error


def _size(file: str) -> int | None:
    path = Path(file)
    return path.stat().st_size if file != "-" and path.is_file() else None
