"""HAProxy before bridges: the program, from Debian's packages, with the configuration that is ours to give."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from beers_cli import packages, processes

CONFIGURATION = Path(__file__).parents[1] / "k8s/components/proxy/haproxy.cfg"

_START_PATIENCE = 30.0
_STOP_PATIENCE = 30.0


class HAProxy:
    """One HAProxy; used as a context, it runs within.

    Args:
        settings: Its own, such as BRIDGES.
        log: Where it tells what is wrong.
        say: Takes lines for people, of what takes long.

    Attributes:
        port: Where it listens.
        metrics: Where it tells how it is.
    """

    def __init__(self, settings: Mapping[str, str], log: Path, say: Callable[[str], None] = lambda _line: None) -> None:
        self._program = _find(say)
        self._log = log
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self.port = processes.free_port()
        self.metrics = processes.free_port()

    @property
    def address(self) -> str:
        """Where it listens, as gRPC takes it."""
        return f"127.0.0.1:{self.port}"

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The process; only once it was started."""
        if self._process is None:
            raise RuntimeError("HAProxy was not started")
        return self._process

    @property
    def pid(self) -> int | None:
        """The pid, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def said(self) -> str:
        """What it has told, of what is wrong."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def begin(self) -> "subprocess.Popen[bytes]":
        """Start it, without waiting until it listens."""
        own = {"LISTEN": self.address, "METRICS": f"127.0.0.1:{self.metrics}", **self._settings}
        with self._log.open("ab") as output:
            self._process = processes.start(
                [self._program, "-db", "-f", CONFIGURATION], environment={**os.environ, **own}, output=output
            )
        return self._process

    def start(self) -> None:
        """Start it, and wait until it listens at both.

        Raises:
            RuntimeError: If it does not.
        """
        started, deadline = self.begin(), time.monotonic() + _START_PATIENCE
        for port in (self.port, self.metrics):  # it opens one after the other
            while not _listens(port):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    started.wait(0.02)
                    raise RuntimeError(self.said)
                if time.monotonic() > deadline:
                    raise RuntimeError("HAProxy does not listen")

    def stop(self) -> None:
        """Stop it at once: SIGTERM, where SIGUSR1 would wait for the last stream."""
        if self._process is not None:
            processes.stop(self._process, _STOP_PATIENCE)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _find(say: Callable[[str], None]) -> str:
    """Return the program, installing it where that is possible."""
    place = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
    found = shutil.which("haproxy", path=place)
    if found is None:
        packages.install("haproxy", say)
        found = shutil.which("haproxy", path=place)
    if found is None:
        raise RuntimeError("its package holds no haproxy")
    return found
