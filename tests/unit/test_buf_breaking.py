"""A change of the contract that breaks clients is refused, whether it is committed or not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTO = "grpc_bridge/proto"
FIELD = "string brewery = 3;"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose main branch has our contract."""
    shutil.copytree(ROOT / PROTO, tmp_path / PROTO, ignore=shutil.ignore_patterns("__pycache__"))
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    commit(tmp_path)
    # What is committed on the main branch itself is compared with the commit before.
    (tmp_path / "README.md").write_text("A catalogue of beers")
    commit(tmp_path)
    return tmp_path


def git(repository: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=repository, check=True)


def commit(repository: Path) -> None:
    git(repository, "add", "--all")
    somebody = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    git(repository, *somebody, "commit", "--quiet", "--message=A change")


def remove_a_field(repository: Path) -> None:
    contract = repository / PROTO / "beers" / "v1" / "beers.proto"
    text = contract.read_text()
    assert FIELD in text
    contract.write_text(text.replace(FIELD, "", 1))


def compare(repository: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", ROOT / "scripts" / "buf_breaking.sh", Path(sys.executable).with_name("buf"), PROTO],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_contract_that_stays_as_it_is_passes(repository: Path) -> None:
    compared = compare(repository)
    assert (compared.returncode, compared.stderr) == (0, "")
    assert compared.stdout.startswith("Comparing with ")


@pytest.mark.parametrize(("branch", "committed"), [("main", False), ("main", True), ("change", True)])
def test_a_field_that_was_removed_is_refused(repository: Path, branch: str, committed: bool) -> None:  # noqa: FBT001
    if branch != "main":
        git(repository, "switch", "--quiet", "--create", branch)
    remove_a_field(repository)
    if committed:
        commit(repository)
    compared = compare(repository)
    assert compared.returncode != 0
    assert 'field "3" with name "brewery"' in compared.stdout
