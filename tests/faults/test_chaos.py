"""`make chaos`, short: half a minute in which each part is killed. docs/reliability.md has the long ones.

BEERS_TEST_CHAOS_SECONDS in the environment says for how long the form on PostgreSQL runs; without it that is skipped.
"""

import os
from pathlib import Path

import pytest

from tests.e2e.running import result_of

SECONDS = float(os.environ.get("BEERS_TEST_CHAOS_SECONDS", "0"))
AFTERWARDS = 240.0
"""Seconds that starting everything and reading it back may take besides, on a busy machine."""


@pytest.mark.timeout(AFTERWARDS + 60)
def test_nothing_acknowledged_is_lost_when_each_part_is_killed_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = result_of("chaos", "--output", str(folder), "--seed", "1", "--short", patience=AFTERWARDS)
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
    arguments = ("--output", str(tmp_path / "run"), "--seed", "1", "--seconds", str(SECONDS), "--store", "postgresql")
    result = result_of("chaos", *arguments, patience=AFTERWARDS + SECONDS)
    assert result["ok"]
    assert min(result["kills"].values()) >= 1
