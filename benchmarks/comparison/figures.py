"""The figures of a comparison, and the ratios that they have to come to. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """What the rounds of one contender came to.

    Attributes:
        rounds: The figure of each round, in their order.
        unit: What they are counted in.
        what: What was measured, in a few words.
        latency_ms: Percentiles of the time that a call took under this load, the median over the rounds; empty if the
            figure has none.
    """

    rounds: tuple[float, ...]
    unit: str
    what: str = ""
    latency_ms: Mapping[str, float] | None = None

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return median(self.rounds)

    def document(self) -> dict[str, Any]:
        """Return what results.json says of it."""
        document = {
            "median": significant(self.median),
            "min": significant(min(self.rounds)),
            "max": significant(max(self.rounds)),
            "unit": self.unit,
            "rounds": [significant(value) for value in self.rounds],
            "what": self.what,
        }
        if self.latency_ms:
            document["latency_ms"] = {name: significant(value) for name, value in self.latency_ms.items()}
        return document


@dataclass(frozen=True, slots=True)
class Target:
    """A ratio that has to be reached.

    Attributes:
        name: Its name in results.json.
        what: What is divided by what.
        bound: The least that it has to be, or the most if *at_most*.
        above: The figure to be divided.
        below: By which figure; of several the highest is taken, so that nobody is compared with his worse form.
        at_most: Less is better.
    """

    name: str
    what: str
    bound: float
    above: str
    below: tuple[str, ...]
    at_most: bool = False


@dataclass(frozen=True, slots=True)
class Ratio:
    """A target, and what was measured: None if one of its figures is missing."""

    target: Target
    value: float | None

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None if nobody knows."""
        if self.value is None:
            return None
        return self.value <= self.target.bound if self.target.at_most else self.value >= self.target.bound

    def document(self) -> dict[str, Any]:
        """Return what results.json says of it."""
        return {
            "value": None if self.value is None else round(self.value, 3),
            "target": self.target.bound,
            "is": "at most" if self.target.at_most else "at least",
            "reached": self.reached,
            "what": self.target.what,
        }


SMALL, LARGE = 10_000, 1_000_000
"""Numbers of beers between which the cost of a call must not grow."""

GROWTH = Target("growth_1m", "worst cost per call at 1 M beers / at 10 k", 1.2, "growth", ("growth",), at_most=True)

TARGETS = (
    Target("add_vs_grpc_echo", "beers_add (SQLite, durable) / grpc_echo", 0.80, "beers_add", ("grpc_echo",)),
    Target("get_vs_grpc_echo", "beers_get / grpc_echo", 0.85, "beers_get", ("grpc_echo",)),
    Target("add_vs_nameko_rpc", "beers_add / nameko_rpc", 6, "beers_add", ("nameko_rpc",)),
    Target("add_vs_nameko_grpc", "beers_add / nameko_grpc", 1.7, "beers_add", ("nameko_grpc",)),
    Target(
        "add_vs_naive_bridge",
        "beers_add / naive_bridge, the quicker of its two forms",
        8,
        "beers_add",
        ("naive_bridge", "naive_bridge_kept"),
    ),
    Target("rpc_add_vs_nameko_rpc", "beers_rpc_add / nameko_rpc", 2, "beers_rpc_add", ("nameko_rpc",)),
    Target(
        "add_latency_vs_nameko_rpc",
        "p50 of one AddBeer at a time / p50 of one stock nameko_rpc call",
        0.8,
        "beers_add_latency",
        ("nameko_rpc_latency",),
        at_most=True,
    ),
    Target("import_vs_grpc_echo", "imported beers a second / grpc_echo calls a second", 12, "import", ("grpc_echo",)),
    Target("postgres_vs_sqlite", "beers_add on PostgreSQL / on SQLite", 0.7, "beers_add_postgresql", ("beers_add",)),
    GROWTH,
    Target("watch_100", "events a second delivered in all to 100 watchers / grpc_echo", 5, "watch_100", ("grpc_echo",)),
    Target(
        "add_traced_vs_add",
        "beers_add with one call in ten traced / beers_add",
        0.85,
        "beers_add_traced",
        ("beers_add",),
    ),
)


def ratios(figures: Mapping[str, Figure], growth: Mapping[str, Mapping[int, Figure]]) -> list[Ratio]:
    """Return every target with what was measured."""
    return [
        Ratio(target, worst_growth(growth, SMALL, LARGE) if target is GROWTH else divide(figures, target))
        for target in TARGETS
    ]


def divide(figures: Mapping[str, Figure], target: Target) -> float | None:
    """Return the ratio of *target*; None if a figure is missing."""
    below = [figures[name].median for name in target.below if name in figures]
    if target.above not in figures or not below:
        return None
    return figures[target.above].median / max(below)


def worst_growth(growth: Mapping[str, Mapping[int, Figure]], small: int, large: int) -> float | None:
    """Return by how much the cost of a call grows at worst from *small* to *large*; None if that was not measured."""
    grown = [costs[large].median / costs[small].median for costs in growth.values() if {small, large} <= set(costs)]
    return max(grown, default=None)


def significant(value: float) -> float:
    """Return *value* with as many digits as a measurement can mean: whole from 100 on, else three."""
    return float(round(value)) if value >= 100 else float(f"{value:.3g}")  # noqa: PLR2004 - as the docstring says


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return the percentiles that are told of latencies; of no values none."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {f"p{percent}": ordered[min(last, last * percent // 100)] for percent in (50, 90, 99) if ordered}
