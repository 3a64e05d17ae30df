"""The timeline of a run: what happened in each second, and its picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot

from chaos.history import ACKNOWLEDGED, Call
from chaos.schedule import CLIENTS, FULL, KILL, KINDS, STORE, Fault

STYLE: Any = {
    "svg.hashsalt": "beers",  # the same run makes the same file
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "figure.facecolor": "white",  # readable on a dark page too
}
COLOURS = dict(
    zip(
        KINDS,
        ("tab:red", "tab:blue", "tab:purple", "tab:brown", "tab:pink", "tab:olive", "tab:orange", "tab:gray"),
        strict=True,
    )
)
SHORTEST = 0.25
"""Seconds as wide as which a band is drawn at least."""


AFTER = 10.0
"""Seconds after a fault in which a silence counts as its consequence."""


@dataclass(frozen=True, slots=True)
class Second:
    """One second of a run.

    Attributes:
        at: When it began, in seconds after the beginning of the run.
        acknowledged: How many calls were answered in it.
        failed: How many attempts of calls that ended in it had failed.
        median: The median time that the acknowledged calls took, in seconds, with all their attempts; None if there
            was none.
        longest: The longest of these times.
    """

    at: int
    acknowledged: int
    failed: int
    median: float | None
    longest: float | None


def timeline(calls: Sequence[Call], seconds: float) -> list[Second]:
    """Return what happened in each second, from the first to the last call's end or the run's."""
    last = int(max((call.ended for call in calls), default=0.0))
    answered: list[list[float]] = [[] for _ in range(max(last + 1, int(seconds)))]
    failed = [0] * len(answered)
    for call in calls:
        second = int(call.ended)
        failed[second] += len(call.failures) + (call.outcome not in {ACKNOWLEDGED, "refused"})
        if call.outcome == ACKNOWLEDGED:
            answered[second].append(call.ended - call.began)
    return [
        Second(at, len(times), failed[at], median(times) if times else None, max(times) if times else None)
        for at, times in enumerate(answered)
    ]


def longest_silence(calls: Sequence[Call]) -> float:
    """Return the longest time in which no call was answered, in seconds."""
    ends = sorted(call.ended for call in calls if call.outcome == ACKNOWLEDGED)
    return max((later - earlier for earlier, later in pairwise(ends)), default=0.0)


def silences(calls: Sequence[Call], moments: Sequence[float]) -> list[float]:
    """Return for each of these moments the longest time without an answer that reached into the `AFTER` behind it."""
    ends = sorted(call.ended for call in calls if call.outcome == ACKNOWLEDGED)
    return [
        round(
            max(
                (later - earlier for earlier, later in pairwise(ends) if later > moment and earlier < moment + AFTER),
                default=0.0,
            ),
            3,
        )
        for moment in moments
    ]


def draw(seconds: Sequence[Second], faults: Sequence[Fault], title: str, file: Path) -> None:
    """Draw rate, latency and faults above each other, as SVG."""
    with mpl.rc_context(STYLE):
        plot = Plot(figsize=(11, 7), layout="constrained")
        rate, latency, bands = plot.subplots(3, 1, sharex=True, height_ratios=[3, 3, 2])
        rate.set_title(title, loc="left")
        _rate(rate, seconds)
        _latency(latency, seconds)
        _bands(bands, faults, (rate, latency))
        plot.savefig(file, metadata={"Date": None})


def _rate(axes: Axes, seconds: Sequence[Second]) -> None:
    axes.plot([one.at for one in seconds], [one.acknowledged for one in seconds], color="tab:blue", label="answered")
    axes.plot(
        [one.at for one in seconds], [one.failed for one in seconds], color="tab:red", lw=0.8, label="failed attempts"
    )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("calls a second")
    axes.legend(loc="upper right")


def _latency(axes: Axes, seconds: Sequence[Second]) -> None:
    known = [one for one in seconds if one.median is not None and one.longest is not None]
    at = [one.at for one in known]
    axes.plot(at, [(one.longest or 0.0) * 1000 for one in known], ".", ms=3, color="tab:orange", label="longest")
    axes.plot(at, [(one.median or 0.0) * 1000 for one in known], color="tab:green", label="median")
    axes.set_yscale("log")
    axes.set_ylabel("milliseconds, retries included")
    axes.legend(loc="upper right")


def _bands(axes: Axes, faults: Sequence[Fault], others: Sequence[Axes]) -> None:
    kinds = [kind for kind in KINDS if any(fault.kind == kind for fault in faults)]
    rows = sorted({fault.target for fault in faults}, key=lambda target: (target in {CLIENTS, STORE}, target))
    for kind in kinds:
        colour = COLOURS[kind]
        mine = [fault for fault in faults if fault.kind == kind]
        axes.barh(
            [rows.index(fault.target) for fault in mine],
            [max(fault.seconds, SHORTEST) for fault in mine],
            left=[fault.at for fault in mine],
            color=colour,
            label=kind,
        )
        if kind in {KILL, FULL}:
            for fault in mine:
                for other in others:
                    other.axvspan(fault.at, fault.at + max(fault.seconds, SHORTEST), color=colour, alpha=0.12, lw=0)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel("seconds after the beginning")
    if kinds:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncol=len(kinds))
