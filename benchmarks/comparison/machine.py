"""What the figures were measured on."""

import os
import platform
import re
import sqlite3
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.comparison.load import H2load

LIBRARIES = ("nameko", "eventlet", "kombu", "amqp", "grpcio", "protobuf", "uvloop", "pamqp", "sqlalchemy", "orjson")
SYNCS = 50


def describe(load: H2load) -> dict[str, Any]:
    """Return the machine, the disk's speed and the versions of what was measured."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "load_average_before": round(os.getloadavg()[0], 2),
        "fsync_ms": round(sync_time(load.folder) * 1000, 2),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "h2load": _first([load.program, "--version"], r"nghttp2/(\S+)"),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def sync_time(folder: Path) -> float:
    """Return the seconds that the disk takes to keep a page for good, the median."""
    taken = []
    file = folder / "sync"
    with file.open("wb", buffering=0) as output:
        for _ in range(SYNCS):
            output.write(bytes(4096))
            started = time.perf_counter()
            os.fsync(output.fileno())
            taken.append(time.perf_counter() - started)
    file.unlink()
    return median(taken)


def _field(file: str, name: str) -> str:
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError:  # not Linux
        return ""
    found = re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def _first(command: list[str], pattern: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout)
    return found[1] if found else "unknown"
