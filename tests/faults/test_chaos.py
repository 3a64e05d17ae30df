"""`make chaos`, short: half a minute in which each part is killed. docs/reliability.md has the long ones.

BEERS_TEST_CHAOS_SECONDS in the environment says for how long the form on PostgreSQL runs; without it that is skipped.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import ROOT

SECONDS = float(os.environ.get("BEERS_TEST_CHAOS_SECONDS", "0"))
AFTERWARDS = 240.0
"""Seconds that starting everything and reading it back may take besides, on a busy machine."""


def chaos(folder: Path, *arguments: str, patience: float) -> dict[str, Any]:
    """Run it, see that all is well, and return the line for programs."""
    with subprocess.Popen(
        [sys.executable, "-m", "chaos", "--output", str(folder), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            printed, told = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.terminate()  # it stops what it has started
            printed, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
    result: dict[str, Any] = json.loads(printed)
    return result


@pytest.mark.timeout(AFTERWARDS + 60)
def test_nothing_acknowledged_is_lost_when_each_part_is_killed_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = chaos(folder, "--seed", "1", "--short", patience=AFTERWARDS)
    assert result["ok"]
    assert result["kills"] == {"service": 1, "bridge": 1, "rabbitmq": 1, "subscriber": 1}
    assert result["acknowledged"] > 100
    assert (result["lost"], result["unexpected"], result["duplicated"], result["gaps"]) == (0, 0, 0, 0)
    kept = {path.name for path in folder.iterdir()}
    assert {"history.jsonl", "faults.json", "result.json", "timeline.svg", "service-1.log", "bridge-1.log"} <= kept
    assert (folder / "history.jsonl").read_text().count("\n") >= result["attempted"]


@pytest.mark.skipif(not SECONDS, reason="BEERS_TEST_CHAOS_SECONDS says for how long it runs, 120 for instance")
@pytest.mark.timeout(AFTERWARDS + SECONDS + 60)
def test_nothing_acknowledged_is_lost_on_postgresql_either(tmp_path: Path) -> None:
    arguments = ("--seed", "1", "--seconds", str(SECONDS), "--store", "postgresql")
    result = chaos(tmp_path / "run", *arguments, patience=AFTERWARDS + SECONDS)
    assert result["ok"]
    assert min(result["kills"].values()) >= 1
