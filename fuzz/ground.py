"""The product under it: its processes, their memory, its log and its store."""

import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from beers_cli import processes

ROOT = Path(__file__).parents[1]
PARTS = ("service", "bridge", "taplist")
"""The processes whose memory is looked at, if they run."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A product of `beers up` that runs on SQLite.

    Attributes:
        data: Its folder.
        address: Where it listens.
        amqp_uri: Its broker.
    """

    data: Path
    address: str
    amqp_uri: str

    def pids(self) -> dict[str, int]:
        """Return the pid of each part that runs."""
        files = sorted(self.data.rglob("*.pid"))
        traces = {file.stem if file.stem != "server" else "rabbitmq": processes.Trace.read(file) for file in files}
        return {name: trace.pid for name, trace in traces.items() if trace is not None and trace.alive()}

    def memory(self) -> dict[str, float]:
        """Return the resident set of each of `PARTS`, in MiB."""
        return {name: _resident(pid) for name, pid in self.pids().items() if name in PARTS}

    def positions(self) -> tuple[int, int, int]:
        """Return where the log ends, how many events it holds, and the highest of their positions."""
        with closing(sqlite3.connect(self.data / "beers.db", timeout=10)) as store:
            head = store.execute("SELECT position FROM log_head").fetchone()[0]
            number, highest = store.execute("SELECT count(*), coalesce(max(position), 0) FROM events").fetchone()
        return int(head), int(number), int(highest)

    def admin(self, arguments: Sequence[str]) -> str:
        """Run `beers admin`; return what is wrong with how it ended, and nothing if it ended well."""
        done = subprocess.run(
            [sys.executable, "-m", "beers_cli", "admin", *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=300,
        )
        return "" if done.returncode == 0 else (done.stderr or done.stdout).decode(errors="replace").strip()[-500:]


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return round(int(line.split()[1]) / 1024, 1)
