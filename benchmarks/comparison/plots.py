"""The plots of a report, as SVG."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.comparison.figures import Figure
from benchmarks.comparison.report import Report

STYLE: Any = {
    "svg.hashsalt": "beers",  # the same figures make the same file
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "figure.facecolor": "white",  # readable on a dark page too
}
SIZE = (7.5, 4.5)
MARKERS = "osD^vP*Xh<"


def draw(report: Report, folder: Path) -> list[Path]:
    """Draw what was measured; return the files."""
    drawn = []
    with mpl.rc_context(STYLE):
        if report.concurrency:
            drawn.append(_concurrency(report.concurrency, folder / "throughput.svg"))
        if report.load:
            drawn.append(_latency(report.load, folder / "latency.svg"))
        if any(len(curve) > 1 for curve in report.growth.values()):
            drawn.append(_growth(report.growth, folder / "growth.svg"))
    return drawn


def _concurrency(curves: Mapping[str, Mapping[int, Figure]], file: Path) -> Path:
    plot, axes = _axes("Throughput against calls under way", "calls under way at a time", "calls a second")
    for (name, curve), marker in zip(curves.items(), MARKERS, strict=False):
        _curve(axes, name, curve, marker)
    _ticks(axes, {at for curve in curves.values() for at in curve})
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    return _save(plot, axes, file)


def _latency(load: list[dict[str, float]], file: Path) -> Path:
    plot, axes = _axes("Latency of AddBeer (SQLite, durable) against load", "calls offered a second", "milliseconds")
    for name, marker in zip(("p99", "p90", "p50"), MARKERS, strict=False):
        axes.plot([one["offered"] for one in load], [one[name] for one in load], marker=marker, label=name)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.yaxis.set_minor_formatter(FuncFormatter(_plain_where_room))
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    return _save(plot, axes, file)


def _growth(curves: Mapping[str, Mapping[int, Figure]], file: Path) -> Path:
    plot, axes = _axes("Cost of a call against beers in the store", "beers (and three times as many events)", "µs")
    for (name, curve), marker in zip(curves.items(), MARKERS, strict=False):
        _curve(axes, name, curve, marker)
    _ticks(axes, {at for curve in curves.values() for at in curve})
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    return _save(plot, axes, file)


def _axes(title: str, across: str, up: str) -> tuple[Plot, Axes]:
    plot = Plot(figsize=SIZE, layout="constrained")
    axes = plot.add_subplot()
    axes.set_title(title, loc="left")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return plot, axes


def _curve(axes: Axes, name: str, curve: Mapping[int, Figure], marker: str) -> None:
    """Draw the medians, and from the lowest round to the highest a line."""
    medians = [figure.median for figure in curve.values()]
    spread = [
        [figure.median - min(figure.rounds) for figure in curve.values()],
        [max(figure.rounds) - figure.median for figure in curve.values()],
    ]
    axes.errorbar(list(curve), medians, yerr=spread, marker=marker, capsize=3, label=name)


def _ticks(axes: Axes, at: Iterable[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(sorted(at))
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.xaxis.set_minor_locator(NullLocator())


def _plain(value: float, _place: object = None) -> str:
    return f"{value:,.0f}" if value >= 1 or not value else f"{value:g}"


def _plain_where_room(value: float, _place: object = None) -> str:
    return _plain(value) if f"{value:e}"[0] in "25" else ""


def _save(plot: Plot, axes: Axes, file: Path) -> Path:
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    plot.savefig(file, metadata={"Date": None})
    return file
