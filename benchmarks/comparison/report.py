"""The results as a document, as tables for docs/performance.md and as tables for a terminal."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.comparison.figures import Figure, Ratio, significant

BEGIN = "<!-- Between these two lines `make bench` writes. -->"
END = "<!-- From here on by hand. -->"
WARNING = "**The machine was busy with other work: these figures mean little, and have to be measured again.**"
BUSY = 0.25
"""Of each core: from such a load average on the machine had other things to do."""

Rows = list[Sequence[str]]


@dataclass
class Report:
    """Everything that was measured.

    Attributes:
        how: The command, the rounds and the date.
        machine: See `machine.describe`.
        figures: By contender.
        missing: Contenders that this machine cannot run, and why.
        failed: Contenders whose measuring failed, and how.
        ratios: All targets, measured or not.
        concurrency: Calls a second by server and by calls at a time.
        load: Latency by offered calls a second, lowest first.
        growth: Cost of a call by its kind and by the number of beers.
        memory: What the processes took at most, and after how many adds.
        idle_cpu: Of one core: the most that the idle servers took together while another was measured.
    """

    how: dict[str, Any]
    machine: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    ratios: list[Ratio] = field(default_factory=list)
    concurrency: dict[str, dict[int, Figure]] = field(default_factory=dict)
    load: list[dict[str, float]] = field(default_factory=list)
    growth: dict[str, dict[int, Figure]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    idle_cpu: float = 0.0

    def document(self) -> dict[str, Any]:
        """Return results.json."""
        return {
            "how": self.how,
            "machine": self.machine,
            "ratios": {ratio.target.name: ratio.document() for ratio in self.ratios},
            "figures": {name: figure.document() for name, figure in self.figures.items()},
            "not_measured": self.missing,
            "failed": self.failed,
            "memory": self.memory,
            "concurrency": _curves(self.concurrency),
            "latency_under_load": self.load,
            "growth": _curves(self.growth),
            "idle_cpu": round(self.idle_cpu, 3),
        }

    def write(self, folder: Path) -> None:
        """Write results.json into *folder*."""
        text = json.dumps(self.document(), indent=2, ensure_ascii=False)
        (folder / "results.json").write_text(f"{text}\n", encoding="utf-8")


def command(given: Sequence[str]) -> str:
    """Return what one says to `make` for these arguments."""
    target = "make bench-full" if "--full" in given else "make bench"
    others = shlex.join(argument for argument in given if argument != "--full")
    return f'{target} ARGS="{others}"' if others else target


def ratio_rows(ratios: Iterable[Ratio]) -> Rows:
    """Return the ratios as rows of text."""
    words = {None: "not measured", True: "reached", False: "**not reached**"}
    return [
        (
            f"`{ratio.target.name}`",
            ratio.target.what,
            f"{'at most' if ratio.target.at_most else 'at least'} {ratio.target.bound:g}",
            "-" if ratio.value is None else f"{ratio.value:.2f}",
            words[ratio.reached],
        )
        for ratio in ratios
    ]


def figure_rows(report: Report) -> Rows:
    """Return the figures as rows of text; those that are missing too, with the reason."""
    rows: Rows = [
        (
            f"`{name}`",
            figure.what,
            shown(figure.median),
            f"{shown(min(figure.rounds))}-{shown(max(figure.rounds))}",
            figure.unit,
        )
        for name, figure in report.figures.items()
    ]
    rows += [(f"`{name}`", f"not measured: {why}", "-", "-", "") for name, why in report.missing.items()]
    rows += [(f"`{name}`", f"failed: {why}", "-", "-", "") for name, why in report.failed.items()]
    return rows


def growth_rows(growth: Mapping[str, Mapping[int, Figure]]) -> Rows:
    """Return the growth curves as rows of text, one for each kind of call."""
    sizes = sorted({size for costs in growth.values() for size in costs})
    return [
        (
            kind,
            *(shown(costs[size].median) if size in costs else "-" for size in sizes),
            f"{costs[max(costs)].median / costs[min(costs)].median:.2f}",
        )
        for kind, costs in growth.items()
    ]


def tables(report: Report) -> str:
    """Return what stands between the marks in docs/performance.md."""
    how, machine = report.how, report.machine
    lines = [
        (
            f"`{how['command']}` on {how['date']}: {how['rounds']} interleaved rounds of {how['seconds']:g} s, on"
            f" {machine['cores']} cores of {machine['cpu']} ({machine['memory_gib']} GiB, {machine['system']}), with"
            f" Python {machine['python']}; the disk keeps a page for good in {machine['fsync_ms']:g} ms. Load average"
            f" before: {machine['load_average_before']:g}."
        ),
        *(["", WARNING] if machine["load_average_before"] > BUSY * machine["cores"] else []),
        "",
        *_table(("ratio", "is", "target", "measured", ""), ratio_rows(report.ratios)),
        "",
        *_table(("figure", "what it is", "median", "min-max", "unit"), figure_rows(report)),
    ]
    if report.memory:
        memory = report.memory
        lines += [
            "",
            (
                f"After {memory['adds']:,.0f} adds the bridge had taken {memory['bridge_mib']:.0f} MiB at most, the"
                f" service {memory['service_mib']:.0f} MiB."
            ),
        ]
    if report.growth:
        sizes = sorted({size for costs in report.growth.values() for size in costs})
        head = ("cost of a call, µs", *(f"{size:,} beers" for size in sizes), "last / first")
        lines += ["", *_table(head, growth_rows(report.growth))]
    return "\n".join(lines)


def insert(page: str, text: str) -> str:
    """Return *page* with *text* between its marks.

    Raises:
        ValueError: If it has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks its marks: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def show(report: Report, console: Console) -> None:
    """Print the tables."""
    for head, rows in (
        (("figure", "what it is", "median", "min-max", "unit"), figure_rows(report)),
        (("ratio", "is", "target", "measured", ""), ratio_rows(report.ratios)),
    ):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in head:
            table.add_column(column, justify="right" if column in {"median", "min-max", "measured"} else "left")
        for row in rows:
            table.add_row(*(cell.replace("`", "").replace("**", "") for cell in row))
        console.print(table)


def shown(value: float) -> str:
    """Return *value* as people read it."""
    rounded = significant(value)
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"  # noqa: PLR2004 - see `significant`


def _table(head: Sequence[str], rows: Rows) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _curves(curves: Mapping[str, Mapping[int, Figure]]) -> dict[str, Any]:
    return {
        name: {str(at): figure.document() for at, figure in curve.items()} for name, curve in curves.items() if curve
    }
