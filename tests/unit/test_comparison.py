"""The benchmarks' arithmetic: figures, ratios, what h2load says, and the page that they are written into."""

import pytest

from benchmarks.comparison import load, report
from benchmarks.comparison.figures import TARGETS, Figure, Ratio, Target, percentiles, ratios, significant, worst_growth
from benchmarks.comparison.load import MeasuringError, Run
from benchmarks.comparison.report import BEGIN, END, Report

PRINTED = """\
finished in 2.50s, 1600.25 req/s, 208.59KB/s
requests: 4000 total, 4000 started, 4000 done, 4000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 4000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 521.48KB (534000) total, 31.25KB (32000) headers (space savings 93.75%), 429.69KB (440000) data
"""


def test_a_figure_is_the_median_of_its_rounds_and_keeps_all_of_them() -> None:
    document = Figure((3.0, 1.0, 200.4), "calls/s", "what it is").document()
    assert (document["median"], document["min"], document["max"]) == (3, 1, 200)
    assert document["rounds"] == [3, 1, 200]


@pytest.mark.parametrize(("value", "shown"), [(1234.56, 1235), (99.96, 100), (12.345, 12.3), (0.012345, 0.0123)])
def test_a_figure_has_no_more_digits_than_it_can_mean(value: float, shown: float) -> None:
    assert significant(value) == shown


def test_the_ratios_have_the_names_and_bounds_that_were_agreed() -> None:
    assert {target.name: (target.bound, target.at_most) for target in TARGETS} == {
        "add_vs_grpc_echo": (0.80, False),
        "get_vs_grpc_echo": (0.85, False),
        "add_vs_nameko_rpc": (6, False),
        "add_vs_nameko_grpc": (1.7, False),
        "add_vs_naive_bridge": (8, False),
        "rpc_add_vs_nameko_rpc": (2, False),
        "add_latency_vs_nameko_rpc": (0.8, True),
        "import_vs_grpc_echo": (12, False),
        "postgres_vs_sqlite": (0.7, False),
        "growth_1m": (1.2, True),
        "watch_100": (5, False),
        "add_traced_vs_add": (0.85, False),
    }


def test_a_ratio_is_of_medians_and_against_the_quicker_form_of_a_contender() -> None:
    figures = {
        "beers_add": Figure((10.0, 100.0, 1000.0), "calls/s"),
        "naive_bridge": Figure((4.0,), "calls/s"),
        "naive_bridge_kept": Figure((20.0,), "calls/s"),
    }
    found = {ratio.target.name: ratio for ratio in ratios(figures, {})}
    assert found["add_vs_naive_bridge"].value == 5
    assert found["add_vs_naive_bridge"].reached is False
    assert found["add_vs_grpc_echo"].value is None
    assert found["add_vs_grpc_echo"].reached is None


@pytest.mark.parametrize(("value", "at_most", "reached"), [(2, False, True), (1.9, False, False), (2.1, True, False)])
def test_a_target_is_reached_from_its_own_side(value: float, at_most: bool, reached: bool) -> None:  # noqa: FBT001 - a case
    assert Ratio(Target("name", "what", 2, "above", ("below",), at_most=at_most), value).reached is reached


def test_growth_is_that_of_the_call_that_grows_most_and_needs_both_sizes() -> None:
    def curve(*costs: float) -> dict[int, Figure]:
        return {size: Figure((cost,), "µs") for size, cost in zip((10, 100, 1000), costs, strict=False)}

    growth = {"add": curve(100, 900, 110), "get": curve(50, 50, 75), "list": curve(10, 90)}
    assert worst_growth(growth, 10, 1000) == 1.5
    assert worst_growth({"list": curve(10, 90)}, 10, 1000) is None


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentiles([float(number) for number in range(101)]) == {"p50": 50, "p90": 90, "p99": 99}
    assert percentiles([7.0]) == {"p50": 7, "p90": 7, "p99": 7}
    assert percentiles([]) == {}


def test_what_h2load_says_is_read() -> None:
    run = load.parse(PRINTED, "1700000000000000\t200\t1500\n1700000000000001\t200\t2500\n", 4000)
    assert run == Run(4000, 1600.25, 440000, (1.5, 2.5))


def test_a_run_in_which_a_call_failed_is_no_figure() -> None:
    with pytest.raises(MeasuringError, match="3999 succeeded"):
        load.parse(PRINTED.replace("4000 succeeded", "3999 succeeded"), "", 4000)
    with pytest.raises(MeasuringError, match="something else"):
        load.parse("finished", "", 4000)


def test_a_grpc_failure_which_http_calls_a_success_shows_in_the_bytes() -> None:
    run = Run(4000, 1600.0, 440_000)
    load.check(run, 440_000, exact=True)
    load.check(run, 445_000, exact=False)
    with pytest.raises(MeasuringError, match="failed"):
        load.check(run, 440_110, exact=True)
    with pytest.raises(MeasuringError, match="failed"):
        load.check(run, 480_000, exact=False)


def test_the_page_names_the_command_that_gives_its_figures() -> None:
    assert report.command(["--full", "--rounds", "3"]) == 'make bench-full ARGS="--rounds 3"'
    assert report.command(["--only", "beers_add"]) == 'make bench ARGS="--only beers_add"'
    assert report.command([]) == "make bench"


def test_the_page_keeps_what_was_written_by_hand() -> None:
    page = f"# Title\n\n{BEGIN}\n\nold\n\n{END}\n\nBy hand.\n"
    once = report.insert(page, "new")
    assert once == f"# Title\n\n{BEGIN}\n\nnew\n\n{END}\n\nBy hand.\n"
    assert report.insert(once, "new") == once
    with pytest.raises(ValueError, match="marks"):
        report.insert("# Title\n", "new")


def test_the_tables_tell_what_was_reached_what_not_and_what_was_not_measured() -> None:
    figures = {
        "beers_add": Figure((900.0, 1000.0, 1100.0), "calls/s", "durable AddBeer"),
        "grpc_echo": Figure((2000.0,), "calls/s", "the ceiling"),
        "nameko_rpc": Figure((100.0,), "calls/s", "stock"),
    }
    machine = {"cores": 2, "cpu": "a processor", "memory_gib": 4, "system": "Linux", "python": "3.11"}
    done = Report(
        how={"command": "make bench", "date": "2026-01-02", "rounds": 3, "seconds": 3.0},
        machine=machine | {"fsync_ms": 1.5, "load_average_before": 0.1},
        figures=figures,
        missing={"nameko_grpc": "it cannot be installed"},
        ratios=ratios(figures, {}),
    )
    text = report.tables(done)
    assert (
        "| `add_vs_grpc_echo` | beers_add (SQLite, durable) / grpc_echo | at least 0.8 | 0.50 | **not reached** |"
        in text
    )
    assert "| `add_vs_nameko_rpc` | beers_add / nameko_rpc | at least 6 | 10.00 | reached |" in text
    assert "| `growth_1m` | worst cost per call at 1 M beers / at 10 k | at most 1.2 | - | not measured |" in text
    assert "| `beers_add` | durable AddBeer | 1,000 | 900-1,100 | calls/s |" in text
    assert "not measured: it cannot be installed" in text
    assert report.WARNING not in text
    done.machine["load_average_before"] = 1.5
    assert report.WARNING in report.tables(done)
