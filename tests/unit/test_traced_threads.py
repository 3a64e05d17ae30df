"""Which processes coverage asks for green threads."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.traced_threads import TracedThreads

ROOT = Path(__file__).parents[2]


class Options:
    """What a configurer sees of coverage."""

    def __init__(self) -> None:
        self.set: dict[str, object] = {}

    def get_option(self, option_name: str) -> None:
        raise AssertionError(option_name)

    def set_option(self, option_name: str, value: object) -> None:
        self.set[option_name] = value


@pytest.mark.parametrize(
    "command",
    [
        "/venv/bin/python /venv/bin/beers watch --from beginning",
        "python -m beers_cli up",
        "python -X dev -m grpc_bridge",
        "python -u -m grpc_bridge.healthcheck",
    ],
)
def test_programs_without_green_threads_have_threads_only(command: str) -> None:
    options = Options()
    TracedThreads(command.split()).configure(options)
    assert options.set == {"run:concurrency": ["thread"]}


@pytest.mark.parametrize(
    "command", ["python -m beers_service", "python", "python -m", "nameko shell", "python beers.py"]
)
def test_all_others_are_asked_for_theirs(command: str) -> None:
    options = Options()
    TracedThreads(command.split()).configure(options)
    assert options.set == {}


@pytest.mark.parametrize(("module", "concurrency"), [("beers_cli", "thread"), ("beers_service", "thread greenlet")])
def test_coverage_takes_it_up_in_processes_that_tests_start(module: str, concurrency: str, tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environment = own | {
        "COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml"),
        "COVERAGE_FILE": str(tmp_path / ".coverage"),
        "COVERAGE_DEBUG": "config",
    }
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    told = re.search(r"concurrency:(.*?)config_file:", done.stderr, re.DOTALL)
    assert told is not None
    assert told[1].split() == concurrency.split()
