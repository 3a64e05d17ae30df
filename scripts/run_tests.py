"""Runs the suite, one pytest process per directory of tests, and counts the outcomes of all of them.

    python scripts/run_tests.py [--coverage] [DIRECTORY…] [-- PYTEST-ARGUMENT…]

The directories never share a process because eventlet's monkey-patching and grpc.aio cannot. Of the whole suite, two
run at a time, since tests mostly wait, and the end-to-end tests alone afterwards; what a directory has to say is then
printed when it is done, and until then found in ``build/tests/DIRECTORY.log``. A directory that fails does not keep the
next one from running. A process that a directory leaves behind is ended and counts as a failed test: the tests start
brokers and databases, and have to stop them. The last line is always ``N passed, N failed, N skipped``.
"""

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn, Self
from xml.etree import ElementTree as ET

ROOT: Final = Path(__file__).resolve().parent.parent
REPORTS: Final = ROOT / "build" / "tests"
ORDER: Final = ("service", "subscriber", "faults", "cli", "bridge", "contract", "unit", "docs", "manifests")
"""The longest ones first, so that the lanes end together; directories that are not named here follow."""

ALONE: Final = "e2e"
"""The directory that runs when all others are done: its tests measure how long the product takes."""

LANES: Final = 2
"""How many directories of the whole suite run at a time."""

GREEN: Final = frozenset({"unit", "service", "subscriber", "faults", "docs", "e2e"})
"""The directories whose tests, or processes that they start, have green threads. Only there coverage asks which of them
runs, and of the processes only in those that may have some: see traced_threads."""

DIRECTORY_SECONDS: Final = 900
"""How long one directory may take. pytest-timeout ends a test that hangs; this ends a pytest that hangs."""

TEARDOWN_SECONDS: Final = 60
"""How long an interrupted pytest may take to stop what its fixtures started."""

ORPHAN_SECONDS: Final = 5
"""How long a process may outlive the pytest that started it."""

SIGNALS: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
PR_SET_CHILD_SUBREAPER: Final = 36


class Interrupted(Exception):
    """Somebody wants us to stop: Ctrl-C, or the signal of a supervisor."""

    def __init__(self, number: int) -> None:
        """Take the signal's *number*."""
        super().__init__(number)
        self.number = number


@dataclass(frozen=True)
class Outcome:
    """How many tests of a directory went which way."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Self) -> "Outcome":
        return Outcome(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def main() -> int:
    """Run what the command line names.

    Returns:
        The exit code: 0 only if all tests passed and, where asked for, enough of the code was covered.
    """
    parser = argparse.ArgumentParser(prog="run_tests.py", allow_abbrev=False)
    parser.add_argument(
        "--coverage", action="store_true", help="measure coverage; the whole suite has to reach the floor"
    )
    parser.add_argument("--part-of-a-run", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("directories", nargs="*", metavar="DIRECTORY", help="below tests/; all of them by default")
    own, pytest_arguments = _split(sys.argv[1:])
    arguments = parser.parse_args(own)
    present = _directories()
    if unknown := [name for name in arguments.directories if name not in present]:
        parser.error(f"no such directory of tests: {', '.join(unknown)}; there are {', '.join(present)}")

    os.chdir(ROOT)
    REPORTS.mkdir(parents=True, exist_ok=True)
    _adopt_orphans()
    for number in SIGNALS:
        signal.signal(number, _interrupt)

    part: Path | None = arguments.part_of_a_run
    environment = _environment(arguments.coverage, fresh=part is None)
    total = Outcome()
    complaints: list[str] = []
    whole_suite = not (arguments.directories or pytest_arguments)
    directories = arguments.directories or present
    try:
        if whole_suite:
            directories = [name for name in present if name == ALONE]
            total, complaints = _run_in_lanes(
                [name for name in present if name != ALONE], environment, coverage=arguments.coverage
            )
        for directory in directories:
            print(f"\n── tests/{directory} ──", flush=True)
            outcome, problems = _run(directory, pytest_arguments, environment, coverage=arguments.coverage)
            total += outcome
            complaints += [f"tests/{directory}: {problem}" for problem in problems]
        if part is not None:
            part.write_text(json.dumps([asdict(total), complaints]))
        elif arguments.coverage and not _covered_enough(environment, floor=whole_suite):
            complaints.append("coverage: below the floor")
    except Interrupted as interruption:
        print(f"\nInterrupted.\n{total}", flush=True)
        return 128 + interruption.number

    print()
    for complaint in complaints:
        print(complaint)
    print(total, flush=True)
    return 1 if total.failed or complaints else 0


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Part our own arguments from pytest's, which follow ``--``."""
    if "--" not in arguments:
        return arguments, []
    position = arguments.index("--")
    return arguments[:position], arguments[position + 1 :]


