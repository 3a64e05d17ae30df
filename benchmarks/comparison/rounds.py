"""Interleaved rounds: A B C, A B C, and so on, so that what befalls the machine for a while befalls all alike."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.comparison.contenders import Contender, Measured
from benchmarks.comparison.figures import Figure
from benchmarks.comparison.ground import Ground, NotMeasurable
from benchmarks.comparison.load import MeasuringError


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: How many figures each contender gets.
        seconds: How long one of them is measured, about.
        warm_up: Seconds before it that are discarded.
    """

    rounds: int
    seconds: float
    warm_up: float


@dataclass
class Results:
    """What came of the rounds.

    Attributes:
        figures: By contender.
        rates: Calls a second of each contender, the median, also where the figure is another one.
        missing: Contenders that this machine cannot run, and why.
        failed: Contenders whose measuring failed, and how.
    """

    figures: dict[str, Figure] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class Remaining:
    """How long the rest will take, from how long the turns so far have taken."""

    def __init__(self, turns: int) -> None:
        self._turns = turns
        self._done = 0
        self._started = time.monotonic()

    def after_one_more(self) -> str:
        """Return what to say once another turn is over."""
        self._done += 1
        seconds = (time.monotonic() - self._started) / self._done * (self._turns - self._done)
        return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"  # noqa: PLR2004 - prose


def run(
    contenders: Sequence[Contender], ground: Ground, effort: Effort, say: Callable[[str], None], title: str
) -> Results:
    """Give each contender its rounds, in turn.

    One whose measuring fails takes no further part: what it had so far is no figure.
    """
    results = Results()
    racing = [contender for contender in contenders if _started(contender, ground, results)]
    rounds: dict[str, list[Measured]] = {contender.name: [] for contender in racing}
    remaining = Remaining(effort.rounds * len(racing))
    for number in range(1, effort.rounds + 1):
        for contender in racing:
            if contender.name in results.failed:
                remaining.after_one_more()
                continue
            try:
                ground.settle()
                measured = contender.measure(effort.warm_up, effort.seconds)
            except MeasuringError as error:
                results.failed[contender.name] = str(error)
                say(f"{title}, {contender.name}: FAILED: {error}")
                continue
            rounds[contender.name].append(measured)
            shown = f"{measured.value:,.0f}" if measured.value >= 100 else f"{measured.value:.3g}"  # noqa: PLR2004
            say(
                f"{title}, round {number} of {effort.rounds}: {contender.name:<26} {shown:>9} {contender.unit:<9}"
                f" {remaining.after_one_more():>11}"
            )
    for contender in racing:
        if contender.name not in results.failed:
            results.figures[contender.name] = _figure(contender, rounds[contender.name])
            results.rates[contender.name] = median(measured.rate for measured in rounds[contender.name])
    return results


def _started(contender: Contender, ground: Ground, results: Results) -> bool:
    try:
        contender.start(ground)
    except NotMeasurable as error:
        results.missing[contender.name] = str(error)
        ground.say(f"{contender.name} is not measured: {error}")
        return False
    except MeasuringError as error:
        results.failed[contender.name] = str(error)
        ground.say(f"{contender.name}: FAILED: {error}")
        return False
    return True


def _figure(contender: Contender, measured: Sequence[Measured]) -> Figure:
    names = measured[0].latency_ms
    latency = {name: median(one.latency_ms[name] for one in measured) for name in names}
    return Figure(tuple(one.value for one in measured), contender.unit, contender.what, latency)
