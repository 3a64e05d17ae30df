"""A disk on which there is no room left: a small one of its own, or else files that may not grow."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

_PIECE = 4096

KEPT = 64 * 1024
"""Bytes of a file that a limit spares: SQLite needs its index of the write-ahead log, 32 KiB, even to read."""


class Disk(Protocol):
    """Where the store lies."""

    def fill(self) -> None:
        """Leave no room."""
        ...

    def free(self) -> None:
        """Give the room back."""
        ...

    def close(self) -> None:
        """Let go of it, with all that is on it."""
        ...


class SmallDisk:
    """A tmpfs, mounted on a folder; that takes root."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"

    @classmethod
    def mount(cls, folder: Path, mebibytes: int) -> "SmallDisk | None":
        """Return the disk, or None if this process may not mount one here."""
        if sys.platform != "linux" or os.geteuid() != 0:
            return None
        options = f"size={mebibytes}m,mode=755"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "beers-chaos", str(folder)],  # noqa: S607 - where it is differs
            capture_output=True,
            check=False,
        )
        return cls(folder) if done.returncode == 0 else None

    def fill(self) -> None:
        """Write a file that takes all the room that there is."""
        room = os.statvfs(self._folder)
        piece = room.f_bavail * room.f_frsize
        taken = 0
        with self._ballast.open("wb", buffering=0) as ballast:
            # Others write meanwhile: what is there no more cannot be taken in one piece.
            while piece >= _PIECE:
                try:
                    os.posix_fallocate(ballast.fileno(), taken, piece)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    piece //= 2
                else:
                    taken += piece

    def free(self) -> None:
        """Delete that file."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", "--lazy", str(self._folder)], capture_output=True, check=True)  # noqa: S607 - see above


class FileSizeLimit:
    """Forbids running processes to write to any file behind `KEPT`; what they print must not go to a file.

    Args:
        pids: Returns the processes that are meant, each time.
    """

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids

    @staticmethod
    def possible() -> bool:
        """Tell whether this system can do that to other processes."""
        return sys.platform == "linux"

    def fill(self) -> None:
        """Forbid it."""
        self._limit(KEPT)

    def free(self) -> None:
        """Allow it again."""
        self._limit(resource.RLIM_INFINITY)

    def close(self) -> None:
        """There is nothing to let go of."""

    def _limit(self, soft: int) -> None:
        for pid in self._pids():
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (min(soft, hard) if hard >= 0 else soft, hard))
