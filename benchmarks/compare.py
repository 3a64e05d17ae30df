"""Compares beers with what else there is, in interleaved rounds of one run, and with its own targets.

    python -m benchmarks.compare [--full] [--only NAME …] [--rounds N] [--seconds S] [--quick] [--output DIRECTORY]

Writes results.json and the plots, and the tables of docs/performance.md. A partial run (`--only`, `--quick`) writes
into build/bench instead, so that it cannot be mistaken for a whole one. What is measured, and how, is described in
docs/performance.md. The exit status is 1 if the measuring of anything failed; a target that is not reached is a result.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks.comparison import contenders, growth, line_up, load, machine, plots, report, rounds
from benchmarks.comparison.contenders import Contender, Unary
from benchmarks.comparison.figures import Figure, ratios
from benchmarks.comparison.ground import ROOT, Ground
from benchmarks.comparison.load import H2load, MeasuringError, Shape
from benchmarks.comparison.report import Report
from benchmarks.comparison.rounds import Effort, Results

DOCUMENT = ROOT / "docs" / "performance.md"
PUBLISHED = ROOT / "docs" / "performance"
TRIED = ROOT / "build" / "bench"

SHAPES = (Shape(1, 1), Shape(8, 1), Shape(8, 8), Shape(8, 32), Shape(8, 128))
SHARES = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9)
"""Of the most that was added a second: what is offered to see the latency under load."""

WIDTH = 160
"""Characters of a line where no terminal says how many."""

PHASES = ("concurrency", "load", "growth", "memory")
SIZES = {False: (10_000, 100_000), True: (10_000, 100_000, 1_000_000)}
ADDS = {False: 20_000, True: 1_000_000}


def main() -> int:
    """Measure what the command line says; return the exit status."""
    options = arguments()
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDTH

    def say(line: str) -> None:
        console.print(line, soft_wrap=True)

    try:
        program = load.find(say)
    except MeasuringError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    # Not in the system's temporary folder, which may be in memory: a commit has to wait for a disk.
    TRIED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ground-", dir=TRIED, ignore_cleanup_errors=True) as name:
        ground = Ground(Path(name), H2load(program, Path(name)), say)
        try:
            done = compare(ground, options, say)
        except KeyboardInterrupt:
            say("interrupted; nothing is written")
            return 130
        finally:
            ground.stop()
    options.output.mkdir(parents=True, exist_ok=True)
    done.write(options.output)
    drawn = plots.draw(done, options.output)
    if options.output == PUBLISHED:
        page = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(report.insert(page, report.tables(done)), encoding="utf-8")
    report.show(done, console)
    for file in (options.output / "results.json", *drawn):
        say(f"written: {file.relative_to(ROOT) if file.is_relative_to(ROOT) else file}")
    return 1 if done.failed else 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    names = [contender.name for contender in line_up.all_of_them()]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        allow_abbrev=False,
        epilog=f"NAME is one of {', '.join([*names, *PHASES])}.",
    )
    parser.add_argument("--full", action="store_true", help="the long ones too: a million beers, a million adds")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[*names, *PHASES], help="measure these alone")
    parser.add_argument("--rounds", type=int, metavar="N", help="figures of each contender (default: 3; full: 5)")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of one of them (default: 3; full: 5)")
    parser.add_argument("--quick", action="store_true", help="one round of half a second, to see whether all works")
    parser.add_argument("--output", type=Path, metavar="DIRECTORY", help="where the results go")
    options = parser.parse_args()
    partial = options.quick or options.only
    options.output = (options.output or (TRIED if partial else PUBLISHED)).absolute()
    options.rounds = options.rounds or (1 if options.quick else 5 if options.full else 3)
    options.seconds = options.seconds or (0.5 if options.quick else 5.0 if options.full else 3.0)
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds have to be more than 0")
    options.only = set(options.only or [*names, *PHASES])
    return options


def compare(ground: Ground, options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Measure everything that was asked for."""
    effort = Effort(options.rounds, options.seconds, warm_up=max(0.2, options.seconds / 4))
    # Sweeps have many points: fewer and shorter rounds show their shape.
    sweep = effort if options.full else replace(effort, rounds=min(2, effort.rounds), seconds=effort.seconds / 2)
    done = Report(
        how={
            "command": report.command(sys.argv[1:]),
            "date": datetime.now(UTC).date().isoformat(),
            "rounds": effort.rounds,
            "seconds": effort.seconds,
            "calls_at_a_time": load.STANDARD.calls,
            "log_level": "INFO, to a file (the default)",
        },
        machine=machine.describe(ground.load),
    )
    started = time.monotonic()

    def measure(among: list[Contender], how_much: Effort, title: str) -> Results:
        results = rounds.run(among, ground, how_much, say, title)
        done.missing |= results.missing
        done.failed |= results.failed
        return results

    chosen = [contender for contender in line_up.all_of_them() if contender.name in options.only]
    main_part = measure(chosen, effort, "contenders")
    done.figures = main_part.figures
    if "concurrency" in options.only:
        done.concurrency = _by_concurrency(measure(_concurrency(), sweep, "concurrency").figures)
    if "load" in options.only and "beers_add" in main_part.rates:
        offered = [main_part.rates["beers_add"] * share for share in SHARES]
        loaded = measure([_under_load(rate) for rate in offered], sweep, "latency under load")
        done.load = [
            {"offered": round(rate), "rate": round(figure.median), **(figure.latency_ms or {})}
            for rate in offered
            if (figure := loaded.figures.get(_under_load(rate).name))
        ]
    if "growth" in options.only:
        sizes = SIZES[options.full]
        kinds = [growth.kinds(size) for size in sizes]
        # One kind after the other, each on every store: what is compared lies next to each other in time.
        mixed = [contender for same in zip(*kinds, strict=True) for contender in same]
        done.growth = growth.curves(measure(mixed, sweep, "growth").figures, sizes)
    if "memory" in options.only:
        done.memory = _memory(ground, ADDS[options.full] if not options.quick else 1000, say, done)
    done.ratios = ratios(done.figures, done.growth)
    done.idle_cpu = ground.busiest
    done.how["minutes"] = round((time.monotonic() - started) / 60, 1)
    return done


