"""A release: what it says, and what is in it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.dist import missing
from scripts.release_notes import NoRelease, notes, require_release

ROOT = Path(__file__).parents[2]

PYPROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "beers"
version = "0.1.0"

[tool.setuptools]
packages = ["beers_runtime"]
package-data = { beers_runtime = ["config.yaml"] }
"""

CHANGELOG = """\
# Changelog

## [Unreleased]

## [0.2.0] - 2026-12-01

### Added

- Stouts.

## [0.1.0]

- Ales.
"""


def test_the_notes_are_the_section_of_the_version_alone() -> None:
    assert notes(CHANGELOG, "0.2.0") == "### Added\n\n- Stouts."
    assert notes(CHANGELOG, "0.1.0") == "- Ales."


@pytest.mark.parametrize(
    ("version", "complaint"),
    [
        ("Unreleased", r"CHANGELOG.md says nothing below [Unreleased]."),
        ("0.3.0", "CHANGELOG.md has no section ## [0.3.0]."),
    ],
)
def test_there_are_no_notes_of_what_the_changelog_says_nothing_of(version: str, complaint: str) -> None:
    with pytest.raises(NoRelease) as raised:
        notes(CHANGELOG, version)
    assert str(raised.value) == complaint


def test_a_tag_that_agrees_with_version_and_changelog_can_be_released() -> None:
    require_release("v0.2.0", "0.2.0", CHANGELOG)


@pytest.mark.parametrize(
    ("tag", "version", "complaint"),
    [
        ("v0.2.1", "0.2.0", "The tag v0.2.1 is not v0.2.0"),
        ("0.2.0", "0.2.0", "The tag 0.2.0 is not v0.2.0"),
        ("v0.1.0", "0.1.0", "CHANGELOG.md needs a heading with a date"),
        ("v0.3.0", "0.3.0", "CHANGELOG.md needs a heading with a date"),
    ],
)
def test_a_tag_that_disagrees_cannot_be_released(tag: str, version: str, complaint: str) -> None:
    with pytest.raises(NoRelease, match=f"^{complaint}"):
        require_release(tag, version, CHANGELOG)


def test_a_tag_that_is_no_version_stops_the_release() -> None:
    ended = subprocess.run(
        [sys.executable, "scripts/release_notes.py"],
        cwd=ROOT,
        env=os.environ | {"TAG": "v0.0.0$(touch harm)"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("The tag v0.0.0$(touch harm) is not v")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a package as small as can be, and with a link to what is outside of it."""
    project = tmp_path / "project"
    (project / "beers_runtime").mkdir(parents=True)
    (project / "pyproject.toml").write_text(PYPROJECT)
    (project / "config.yaml").write_text("PORT: 8000")
    (project / "beers_runtime" / "__init__.py").touch()
    (project / "beers_runtime" / "config.yaml").symlink_to("../config.yaml")
    somebody = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    for arguments in (["init", "--quiet"], ["add", "."], [*somebody, "commit", "--quiet", "--message=All"]):
        subprocess.run(["git", *arguments], cwd=project, check=True)
    return project


def test_wheel_and_sdist_are_the_same_bytes_whoever_builds_them(project: Path, tmp_path: Path) -> None:
    built = []
    for umask in (0o022, 0o077):
        folder = tmp_path / f"{umask:o}"
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([sys.executable, ROOT / "scripts" / "dist.py", uv, folder], cwd=project, umask=umask, check=True)
        built.append({product.name: product.read_bytes() for product in folder.iterdir()})
        (project / "pyproject.toml").touch()
    first, second = built
    assert len(first) == 2
    assert first == second


def test_a_file_of_a_package_that_the_wheel_lacks_is_noticed(tmp_path: Path) -> None:
    wheel = tmp_path / "beers.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("beers_cli/__main__.py", "")
    tracked = ["README.md", "beers_cli/__main__.py", "beers_runtime/config.yaml", "grpc_bridge/proto/generate.sh"]
    assert list(missing(wheel, tracked)) == ["beers_runtime/config.yaml"]
