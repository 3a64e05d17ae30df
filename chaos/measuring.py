"""What the programs that hold the product to a promise share: the stage, callers beside it, and an end in order."""

import argparse
import functools
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chaos import promises
from chaos.assistant import Assistant
from chaos.parts import Part
from chaos.promises import Sample
from chaos.stage import Cast, Stage, staged

EXIT_INTERRUPTED = 130
START_PATIENCE = 60.0
END_PATIENCE = 60.0

Measure = Callable[[argparse.Namespace, Path], int]
"""Runs it with what was asked for, with a folder for the files, and returns the exit status."""


def main(parser: argparse.ArgumentParser, measure: Measure) -> int:
    """Run a program of this kind."""
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="keep the samples and logs there")
    options = parser.parse_args()
    # A supervisor's signal takes down what was started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = options.output or Path(tempfile.mkdtemp(prefix="beers-chaos-"))
    shutil.rmtree(folder, ignore_errors=True)  # what an earlier run has said would be taken for this one's words
    folder.mkdir(parents=True)
    try:
        return measure(options, folder.resolve())
    except KeyboardInterrupt:
        promises.say("interrupted; everything that was started has been stopped")
        return EXIT_INTERRUPTED
    finally:
        if options.output is None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def standing(cast: Cast, folder: Path) -> Iterator[Stage]:
    """Start the product, and wait until it serves."""
    with staged(cast, folder, promises.say) as stage:
        for name, part in stage.parts.items():
            if part.role == "bridge":
                log = Log(folder, name)
                until(functools.partial(log.count, SERVING), f"{name} serves")
        yield stage


SERVING = '"event":"serving"'
STARTED = '"event":"service started"'


class Log:
    """What a part has printed."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.log"

    def count(self, words: str) -> int:
        """Return in how many of its lines there are these *words*."""
        if not self._file.exists():
            return 0
        with self._file.open(encoding="utf-8", errors="replace") as lines:
            return sum(words in line for line in lines)


class Callers:
    """A process of callers, see `chaos.calling`."""

    def __init__(self, folder: Path, stage: Stage, *arguments: object, seed: str = "0") -> None:
        self._file = folder / f"samples-{seed}.jsonl"
        words = [str(word) for word in arguments]
        self._assistant = Assistant(
            "calling", ["--seed", seed, "--samples", str(self._file), *words, *stage.addresses], folder
        )

    def running(self) -> bool:
        """Tell whether they have begun, and have not ended."""
        if self._assistant.ended():
            failures: list[str] = []
            self._assistant.finish(failures)
            raise RuntimeError(failures[0] if failures else "the callers ended")
        return self._file.exists() and self._file.stat().st_size > 0

    def stop(self) -> list[Sample]:
        """Have them end, and return what they have measured.

        Raises:
            RuntimeError: If they do not, or have failed.
        """
        self._assistant.tell("stop")
        self._assistant.wait(END_PATIENCE)
        failures: list[str] = []
        self._assistant.finish(failures)
        if failures:
            raise RuntimeError(failures[0])
        return promises.read(self._file)

    def close(self) -> None:
        """End them, however far they have come."""
        self._assistant.close()


@contextmanager
def calling(folder: Path, stage: Stage, *arguments: object, seed: str = "0") -> Iterator[Callers]:
    """Have callers call; they have begun when this is entered."""
    callers = Callers(folder, stage, *arguments, seed=seed)
    try:
        until(callers.running, "the callers call")
        yield callers
    finally:
        callers.close()


def until(done: Callable[[], object], what: str, patience: float = START_PATIENCE) -> None:
    """Wait until *done* returns something true.

    Raises:
        RuntimeError: If it does not for *patience* seconds.
    """
    deadline = time.monotonic() + patience
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {patience:g} s: {what}")
        pause(0.05)


def pause(seconds: float) -> None:
    """Let time pass."""
    threading.Event().wait(seconds)


def pids(stage: Stage) -> dict[str, int]:
    """Return the processes of ours."""
    return {name: part.process().pid for name, part in stage.parts.items() if part.role in ("service", "bridge")}


def ended(stage: Stage, before: dict[str, int]) -> list[str]:
    """Return which of them are not those of *before*, or do not run any more."""
    return [name for name, pid in before.items() if stage.parts[name].pids() != [pid]]


def of_role(stage: Stage, role: str) -> Sequence[Part]:
    """Return the parts of a *role*."""
    return [part for part in stage.parts.values() if part.role == role]
