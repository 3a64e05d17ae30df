"""The processes of a run: what can be started, killed and frozen."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Protocol

from beers_cli import processes
from beers_cli.rabbitmq import RabbitMQNode
from tests.nodes import PostgreSQLNode

STOP_PATIENCE = 20.0


class Part(Protocol):
    """A process, with its children if it has any."""

    role: str
    name: str
    may_end: bool
    """Whether it may end by itself when the disk is full or what it needs is away."""

    def begin(self) -> None:
        """Start it, without waiting for anything."""
        ...

    def process(self) -> "subprocess.Popen[bytes]":
        """Return the process that was started last."""
        ...

    def pids(self) -> list[int]:
        """Return its processes that run, the parent first."""
        ...

    def stop(self) -> None:
        """Stop it for good, politely."""
        ...


def alive(part: Part) -> bool:
    """Tell whether *part* runs."""
    return part.process().poll() is None


def send(part: Part, number: signal.Signals) -> None:
    """Send a signal to all processes of *part*; when they were killed, wait until the parent is gone."""
    for pid in part.pids():
        with contextlib.suppress(ProcessLookupError):  # it was just ending
            os.kill(pid, number)
    if number == signal.SIGKILL:
        part.process().wait()


class Program:
    """A Python module of ours that runs until it is told to stop; it prints to ``<name>.log``."""

    may_end = False

    def __init__(
        self, role: str, name: str, arguments: list[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        self.role = role
        self.name = name
        self._command = [sys.executable, "-m", *arguments]
        self._environment = environment
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._copying: list[threading.Thread] = []

    def begin(self) -> None:
        """Start it."""
        self._process = process = processes.start(
            self._command, environment=self._environment, folder=self._folder, output=subprocess.PIPE
        )
        copying = threading.Thread(target=self._copy, args=(process.stdout,), daemon=True)
        copying.start()
        self._copying.append(copying)

    def process(self) -> "subprocess.Popen[bytes]":
        """Return the process that was started last."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    def pids(self) -> list[int]:
        """Return the process, if it runs."""
        return [self.process().pid] if self.process().poll() is None else []

    def stop(self) -> None:
        """Stop it, and wait until everything that it has printed is in its log."""
        if self._process is not None:
            processes.stop(self._process, STOP_PATIENCE)
        for copying in self._copying:
            copying.join(STOP_PATIENCE)

    def _copy(self, printed: IO[bytes]) -> None:
        # Through us, since a limit on the size of its files must not make its log fail.
        with printed, (self._folder / f"{self.name}.log").open("ab", buffering=0) as log:
            while piece := os.read(printed.fileno(), 65536):
                log.write(piece)


class NodePart:
    """A private RabbitMQ or PostgreSQL. The latter may end by itself if it has no room for its own log."""

    def __init__(self, role: str, node: RabbitMQNode | PostgreSQLNode, name: str = "") -> None:
        self.role = role
        self.name = name or role
        self.may_end = isinstance(node, PostgreSQLNode)
        self.node = node

    def begin(self) -> None:
        """Start it, on what the last one left."""
        self.node.begin()

    def process(self) -> "subprocess.Popen[bytes]":
        """Return the server, the parent of all its processes."""
        return self.node.process

    def pids(self) -> list[int]:
        """Return the server and its children, if it runs."""
        return [] if self.node.pid is None else [self.node.pid, *_children(self.node.pid)]

    def stop(self) -> None:
        """Stop it."""
        self.node.stop()


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(fields[1]) == pid:
                    found.append(int(entry.name))
    return found
