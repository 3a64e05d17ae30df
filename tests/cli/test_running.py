"""`beers service` and `beers bridge` are the processes themselves."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("command", "setting", "line"),
    [
        ("service", {"QUEUE_TYPE": "fast"}, "beers: QUEUE_TYPE must be one of classic, quorum, got 'fast'"),
        ("bridge", {"PORT": "none"}, "beers bridge: PORT must be a whole number from 0 to 65535, got 'none'"),
    ],
)
def test_the_command_becomes_the_process(command: str, setting: dict[str, str], line: str) -> None:
    program = [sys.executable, "-m", "beers_cli", command]
    ended = subprocess.run(program, env={**os.environ, **setting}, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.strip()) == (78, line)