def _directories() -> list[str]:
    """Name the directories that hold tests, in the order in which to run them."""
    names = sorted(path.name for path in (ROOT / "tests").iterdir() if any(path.rglob("test_*.py")))
    return sorted(names, key=lambda name: (name == ALONE, ORDER.index(name) if name in ORDER else len(ORDER)))


def _environment(coverage: bool, *, fresh: bool) -> Mapping[str, str]:  # noqa: FBT001 - what it is about
    """Build what the tests see: nothing of make's, since some of them call make themselves."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    if coverage:
        directory = ROOT / "build" / "coverage"
        directory.mkdir(parents=True, exist_ok=True)
        if fresh:
            for old in directory.glob(".coverage*"):
                old.unlink()
        environment["COVERAGE_FILE"] = str(directory / ".coverage")
    return environment


class Part:
    """A directory that runs beside others: by a process like this one, which minds its own orphans."""

    def __init__(self, directory: str, environment: Mapping[str, str], *, coverage: bool) -> None:
        self._directory = directory
        self._log = REPORTS / f"{directory}.log"
        self._result = REPORTS / f"{directory}.json"
        self._result.unlink(missing_ok=True)
        options = ["--part-of-a-run", str(self._result), *(["--coverage"] if coverage else [])]
        command = [sys.executable, __file__, *options, directory]
        print(f"(tests/{directory} runs; meanwhile see {self._log.relative_to(ROOT)})", flush=True)
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(command, env=environment, process_group=0, stdout=output, stderr=output)

    def tell(self) -> tuple[Outcome, list[str]]:
        """Print what it printed, and say how it ended."""
        sys.stdout.buffer.write(self._log.read_bytes())
        sys.stdout.flush()
        if not self._result.exists():
            problem = f"tests/{self._directory}: ended with {self.process.returncode} and without a result"
            return Outcome(failed=1), [problem]
        outcome, complaints = json.loads(self._result.read_text())
        return Outcome(**outcome), complaints


def _run_in_lanes(
    directories: Sequence[str], environment: Mapping[str, str], *, coverage: bool
) -> tuple[Outcome, list[str]]:
    """Run the *directories*, `LANES` at a time; each lane takes the next one when it is free."""
    waiting = list(directories)
    running: list[Part] = []
    total = Outcome()
    complaints: list[str] = []
    try:
        while waiting or running:
            while waiting and len(running) < LANES:
                running.append(Part(waiting.pop(0), environment, coverage=coverage))
            for part in [part for part in running if part.process.poll() is not None]:
                running.remove(part)
                outcome, told = part.tell()
                total += outcome
                complaints += told
            time.sleep(0.1)
    except Interrupted:
        for part in running:
            part.process.send_signal(signal.SIGINT)
        for part in running:
            part.process.wait(2 * TEARDOWN_SECONDS)
        raise
    return total, complaints


def _run(
    directory: str, pytest_arguments: list[str], environment: Mapping[str, str], *, coverage: bool
) -> tuple[Outcome, list[str]]:
    """Run one directory and say what went wrong beyond its failed tests."""
    report = REPORTS / f"{directory}.xml"
    report.unlink(missing_ok=True)
    measured = ["-m", "coverage", "run", *([] if directory in GREEN else ["--concurrency=thread"])] if coverage else []
    command = [sys.executable, *measured, "-m", "pytest", f"tests/{directory}"]
    # A process group of its own: Ctrl-C reaches us alone, and pytest gets one interruption, not two.
    pytest = subprocess.Popen([*command, f"--junit-xml={report}", *pytest_arguments], env=environment, process_group=0)
    problems = []
    try:
        status = _wait(pytest.pid, DIRECTORY_SECONDS)
        if status is None:
            problems.append(f"still running after {DIRECTORY_SECONDS} s")
            status = _stop(pytest.pid)
    except Interrupted:
        _stop(pytest.pid)
        _end_orphans()
        raise
    outcome = _read(report)
    if outcome is None:
        problems.append(f"pytest ended with {status} and without a report")
        outcome = Outcome()
    elif status == os.EX_OK and not outcome.passed + outcome.skipped and not pytest_arguments:
        problems.append("no tests")
    elif status not in {0, 1, 5} and not problems:
        problems.append(f"pytest ended with {status}")
    if left := _end_orphans():
        problems.append(f"left processes behind: {', '.join(left)}")
    return outcome + Outcome(failed=len(problems)), problems


def _read(report: Path) -> Outcome | None:
    """Count the outcomes in a JUnit file; an error in a fixture is a failure."""
    try:
        suites = list(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314 - pytest has just written it
    except (OSError, ET.ParseError):
        return None
    tests, skipped, failed = (
        sum(int(suite.get(name, "0")) for suite in suites for name in names)
        for names in (("tests",), ("skipped",), ("failures", "errors"))
    )
    return Outcome(tests - failed - skipped, failed, skipped)


def _covered_enough(environment: Mapping[str, str], *, floor: bool) -> bool:
    """Put the processes' coverage together and print it."""
    coverage = [sys.executable, "-m", "coverage"]
    print("\n── coverage ──", flush=True)
    subprocess.run([*coverage, "combine", "--quiet"], env=environment, check=False)
    report = [*coverage, "report", *([] if floor else ["--fail-under=0"])]
    return subprocess.run(report, env=environment, check=False).returncode == 0


# ── Processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    # Once is enough: a signal to the whole process group comes a second time from make, which hands it on.
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted(number)


def _adopt_orphans() -> None:
    """Become the parent of whatever our descendants leave behind. Linux only; elsewhere they go unnoticed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _wait(pid: int, seconds: float) -> int | None:
    """Wait for the child *pid*, burying adopted ones meanwhile; None if it still runs after *seconds*."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended == pid:
            return os.waitstatus_to_exitcode(status)
        if not ended:
            time.sleep(0.1)
    return None


def _stop(pid: int) -> int | None:
    """End a pytest: interrupted, so that its fixtures stop what they started, or killed if that takes too long."""
    for number, seconds in ((signal.SIGINT, TEARDOWN_SECONDS), (signal.SIGKILL, ORPHAN_SECONDS)):
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, number)
            if (status := _wait(pid, seconds)) is not None:
                return status
    return None


def _end_orphans() -> list[str]:
    """Kill what is left of the last pytest's descendants.

    Returns:
        The names of those that had not gone by themselves after a moment.
    """
    left: list[str] = []
    deadline = time.monotonic() + ORPHAN_SECONDS
    while children := list(_children()):
        if time.monotonic() > deadline:
            left += [f"{name} ({pid})" for pid, name in children]
            for pid, _name in children:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    return left


def _children() -> Iterator[tuple[int, str]]:
    """Yield the process id and name of each running child, and bury the dead ones."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (directory / "stat").read_text()
            name = fields[fields.index("(") + 1 : fields.rindex(")")]
            state, parent = fields[fields.rindex(")") + 2 :].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                yield int(directory.name), name


if __name__ == "__main__":
    sys.exit(main())
