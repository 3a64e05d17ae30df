"""`make bench`, in a small way: two contenders, fractions of a second."""

import json
import subprocess
import sys
from pathlib import Path

from tests.e2e.running import ROOT


def test_two_contenders_are_measured_in_turn_and_compared(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.compare", "--only", "grpc_echo", "beers_add"]
    command += ["--rounds", "2", "--seconds", "0.2", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    turns = [line.split()[5] for line in done.stdout.splitlines() if line.startswith("contenders, round")]
    assert turns == ["grpc_echo", "beers_add", "grpc_echo", "beers_add"]

    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["figures"]) == {"grpc_echo", "beers_add"}
    for figure in results["figures"].values():
        assert 0 < figure["min"] <= figure["median"] <= figure["max"]
        assert len(figure["rounds"]) == 2
        assert set(figure["latency_ms"]) == {"p50", "p90", "p99"}
    ratio = results["ratios"]["add_vs_grpc_echo"]
    assert ratio["value"] > 0
    assert ratio["reached"] is (ratio["value"] >= 0.8)
    assert results["ratios"]["growth_1m"]["reached"] is None
    assert results["failed"] == {}
    assert results["machine"]["libraries"]["nameko"] == "2.14.1"
