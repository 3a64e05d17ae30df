"""`make cluster`: brokers that lead are killed under load. docs/reliability.md has the figures.

BEERS_TEST_CLUSTER_KILLS in the environment says how many; without it, one.
"""

import os
from pathlib import Path

import pytest

from tests.e2e.running import result_of

KILLS = int(os.environ.get("BEERS_TEST_CLUSTER_KILLS", "1"))
PATIENCE = 300.0 + 150.0 * KILLS


@pytest.mark.timeout(PATIENCE + 60)
def test_nothing_acknowledged_is_lost_when_the_node_that_leads_the_calls_is_killed(tmp_path: Path) -> None:
    arguments = ("--kills", str(KILLS), "--output", str(tmp_path / "run"))
    result = result_of("chaos.cluster", *arguments, patience=PATIENCE)
    assert result["kills"] == {"rabbitmq": KILLS}
    assert result["acknowledged"] > 100
    assert (result["lost"], result["duplicated"], result["gaps"]) == (0, 0, 0)
    assert len(result["silence_around_kills"]) == KILLS
