"""No room on the disk of the store: commands are refused in plain words, none that was acknowledged is lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from beers_service import admin
from chaos.disk import Disk, FileSizeLimit, SmallDisk
from tests.processes import Process, Start
from tests.wire import Wire

PAGES = "x" * 10_000
"""A description that takes more than one page of the database."""

AWAY = {"StoreUnavailable", "OutcomeUnknown"}
"""What is UNAVAILABLE to a gRPC client."""


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    disk = SmallDisk.mount(folder, 16)
    if disk is None:
        pytest.skip("a small disk cannot be mounted here: that takes root on Linux")
    try:
        yield disk
    finally:
        disk.close()


@contextmanager
def limited(service: Process) -> Iterator[Disk]:
    if not FileSizeLimit.possible():
        pytest.skip("only Linux limits the files of another process")
    yield FileSizeLimit(lambda: [service.pid])


def run(wire: Wire, disk: Disk, url: str) -> None:
    """Fill the disk, free it again, and see what became of the commands."""
    attempted: dict[str, dict[str, Any]] = {}

    def add(number: int) -> dict[str, Any]:
        arguments = {"name": f"Beer {number}", "description": PAGES, "request_id": f"r-{number}"}
        answer: dict[str, Any] = wire.answer(wire.call("add", **arguments))
        attempted[f"r-{number}"] = answer
        return answer

    first = add(0)
    assert first["error"] is None
    disk.fill()
    # What SQLite has reserved already takes some more.
    numbers = iter(range(1, 3000))
    refused = next(answer for number in numbers if (answer := add(number))["error"] is not None)
    refusals = [refused, *(add(next(numbers)) for _ in range(5))]
    assert {answer["error"]["exc_type"] for answer in refusals} <= AWAY, refusals
    words = " ".join(str(answer["error"]) for answer in refusals)
    assert "sqlite" not in words.lower()
    assert str(Path(url).parent) not in words
    # Reading needs no room.
    assert wire.answer(wire.call("get", beer_id=first["result"]["id"]))["result"] == first["result"]
    disk.free()
    for number in (next(numbers), *(int(name[2:]) for name, answer in list(attempted.items()) if answer["error"])):
        assert add(number)["error"] is None
    log: list[dict[str, Any]] = []
    while True:
        page = wire.answer(wire.call("events", after=len(log), limit=1000))["result"]
        log += page["events"]
        if page["through"] == page["head"]:
            break
    assert {event["request_id"]: event["beer_id"] for event in log} == {
        name: answer["result"]["id"] for name, answer in attempted.items()
    }
    assert [event["position"] for event in log] == list(range(1, len(attempted) + 1))
    assert admin.verify(url, lambda _done, _all: None).problems == []


def test_a_full_disk_refuses_commands_and_loses_nothing(start: Start, wire: Wire, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    with small_disk(folder) as disk:
        url = f"sqlite:///{folder}/beers.db"
        service = start(DATABASE_URL=url)
        run(wire, disk, url)
        # Whoever looks after it learns what callers do not.
        reasons = {line["reason"] for line in service.lines() if line.get("outcome") == "StoreUnavailable"}
        assert reasons
        assert {reason.split()[1] for reason in reasons} <= {"SQLITE_FULL", "SQLITE_IOERR_WRITE"}
        assert service.stop() == 0


def test_files_that_may_not_grow_refuse_commands_and_lose_nothing(start: Start, wire: Wire, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/beers.db"
    assert start(DATABASE_URL=url).stop() == 0
    # It prints to a file, which may not grow either.
    service = start(DATABASE_URL=url, LOG_LEVEL="ERROR", ready=False)
    with limited(service) as disk:
        run(wire, disk, url)
    assert service.stop() == 0
