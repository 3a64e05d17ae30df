"""Programs of ours that run beside the conductor, which forks and therefore speaks no gRPC itself."""

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from chaos.stage import ROOT


class Assistant:
    """A program of ours that takes orders on its standard input, and prints one document in the end."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path) -> None:
        self._name = name
        self._printed: list[str] = []
        self._errors = (folder / f"{name}.log").open("a", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"chaos.{name}", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        # What it prints may be more than a pipe holds.
        self._reading = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reading.start()

    def tell(self, line: str) -> None:
        """Give it an order."""
        if self._process.stdin is not None and self._process.poll() is None:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()

    def ended(self) -> bool:
        """Tell whether it has ended."""
        return self._process.poll() is not None

    def wait(self, patience: float) -> None:
        """Wait for its end, or for *patience* seconds."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            return

    def finish(self, incidents: list[str]) -> str:
        """Return what it has printed; that it failed or does not end is an incident."""
        if not self.ended():
            incidents.append(f"the program {self._name} did not end")
        elif self._process.returncode:
            words = Path(self._errors.name).read_text(encoding="utf-8").strip().splitlines()
            incidents.append(f"the program {self._name} failed: {words[-1] if words else 'it says nothing'}")
        self.close()
        return "".join(self._printed)

    def close(self) -> None:
        """End it, however far it has come."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        self._reading.join()
        self._errors.close()

    def _read(self, printed: IO[str]) -> None:
        with printed:
            self._printed.append(printed.read())
