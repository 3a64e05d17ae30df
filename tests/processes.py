"""Processes of Nameko services, ours and others, and the patience that it takes to wait for them."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 40
"""Seconds after which a test gives up: many more than it takes, for a machine may be busy."""


class Process:
    """A process of the service, its output in a file."""

    def __init__(self, folder: Path, arguments: list[str], environ: dict[str, str]) -> None:
        self.output = folder / f"output-{uuid.uuid4().hex}"
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                env={**os.environ, "LOG_FORMAT": "json", **environ},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    @property
    def pid(self) -> int:
        return self._process.pid

    def lines(self) -> list[dict[str, Any]]:
        """Return what the process logged."""
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]

    def await_line(self, event: str, times: int = 1) -> None:
        def there() -> bool:
            assert self._process.poll() is None or self.text.count(f'"event":"{event}"') >= times, self.text
            return self.text.count(f'"event":"{event}"') >= times

        eventually(there)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def alive(self) -> bool:
        return self._process.poll() is None

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for the end and return the exit status."""
        return self._process.wait(patience)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def eventually(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


Start = Callable[..., Process]
"""What the fixture `start` gives."""
