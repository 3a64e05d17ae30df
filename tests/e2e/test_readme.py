"""The README, word for word: every snippet is run, in order, as a reader would who has just typed `make run`."""

import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.running import ROOT, Product, Running, finished, until

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def following(reader: Product) -> Iterator[Running]:
    """The subscriber of the README."""
    write(reader, "follower.py")
    command = f". .venv/bin/activate; exec {block('sh', 'follower')}"
    following = Running(["bash", "-c", command], reader.environment, reader.folder)
    following.wait_for("Connected to")
    yield following
    following.stop()


@pytest.fixture
def taps(reader: Product) -> Iterator[Running]:
    """The subscriber of the README that loses nothing."""
    write(reader, "taps.py")
    command = f". .venv/bin/activate; exec {block('sh', 'taps:Taps')}"
    taps = Running(["bash", "-c", command], reader.environment, reader.folder)
    taps.wait_for('"event":"consuming"')
    yield taps
    taps.stop()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Product]:
    """Somebody who stands in a checkout where `make run` runs."""
    for name in ("config.yaml", "examples", "Makefile"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    product = Product(tmp_path)
    product.start()
    product.environment["AMQP_URI"] = product.broker()
    yield product
    product.stop()


def blocks(language: str) -> list[str]:
    """Return the README's code blocks in *language*."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def block(language: str, *words: str) -> str:
    """Return the one block with all of *words* in it."""
    found = [code for code in blocks(language) if all(word in code for word in words)]
    assert len(found) == 1, f"{len(found)} {language} blocks with {words}"
    return found[0]


def run(reader: Product, script: str, given: str = "") -> str:
    """Run a shell script where the README's address is the product's; it must succeed."""
    command = ["bash", "-euc", script.replace("127.0.0.1:8000", reader.environment["BEERS_ADDRESS"])]
    path = {"PATH": f"{Path(sys.executable).parent}:{reader.environment['PATH']}"}
    done = finished(command, reader.environment | path, reader.folder, given)
    assert done.returncode == 0, "\n".join([done.stdout, done.stderr, *reader.running.lines])
    return done.stdout


@pytest.mark.usefixtures("taps")
def test_every_snippet_of_the_readme_does_what_it_says(reader: Product, following: Running) -> None:
    tour = run(reader, block("sh", "beers add", "beers history"))
    assert "renamed Punk IPA → Punk" in tour
    assert tour.split("As of 1:")[1].split("abv")[1].split()[0] == "5.6"

    imported = run(reader, block("sh", "beers import"))
    assert "15 added, 0 already there, 0 refused" in imported
    assert "0 added, 15 already there, 0 refused" in imported
    assert imported.index("Westvleteren 12") < imported.index("Duvel")
    assert (reader.folder / "beers.jsonl").read_text().count("\n") == 16

    shell = run(reader, block("sh", "nameko shell"), block("python", "n.rpc.beers"))
    assert "Error" not in shell

    client = f"python {write(reader, 'client.py')}"
    assert run(reader, client) == run(reader, client) != ""
    assert "Orval Trappist" in run(reader, client)

    watched = run(reader, f"python {write(reader, 'watcher.py')}").splitlines()
    assert watched[0] == "1 1 beer_added"
    assert [int(line.split()[0]) for line in watched] == list(range(1, len(watched) + 1))
    assert watched[-1].endswith("beer_details_changed")

    grpc = run(reader, block("sh", "grpcurl"))
    assert "beers.v1.BeersService" in grpc
    assert '"name": "Duvel"' in grpc

    following.wait_for("Duvel", count=2)
    assert [line.split(maxsplit=1)[1] for line in following.lines if re.match(r"\d+ ", line)].count("Punk IPA") == 2

    until(lambda: ("Duvel",) in tapped(reader), "the tap has the last beer")
    with closing(sqlite3.connect(reader.data / "beers.db")) as store:
        added = store.execute("SELECT count(*) FROM events WHERE type = 'BeerAdded'").fetchone()
    until(lambda: len(tapped(reader)) == added[0], "the tap has every beer, once")
    assert "No letters" in run(reader, block("sh", "dead-letters"))


def tapped(reader: Product) -> list[tuple[str]]:
    """Return what the subscriber that loses nothing has written."""
    with closing(sqlite3.connect(reader.folder / "var" / "taps.db", timeout=10)) as taps:
        return taps.execute("SELECT name FROM taps").fetchall()


def write(reader: Product, name: str) -> Path:
    """Write the Python block that begins with its file's name, for the product's address."""
    file = reader.folder / name
    code = block("python", f"# {name}\n")
    file.write_text(code.replace("127.0.0.1:8000", reader.environment["BEERS_ADDRESS"]))
    return file


def test_the_snippets_are_as_short_as_promised() -> None:
    """A subscriber in ten lines, and a gRPC client in twelve, retries and all."""
    for name, most in (("follower.py", 10), ("client.py", 12)):
        lines = [line for line in block("python", f"# {name}\n").splitlines() if line.strip() and line[0] != "#"]
        assert len(lines) <= most, name


def test_the_readme_names_no_target_that_make_does_not_have() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for code in blocks("sh") for word in re.findall(r"^make ([a-z-]+)", code, re.MULTILINE)}
    assert named == {"run", "test"}
    assert named <= targets


def test_no_block_of_the_readme_goes_untested() -> None:
    assert len(blocks("sh")) == 8
    assert len(blocks("python")) == 5


def test_the_configuration_that_the_readme_names_is_in_the_file() -> None:
    config = (ROOT / "config.yaml").read_text()
    programs = "".join(
        file.read_text() for name in ("beers_runtime", "beers_cli") for file in (ROOT / name).glob("*.py")
    )
    for name in re.findall(r"`([A-Z][A-Z_]+)(?:=[^`]*)?`", README):
        # Where the file is, and what the command line alone reads, is not in it.
        assert f"${{{name}:" in config or (name.startswith("BEERS_") and f'"{name}"' in programs), name
