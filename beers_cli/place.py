"""Where a follower of the log is, in a file that survives it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from beers_cli import processes
from beers_cli.failure import Failure


class Place:
    """A place in the log: a resume token and, for whoever looks, the position that it stands for."""

    def __init__(self, file: Path | None) -> None:
        """Read the place that *file* keeps; None keeps it nowhere."""
        self._file = file
        self.token = "" if file is None else _read(file)

    def move(self, token: str, position: int | None = None) -> None:
        """Remember *token*, durably: after a loss of power the file holds it, or the one before."""
        if not token or token == self.token:
            return
        self.token = token
        if self._file is None:
            return
        document = {"resume_token": token} | ({} if position is None else {"position": position})
        unfinished = self._file.with_name(f"{self._file.name}.unfinished")
        try:
            with unfinished.open("w", encoding="utf-8") as file:
                json.dump(document, file)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._file)
            _sync_folder(self._file.parent)
        except OSError as error:
            raise Failure(f"Cannot write {self._file}: {error.strerror}.") from error


@contextmanager
def kept_in(name: str) -> Iterator[Place]:
    """Return the place that the file *name* keeps, and let no other process have it meanwhile; "" keeps none.

    Raises:
        Failure: If another process follows with this file, or it cannot be used.
    """
    if not name:
        yield Place(None)
        return
    file = Path(name).resolve()  # the file itself is replaced, not a link to it
    if file.exists() and not file.is_file():
        raise Failure(f"{name} is no ordinary file.", "Name another with --state.")
    # Beside the file, which is another one after every move.
    beside = file.with_name(f"{file.name}.lock")
    try:
        lock = processes.lock(beside)
    except processes.Held as held:
        raise Failure(
            f"Somebody follows with {name} already (process {held}).",
            "Stop that one first, or name another file with --state.",
        ) from held
    except OSError as error:
        raise Failure(f"Cannot write {beside}: {error.strerror}.", "Name another file with --state.") from error
    with lock:
        yield Place(file)


def _read(file: Path) -> str:
    hint = "Mend it, or delete it to begin at --from again."
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Failure(f"Cannot read {file}: {error.strerror}.", "Name another file with --state.") from error
    except (ValueError, RecursionError) as error:
        raise Failure(f"{file} holds no place in the log.", hint) from error
    token = document.get("resume_token") if isinstance(document, dict) else None
    if not isinstance(token, str) or not token:
        raise Failure(f"{file} holds no place in the log.", hint)
    return token


def _sync_folder(folder: Path) -> None:
    """Make a rename in *folder* durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems have no such thing for folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
