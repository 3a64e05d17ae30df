"""`make cluster`: brokers that lead are killed under load. docs/reliability.md has the figures.

BEERS_TEST_CLUSTER_KILLS in the environment says how many; without it, one.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.running import ROOT

KILLS = int(os.environ.get("BEERS_TEST_CLUSTER_KILLS", "1"))
PATIENCE = 300.0 + 150.0 * KILLS


@pytest.mark.timeout(PATIENCE + 60)
def test_nothing_acknowledged_is_lost_when_the_node_that_leads_the_calls_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "chaos.cluster", "--kills", str(KILLS), "--output", str(tmp_path / "run")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            printed, told = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.terminate()  # it stops what it has started
            printed, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
    result = json.loads(printed)
    assert result["kills"] == {"rabbitmq": KILLS}
    assert result["acknowledged"] > 100
    assert (result["lost"], result["duplicated"], result["gaps"]) == (0, 0, 0)
    assert len(result["silence_around_kills"]) == KILLS
