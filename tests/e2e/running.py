"""`beers up` as a user starts it, in processes of its own, and whatever else runs beside it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beers_cli import processes
from tests.nodes import wait_for_none_with

PATIENCE = 60.0
TO_THE_END = 100.0
Finished = subprocess.CompletedProcess[str]
ROOT = Path(__file__).parents[2]


def until(done: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait until *done* returns something true, and return that."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if result := done():
            return result
        time.sleep(0.02)
    raise AssertionError(f"not within {patience:g} s: {what}")


def result_of(module: str, *arguments: str, patience: float) -> dict[str, Any]:
    """Run a module that tries the product, see that it is content, and return the line for programs."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            printed, told = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.terminate()  # it stops what it has started
            printed, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
    line: dict[str, Any] = json.loads(printed)
    return line


def fuzz(folder: Path, *arguments: str, patience: float) -> dict[str, Any]:
    """Run `make fuzz`, see that it found nothing, and return the line for programs."""
    result = result_of("fuzz", "--output", str(folder / "fuzz"), *arguments, patience=patience)
    assert (result["ok"], result["findings"]) == (True, {})
    assert min(result["connections"], result["messages"], result["answered"], result["probes"]) > 0
    assert {"OK", "INVALID_ARGUMENT"} <= result["codes"].keys()
    return result


def finished(command: list[str], environment: dict[str, str], folder: Path | None = None, given: str = "") -> Finished:
    """Run a command to its end. One that does not end in time has to say where it stands, and is ended."""
    with subprocess.Popen(
        command,
        env=environment | {"PYTHONFAULTHANDLER": "1"},
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            printed, told = process.communicate(given, timeout=TO_THE_END)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)  # all that it has started as well
            printed, told = process.communicate(timeout=PATIENCE)
            raise AssertionError(f"not within {TO_THE_END:g} s: {command}\n{printed}\n{told}") from None
    return Finished(command, process.returncode, printed, told)


class Running:
    """A program whose lines are kept."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.lines: list[str] = []
        self._come = threading.Condition()
        self.process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, pattern: str, count: int = 1, patience: float = PATIENCE) -> re.Match[str]:
        """Wait until *count* lines match *pattern*; return the last of the matches."""
        expression = re.compile(pattern)

        def found() -> list[re.Match[str]]:
            return [match for line in self.lines if (match := expression.search(line))]

        with self._come:
            assert self._come.wait_for(lambda: len(found()) >= count, patience), "\n".join(self.lines)
        return found()[count - 1]

    def stop(self, number: signal.Signals = signal.SIGTERM, patience: float = PATIENCE) -> int:
        """Send a signal, wait for the end and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(patience)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._reader.join(10)
            assert self.process.stdout is not None
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._come:
                self.lines.append(line.rstrip("\n"))
                self._come.notify_all()


class Product:
    """`beers up` on a folder, and the command line that talks to it."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.data = folder / "var"
        self.folder = folder
        self.port = processes.free_port()
        self.marker = f"BEERS_TEST_RUN={uuid.uuid4().hex}"
        name, _, value = self.marker.partition("=")
        inherited = {key: text for key, text in os.environ.items() if key not in ("AMQP_URI", "DATABASE_URL")}
        self.environment = inherited | {
            "PYTHONPATH": str(ROOT),
            "BEERS_ADDRESS": f"127.0.0.1:{self.port}",
            "BEERS_CONFIG": str(ROOT / "config.yaml"),
            "LOG_FORMAT": "json",
            name: value,
            **environment,
        }
        self._running: Running | None = None

    @property
    def running(self) -> Running:
        assert self._running is not None
        return self._running

    def start(self, *options: str) -> None:
        """Start it and wait until it says that it serves."""
        command = [sys.executable, "-m", "beers_cli", "up", "--port", str(self.port), *options]
        self._running = Running(command, self.environment, self.folder)
        self._running.wait_for(f"serving on 127.0.0.1:{self.port}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it, and see that nothing of it is left."""
        status = self.running.stop(number)
        assert wait_for_none_with(self.marker) == {}
        return status

    def kill(self, part: str) -> None:
        """End a part as a crash would, and wait until the supervisor has noticed."""
        name = {"rabbitmq": "rabbitmq/server.pid"}.get(part, f"{part}.pid")
        trace = processes.Trace.read(self.data / name)
        assert trace is not None
        seen = sum(f"{part} was killed" in line for line in self.running.lines)
        os.kill(trace.pid, signal.SIGKILL)
        self.running.wait_for(f"{part} was killed by SIGKILL; starting it again", seen + 1)

    def beers(self, *arguments: str, status: int = 0) -> str:
        """Run the command line and return what it printed: on standard output, else on standard error."""
        done = finished([sys.executable, "-m", "beers_cli", *arguments], self.environment)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout or done.stderr

    def json(self, *arguments: str, status: int = 0) -> Any:
        """Run the command line with --json and return the document."""
        return json.loads(self.beers(*arguments, "--json", status=status))

    def broker(self) -> str:
        """Return the URI of the private RabbitMQ."""
        port = json.loads((self.data / "rabbitmq" / "ports.json").read_text())["amqp"]
        return f"amqp://guest:guest@127.0.0.1:{port}/"
