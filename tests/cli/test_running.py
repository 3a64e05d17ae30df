"""`beers service` and `beers bridge` are the processes themselves."""

import os
import subprocess
import sys
import sysconfig
import zipapp
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("beers_cli", "beers_runtime", "beers_service", "grpc_bridge")


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


@pytest.fixture
def one_file(tmp_path: Path) -> Path:
    """A zipapp as shiv makes them, unpacked already: its packages are where no Python looks by itself."""
    site = tmp_path / "site"
    site.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.startswith("__editable__") and package.suffix != ".pth":
            (site / package.name).symlink_to(package)
    for name in PACKAGES:
        (site / name).symlink_to(ROOT / name)
    source = tmp_path / "source"
    source.mkdir()
    (source / "__main__.py").write_text(
        f"import site\nsite.addsitedir({str(site)!r})\nfrom beers_cli.__main__ import main\nmain()\n"
    )
    zipapp.create_archive(source, tmp_path / "beers.pyz")
    return tmp_path / "beers.pyz"


def test_in_one_file_the_command_finds_the_process(one_file: Path) -> None:
    python = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
    ended = subprocess.run(
        [python, one_file, "service"],
        cwd=one_file.parent,
        env={"QUEUE_TYPE": "fast"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr.strip()) == (
        78,
        "beers: QUEUE_TYPE must be one of classic, quorum, got 'fast'",
    )