def _concurrency() -> list[Contender]:
    return [
        replace(contender, name=f"{contender.name} @ {shape.calls}", shape=shape)
        for contender in line_up.all_of_them()
        if isinstance(contender, Unary) and contender.name in {"grpc_echo", "beers_add", "beers_get"}
        for shape in SHAPES
    ]


def _by_concurrency(figures: dict[str, Figure]) -> dict[str, dict[int, Figure]]:
    found: dict[str, dict[int, Figure]] = {}
    for name, figure in figures.items():
        server, _, calls = name.partition(" @ ")
        found.setdefault(server, {})[int(calls)] = figure
    return found


def _under_load(rate: float) -> Contender:
    return Unary(
        f"beers_add at {rate:.0f}/s",
        "durable AddBeer, SQLite, as many as are offered",
        lambda ground: contenders.of(contenders.sqlite(ground)),
        writes=1,
        offered=rate,
    )


def _memory(ground: Ground, adds: int, say: Callable[[str], None], done: Report) -> dict[str, float]:
    """Add that many beers to a fresh product, and see how much memory its processes have taken at most."""
    product = ground.product("memory")
    adding = Unary("memory", "", lambda _ground: contenders.of(product), writes=1)
    say(f"memory: {adds:,} adds")
    try:
        adding.start(ground)
        adding.add(adds)
    except MeasuringError as error:
        done.failed["memory"] = str(error)
        return {}
    return {"adds": adds} | {f"{name}_mib": mib for name, mib in product.peaks().items()}


if __name__ == "__main__":
    sys.exit(main())
