import os
from pathlib import Path

import pytest

from beers_cli import packages
from beers_cli.packages import NotInstallable, install

APT = """#!/bin/sh
echo "$*" >> {calls}
if [ "$(wc -l < {calls})" -le {refusals} ]; then
    echo 'E: {reason}'
    exit 100
fi
"""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an apt-get that notes its calls in a file, of which the first few fail."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(packages, "_LOOK_EVERY", 0.01)
    return tmp_path


def refuse(apt: Path, refusals: int, reason: str) -> None:
    program = apt / "apt-get"
    program.write_text(APT.format(calls=apt / "calls", refusals=refusals, reason=reason))
    program.chmod(0o755)


def test_another_apt_get_is_waited_for(apt: Path) -> None:
    refuse(apt, 3, "Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt-get)")
    told: list[str] = []
    install("some-server", told.append)
    calls = (apt / "calls").read_text().splitlines()
    assert [call.rsplit(maxsplit=1)[-1] for call in calls] == ["update"] * 4 + ["some-server"]
    assert told[-1] == "some-server is installed"


def test_what_apt_get_says_is_told_and_not_tried_again(apt: Path) -> None:
    refuse(apt, 9, "Unable to locate package")
    with pytest.raises(NotInstallable, match="apt-get update failed: E: Unable to locate package"):
        install("some-server", print)
    assert len((apt / "calls").read_text().splitlines()) == 1
