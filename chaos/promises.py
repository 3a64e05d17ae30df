"""What is promised of a run that measures, whether it was kept, and how that is told."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADD, GET, HEALTH = "add", "get", "health"

IN_VAIN = "mead"
"""What is looked for in vain: no beer is called so."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One call. Times are those of `time.monotonic`, which all processes of a machine share.

    Attributes:
        kind: `ADD`, `GET` or `HEALTH`.
        name: Its request id, or the address of the bridge whose health was asked for.
        due: When it was to begin.
        ended: When its outcome was known.
        code: The gRPC status, or that of the health.
        said: What the status says to a person.
    """

    kind: str
    name: str
    due: float
    ended: float
    code: str
    said: str = ""

    @property
    def seconds(self) -> float:
        """How long it took, from when it was due."""
        return self.ended - self.due


@dataclass(frozen=True, slots=True)
class Claim:
    """A figure and what it has to be.

    Attributes:
        name: What it is called, for programs.
        figure: What was measured; None if there was nothing to measure.
        bound: What it may be at most.
        meaning: What it is, for people.
    """

    name: str
    figure: float | None
    bound: float
    meaning: str

    @property
    def kept(self) -> bool:
        """Whether it is what it has to be."""
        return self.figure is not None and self.figure <= self.bound


def read(file: Path) -> list[Sample]:
    """Return the samples in *file*; a last line that was cut off is none."""
    return [Sample(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def quantile(values: Iterable[float], share: float) -> float | None:
    """Return the value that this *share* of all is not above, rounded to the tenth of a thousandth; None of none."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4) if ordered else None


def told(claims: Sequence[Claim], more: Mapping[str, Any]) -> int:
    """Tell people and programs of it; return the exit status: 0 only if every claim was kept."""
    for line in _lines(claims, more):
        say(line)
    kept = all(claim.kept for claim in claims)
    document = {"ok": kept, **{claim.name: claim.figure for claim in claims}, **more, "load": load()}
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
    return 0 if kept else 1


def say(text: str) -> None:
    """Print a line for people, beside the one for programs."""
    print(text, file=sys.stderr, flush=True)


def load() -> list[float]:
    """Return how busy the machine is: the average of the last 1, 5 and 15 minutes."""
    return [round(average, 1) for average in os.getloadavg()]


def _lines(claims: Sequence[Claim], more: Mapping[str, Any]) -> Iterator[str]:
    for claim in claims:
        figure = "nothing" if claim.figure is None else f"{claim.figure:,g}"
        yield f"{'kept' if claim.kept else 'BROKEN':8}{figure:>12}  at most {claim.bound:<8,g}{claim.meaning}"
    for name, figure in more.items():
        yield f"{'':8}{figure!s:>12}  {name.replace('_', ' ')}"
