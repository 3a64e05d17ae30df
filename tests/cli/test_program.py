"""The program itself: what it prints where, also where that cannot be printed, and what it loads."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys

import pytest

from grpc_bridge.proto.beers.v1 import beers_pb2
from tests.cli.conftest import Run
from tests.cli.fake_service import FakeService


def run_program(service: FakeService, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    # Unbuffered, Python itself takes a broken pipe for a finished write.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(
        [sys.executable, "-m", "beers_cli", *arguments],
        env=inherited | {"BEERS_ADDRESS": service.address} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_reader_that_goes_away_is_no_error_to_talk_about(service: FakeService) -> None:
    for number in range(1, 1001):
        service.beers[number] = beers_pb2.Beer(id=number, name=f"Beer {number}", brewery="x" * 200, style="y" * 200)
    for command in (["list", "--all"], ["list", "--all", "--json"], ["export"]):
        with run_program(service, *command) as program:
            assert program.stdout is not None
            assert program.stderr is not None
            program.stdout.read(10)
            program.stdout.close()
            assert program.wait(20) == 1
            assert program.stderr.read() == b""


@pytest.mark.parametrize("encoding", ["ascii", "latin1"])
def test_a_terminal_that_is_not_utf_8_gets_what_it_can_show(service: FakeService, encoding: str) -> None:
    for command in (["add", "Gösser"], ["list"], ["get", "1"], ["history", "1"]):
        with run_program(service, *command, PYTHONIOENCODING=encoding) as program:
            out, err = program.communicate(timeout=20)
        assert (program.returncode, err) == (0, b"")
        assert ("Gösser".encode("latin1") if encoding == "latin1" else b"G?sser") in out


@pytest.mark.parametrize(
    ("redirection", "said"),
    [
        (">/dev/full", "Error: Cannot write to standard output: No space left on device."),
        (">&-", "Error: Standard output is closed."),
        (">&- 2>&-", ""),
    ],
)
def test_an_output_that_cannot_be_written_is_one_line_and_no_bug(
    service: FakeService, redirection: str, said: str
) -> None:
    service.beers[1] = beers_pb2.Beer(id=1, name="Jever")
    for command in ("list", "list --json", "export", "get 1"):
        done = subprocess.run(
            ["/bin/sh", "-c", f"{sys.executable} -m beers_cli {command} {redirection}"],
            env=os.environ | {"BEERS_ADDRESS": service.address},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        err = json.loads(done.stderr)["error"]["message"] if "json" in command and said else done.stderr.strip()
        assert (done.returncode, done.stdout, err.removeprefix("Error: ")) == (1, "", said.removeprefix("Error: "))


@pytest.mark.parametrize("module", ["beers_cli.options", "beers_cli.application", "typer"])
def test_ctrl_c_while_the_program_is_loaded_ends_it_in_silence(module: str) -> None:
    program = f"""
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["beers", "--help"]
from beers_cli.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def on_a_terminal(service: FakeService, *arguments: str, **environment: str) -> str:
    ours, its = pty.openpty()
    shown = b""
    with subprocess.Popen(
        [sys.executable, "-m", "beers_cli", *arguments],
        env=os.environ | {"BEERS_ADDRESS": service.address, "TERM": "xterm-256color"} | environment,
        stdin=its,
        stdout=its,
        stderr=its,
    ):
        os.close(its)
        with contextlib.suppress(OSError):  # that is how a terminal says that nobody is there any more
            while part := os.read(ours, 4096):
                shown += part
    os.close(ours)
    return shown.decode()


def test_there_is_colour_on_a_terminal_and_none_with_no_color(service: FakeService) -> None:
    red = "\x1b[31m"
    assert red in on_a_terminal(service, "get", "9")
    assert red not in on_a_terminal(service, "get", "9", NO_COLOR="1")


def test_a_history_fits_a_terminal_of_eighty_columns(service: FakeService, beers: Run) -> None:
    beers("add", "Punk IPA", "--brewery", "BrewDog", "--style", "American India Pale Ale", "--description", "x" * 300)
    beers("rename", "1", "Punk")
    lines = on_a_terminal(service, "history", "1", COLUMNS="80", NO_COLOR="1").splitlines()
    plain = [re.sub("\x1b\\[[0-9;]*m", "", line).rstrip() for line in lines]
    assert max(len(line) for line in plain) <= 80
    assert sum("12:00:0" in line for line in plain) == 2
    assert any(line.endswith("renamed Punk IPA → Punk") for line in plain)


def test_the_program_has_completion_for_shells(service: FakeService) -> None:
    with run_program(service, _BEERS_COMPLETE="complete_bash", COMP_WORDS="beers re", COMP_CWORD="1") as program:
        out, _ = program.communicate(timeout=20)
    assert out.decode().split() == ["rename", "remove", "restore"]


def test_supervising_and_help_load_neither_grpc_nor_nameko() -> None:
    """`beers up` forks, which gRPC's threads do not survive; and eventlet would patch the world."""
    heavy = {"grpc", "eventlet", "nameko", "sqlalchemy"}
    program = f"import sys, beers_cli.application\nprint(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
