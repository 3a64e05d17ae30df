"""The load on unary gRPC: h2load, which takes little of the machine that it shares with what it measures."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from beers_cli import packages
from benchmarks import payload

PACKAGE = "nghttp2-client"
PATIENCE = 300.0


class MeasuringError(Exception):
    """Something was not measured as it should have been: its figure would mean nothing. The message says why."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How the calls are spread: over so many connections, so many at a time on each."""

    connections: int
    streams: int

    @property
    def calls(self) -> int:
        """How many calls are under way at a time."""
        return self.connections * self.streams


STANDARD = Shape(8, 32)


@dataclass(frozen=True, slots=True)
class Run:
    """What a run of h2load came to.

    Attributes:
        calls: How many were answered.
        rate: How many a second.
        data: Bytes of all the answers' messages, with their frames.
        latencies_ms: How long each call took, in milliseconds.
    """

    calls: int
    rate: float
    data: int
    latencies_ms: tuple[float, ...] = ()


def find(say: Callable[[str], None]) -> str:
    """Return h2load, installing it where that is possible.

    Raises:
        MeasuringError: If there is none.
    """
    found = shutil.which("h2load")
    if found is None:
        try:
            packages.install(PACKAGE, say)
        except packages.NotInstallable as error:
            raise MeasuringError(f"h2load is missing: install {PACKAGE} ({error})") from error
        found = shutil.which("h2load")
    if found is None:
        raise MeasuringError(f"{PACKAGE} holds no h2load")
    return found


@dataclass(frozen=True, slots=True)
class H2load:
    """The program, and the folder for its files."""

    program: str
    folder: Path

    def run(
        self,
        address: str,
        methods: Sequence[str],
        request: bytes,
        calls: int,
        *,
        shape: Shape = STANDARD,
        offered: float | None = None,
    ) -> Run:
        """Make *calls* calls.

        Args:
            address: The server.
            methods: The methods; each connection calls them in turn.
            request: The message that all of them are sent.
            calls: How many, in all.
            shape: How many at a time.
            offered: Calls a second to begin; without it, each call begins as soon as one has ended.

        Raises:
            MeasuringError: If not every call got an answer by HTTP. What gRPC says is in the trailers, at which h2load
                does not look: see `check`.
        """
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            body, paths, log = Path(name, "body"), Path(name, "paths"), Path(name, "log")
            body.write_bytes(payload.framed(request))
            paths.write_text("".join(f"http://{address}{payload.SERVICE}/{method}\n" for method in methods))
            command = [self.program, "-t", "1", "-n", str(calls)]
            command += ["-c", str(shape.connections), "-m", str(shape.streams)]
            command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
            command += ["-d", str(body), "-i", str(paths), f"--log-file={log}"]
            if offered is not None:
                command.append(f"--rps={offered / shape.connections:g}")
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
            if done.returncode:
                raise MeasuringError(f"h2load failed: {(done.stderr or done.stdout).strip()[-300:]}")
            return parse(done.stdout, log.read_text(encoding="ascii"), calls)


def parse(output: str, log: str, calls: int) -> Run:
    """Return what h2load has printed, and written for each call: when it began, its HTTP status, microseconds.

    Raises:
        MeasuringError: If not all of the *calls* got an answer with status 200.
    """
    finished = re.search(r"^finished in .*?, ([\d.]+) req/s", output, re.MULTILINE)
    requests = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    traffic = re.search(r"\((\d+)\) data", output)
    if finished is None or requests is None or traffic is None:
        raise MeasuringError(f"h2load said something else than expected: {output[-300:]}")
    if int(requests[1]) != calls:
        raise MeasuringError(f"{calls} calls were made, and of them {requests[0]}")
    latencies = tuple(int(line.rpartition("\t")[2]) / 1000 for line in log.splitlines())
    return Run(calls, float(finished[1]), int(traffic[1]), latencies)


def check(run: Run, expected: int, *, exact: bool) -> None:
    """Make sure that the calls of *run* were answered with messages: a gRPC failure is an HTTP success without any.

    Args:
        run: The run.
        expected: Bytes of all the answers, as they would be if each were like the first.
        exact: Whether the answers are all alike; otherwise they may be a little shorter than the first, or longer.

    Raises:
        MeasuringError: If they were not.
    """
    enough = run.data == expected if exact else run.data >= expected * 0.97
    if not enough:
        raise MeasuringError(f"some of the {run.calls} calls failed: {run.data} bytes were answered, not {expected}")
