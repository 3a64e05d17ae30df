"""What `beers up` prints, whatever its reader does."""

import asyncio
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from beers_cli import output
from beers_cli.output import Outlet, Output
from beers_cli.parts import Program
from beers_cli.supervisor import Supervisor

CHATTY = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
for number in range(2000):
    print("x" * 1000, number)
print("written", flush=True)
signal.sigwait([signal.SIGTERM])
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    # The reader first: whoever still writes is set free by it, and must be through before the number is another file's.
    os.close(reading)
    for thread in threading.enumerate():
        if thread.name == f"output {writing}":
            thread.join(10)
            assert not thread.is_alive()
    os.close(writing)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_LAST_WORDS", 0.1)


def missing(count: int) -> str:
    return f"{count} are missing"


class Reader(threading.Thread):
    """Reads *descriptor* up to the line that is the last."""

    def __init__(self, descriptor: int, last: str) -> None:
        super().__init__(daemon=True)
        self._descriptor = descriptor
        self._last = f"{last}\n".encode()
        self._read = b""
        self.start()

    def run(self) -> None:
        while not self._read.endswith(self._last):
            self._read += os.read(self._descriptor, 2**16)

    def lines(self) -> list[str]:
        self.join(10)
        assert not self.is_alive()
        return self._read.decode().splitlines()


def test_json_lines_of_the_parts_stay_json_lines(capfd: pytest.CaptureFixture[str]) -> None:
    with Output(plain=True) as printed:
        printed.line("service", '{"event": "x"}')
        printed.say("stopped")
    out, err = capfd.readouterr()
    assert out == '{"event": "x"}\n'
    assert err == "beers    | stopped\n"


def test_lines_keep_their_order_and_the_last_is_read_after_the_end(capfd: pytest.CaptureFixture[str]) -> None:
    with Output(plain=False) as printed:
        for number in range(2000):
            printed.line("service", str(number))
        printed.say("stopped")
    expected = [f"service  | {number}" for number in range(2000)]
    assert capfd.readouterr().out.splitlines() == [*expected, "beers    | stopped"]


def test_what_nobody_reads_is_dropped_and_told_of_in_its_place(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    told = threading.Event()

    def tell(count: int) -> str:
        told.set()
        return missing(count)

    outlet = Outlet(writing, tell)
    stuck = "x" * 2**20
    outlet.put(stuck)
    assert select.select([reading], [], [], 10)[0]  # from now on the writer is busy with that line
    lines = [f"{number:<999}" for number in range(5000)]
    for line in lines:
        outlet.put(line)
    reader = Reader(reading, "the last")
    assert told.wait(10)
    outlet.put("the last")
    first, *kept, gap, last = reader.lines()
    outlet.close()
    assert first == stuck
    assert kept == lines[: len(kept)]
    assert gap == missing(len(lines) - len(kept))
    assert last == "the last"
    assert len(kept) == -(-output.LIMIT // 1000)


def test_a_gap_among_json_lines_is_json_as_well() -> None:
    assert json.loads(output._dropped_as_json(7))["count"] == 7


@pytest.mark.usefixtures("impatient")
def test_a_reader_that_stands_still_holds_neither_the_parts_nor_the_stop(pipe: tuple[int, int], tmp_path: Path) -> None:
    outlet = Outlet(pipe[1], missing)
    written = threading.Event()

    def take(_name: str, line: str) -> None:
        outlet.put(line)
        if line == "written":
            written.set()
            os.kill(os.getpid(), signal.SIGTERM)

    part = Program(
        "part", [sys.executable, "-c", CHATTY], os.environ, patience=5, trace=tmp_path / "part.pid", on_line=take
    )
    supervisor = Supervisor(
        [part], [], address="127.0.0.1:1", environment=os.environ, say=outlet.put, on_serving=lambda: None
    )
    signal.alarm(20)  # where the output blocks, this ends the test in its stead
    try:
        asyncio.run(supervisor.run())
        outlet.close()
    finally:
        signal.alarm(0)
    assert written.is_set()
    assert part.process.returncode == 0


def test_a_reader_that_is_gone_ends_the_output_and_nothing_else(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    gone, end = os.pipe()
    os.close(gone)
    outlet = Outlet(end, missing)
    for _ in range(3):
        outlet.put("lost")
    outlet.close()
    os.close(end)
    other = Outlet(writing, missing)
    other.put("read")
    other.close()
    assert os.read(reading, 100) == b"read\n"


def test_a_terminal_that_somebody_made_non_blocking_gets_every_line(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)
    outlet = Outlet(writing, missing)
    lines = [f"{number:<999}" for number in range(500)]
    for line in [*lines, "the last"]:
        outlet.put(line)
    assert Reader(reading, "the last").lines() == [*lines, "the last"]
    outlet.close()
