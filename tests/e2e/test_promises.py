"""The programs that hold the product to a promise, short; docs/reliability.md has the long ones."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.running import ROOT

PATIENCE = 150.0


@pytest.mark.timeout(PATIENCE + 30)
def test_no_call_fails_while_services_and_bridges_are_restarted_one_after_the_other(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chaos.rolling", "--rounds", "1", "--between", "0.5", "--callers", "50"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "run")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert (result["failed_calls"], result["unclean_ends"], result["wrong_events"]) == (0, 0, 0)
    assert result["stopped"] == 4
    assert result["calls"] > 500
