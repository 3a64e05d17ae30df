"""What the workflows run is what anybody can run here: targets of the Makefile."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
NO_TARGET = {"gh release create"}
"""The beginnings of steps that are no targets: what they do can only be done there."""


def jobs(workflow: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(workflow.read_text())["jobs"]
    return found


def commands(workflow: Path) -> Iterator[str]:
    for job in jobs(workflow).values():
        for step in job.get("steps", []):
            if "run" in step:
                yield step["run"]


def made(command: str) -> set[str]:
    """Return the targets that *command*, a call of make, names; what is no such call fails."""
    found = re.fullmatch(r"(?:sudo )?make((?: --?[a-z-]+)*)((?: [a-z-]+)+)(?: > [\w.]+)?", command)
    assert found is not None, f"{command!r} is no target of the Makefile"
    return set(found[2].split())


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_step_that_runs_something_is_a_target(workflow: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):(?!=)", MAKEFILE, re.MULTILINE))
    run = [command for command in commands(workflow) if not command.startswith(tuple(NO_TARGET))]
    assert run
    for command in run:
        assert made(command) <= targets, command


def test_check_runs_what_a_change_has_to_pass() -> None:
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe is not None
    checked = set(re.findall(r"\$\(MAKE\) (?:--[a-z-]+ )*([a-z-]+)", recipe[1]))
    assert checked == set().union(*map(made, commands(ROOT / ".github" / "workflows" / "review.yml")))


def test_what_compares_with_the_main_branch_has_it() -> None:
    steps = jobs(ROOT / ".github" / "workflows" / "review.yml")["static"]["steps"]
    checkout = next(step for step in steps if step.get("uses", "").startswith("actions/checkout@"))
    assert checkout["with"]["fetch-depth"] == 0
