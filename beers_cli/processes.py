"""Child processes that never outlive the one that started them, and their traces on disk.

Three guards stand behind "leaves no process": the ordinary stop; on Linux the kernel, which kills a child whose parent
died (even from kill -9); and a record of pid and start time, by which the next run finds what is left elsewhere.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import zipimport
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_LINUX = sys.platform == "linux"
_KILLED_BY_THE_KERNEL = _LINUX


def in_one_file() -> bool:
    """Tell whether this program is a zipapp, which unpacks what it holds where no other Python looks for it."""
    return isinstance(getattr(sys.modules["__main__"].__spec__, "loader", None), zipimport.zipimporter)


def finding_us(environment: Mapping[str, str]) -> dict[str, str]:
    """Return *environment* with what ``python -m`` needs in it to find our packages.

    For programs of ours alone: those of others may run on another Python, for which what we bring along is not made.
    """
    if not in_one_file():
        return dict(environment)
    places = [str(Path(__file__).parents[1]), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(places)}


def start(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    folder: Path | None = None,
    output: int | IO[bytes] = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start *command* in a session of its own, so that the terminal's Ctrl-C does not reach it.

    On Linux the child is killed when the calling *thread* ends: call from the main thread.

    Args:
        command: The program and its arguments.
        environment: Its whole environment.
        folder: Its working directory; without it, ours.
        output: Where both its standard output and error go.
    """
    return subprocess.Popen(  # noqa: S603 - the callers' own programs
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with_parent() if _KILLED_BY_THE_KERNEL else None,  # noqa: PLW1509 - only system calls in there
    )


def _die_with_parent() -> Callable[[], None]:
    # Everything that takes locks (loading libc, looking up a symbol) is done before the fork.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return in_child


def stop(process: subprocess.Popen[bytes], patience: float) -> bool:
    """Ask *process* to end, kill it after *patience* seconds, and wait until it is gone.

    Returns:
        Whether it ended by itself.
    """
    if process.poll() is not None:
        return True
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)  # a frozen one hears nothing
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


@dataclass(frozen=True)
class Trace:
    """A process as it can be found again: its pid, and when it started, because pids are used again."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "Trace":
        """Return the trace of the running process *pid*."""
        return cls(pid, _started(pid) or "")

    @classmethod
    def read(cls, path: Path) -> "Trace | None":
        """Return the trace kept in the file *path*, if there is one that can be read."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls(int(document["pid"]), str(document["started"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None  # never written, or cut off when the machine went down: nothing to be found by it

    def write(self, path: Path) -> None:
        """Keep the trace in the file *path*."""
        path.write_text(json.dumps({"pid": self.pid, "started": self.started}), encoding="utf-8")

    def alive(self) -> bool:
        """Tell whether this very process still runs."""
        return bool(self.started) and _started(self.pid) == self.started

    def stop(self, patience: float) -> None:
        """End the process, which need not be a child of ours; kill it after *patience* seconds."""
        for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
            if not self.alive():
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
                os.kill(self.pid, signal.SIGCONT)
            self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        if not hasattr(os, "pidfd_open"):
            _wait_by_looking(self, seconds)
            return
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            select.select([descriptor], [], [], seconds)
        finally:
            os.close(descriptor)


def _wait_by_looking(trace: Trace, seconds: float) -> None:
    # Only where the kernel has no pidfd: nothing there tells of the end of somebody else's child.
    for _ in range(int(seconds / 0.05)):
        if not trace.alive():
            return
        select.select([], [], [], 0.05)


def _started(pid: int) -> str | None:
    """Return when *pid* started, in the system's own words; None if it does not run (a zombie does not)."""
    if _LINUX:
        try:
            # The name in parentheses may itself hold spaces and parentheses.
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    shown = subprocess.run(  # noqa: S603
        ["ps", "-o", "lstart=", "-p", str(pid)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return shown.stdout.strip() or None


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a server could listen on *port* of *host*.

    Raises:
        OSError: If *host* is not an address of this machine.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def free_port() -> int:
    """Return a free port that stays free: below those that the kernel gives to outgoing connections."""
    while True:
        port = random.randrange(20000, 30000)  # noqa: S311 - not a secret
        if is_free(port):
            return port


class Held(Exception):
    """Another process has the file. Args: its pid, as far as it is known."""


def lock(path: Path) -> IO[str]:
    """Have the file *path*, made if need be, for this process alone until it is closed; it keeps our pid.

    Raises:
        Held: If another process has it.
        OSError: If it cannot be written.
    """
    file = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise Held(holder) from error
    except OSError:
        file.close()
        raise
    return file


def described(status: int) -> str:
    """Return in words how a process ended."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
