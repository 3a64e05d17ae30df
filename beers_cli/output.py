"""Where the lines of `beers up` go: to a reader that may be slow, stand still or be gone, and is never waited for."""

import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

import orjson
import typer

LIMIT = 2**20
"""Bytes that wait for a reader; lines beyond them are dropped."""

_LAST_WORDS = 1.0
"""Seconds that a reader has, at the end, to take what still waits for it."""
_COLOURS = {"service": "green", "bridge": "cyan"}


class Outlet:
    """Writes to a file descriptor in a thread of its own, so that nobody who has something to write waits.

    A thread, because the descriptor cannot be made non-blocking: a terminal shares that with every other program on it.
    """

    def __init__(self, descriptor: int, tell: Callable[[int], str]) -> None:
        """Open the outlet.

        Args:
            descriptor: Where to write.
            tell: Returns the line that says how many were dropped; it is written in their place.
        """
        self._descriptor = descriptor
        self._tell = tell
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._closing = False
        self._broken = False
        self._thread = threading.Thread(target=self._write_all, name=f"output {descriptor}", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Have *line* written, or dropped if too much waits already."""
        content = f"{line}\n".encode(errors="replace")
        with self._changed:
            if self._broken:
                return
            # Once one is dropped so are those behind it, until the writer has told of it: the order stays.
            if self._dropped or self._size >= LIMIT:
                self._dropped += 1
                return
            self._waiting.append(content)
            self._size += len(content)
            self._changed.notify()

    def close(self) -> None:
        """Let the reader have what waits for it, if it takes that within a moment."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_LAST_WORDS)

    def _write_all(self) -> None:
        while content := self._take():
            try:
                self._write(content)
            except OSError:
                # The terminal is gone, or nobody reads any more. That must not keep us from stopping what runs.
                with self._changed:
                    self._broken = True
                    self._waiting.clear()
                return

    def _take(self) -> bytes:
        """Return what waits, once there is something; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if self._dropped:
                self._waiting.append(f"{self._tell(self._dropped)}\n".encode())
            content = b"".join(self._waiting)
            self._waiting.clear()
            self._size = self._dropped = 0
            return content

    def _write(self, content: bytes) -> None:
        while content:
            try:
                content = content[os.write(self._descriptor, content) :]
            except BlockingIOError:  # another program on the terminal has made it so
                select.select([], [self._descriptor], [])


class Output:
    """Standard output: lines of ours and of the parts, each with who said it in front. Use it in a `with` statement.

    With *plain* the parts' lines are left as they are, one JSON document each, and ours go to standard error. *width*
    is that of the longest name.
    """

    def __init__(self, *, plain: bool, width: int = 8) -> None:
        self._plain = plain
        self._width = width
        self._colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def __enter__(self) -> Self:
        tell = _dropped_as_json if self._plain else self._dropped
        self._parts = Outlet(sys.stdout.fileno(), tell)
        self._ours = Outlet(sys.stderr.fileno(), self._dropped) if self._plain else self._parts
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._parts.close()
        if self._ours is not self._parts:
            self._ours.close()

    def say(self, line: str) -> None:
        """Write a line of our own."""
        self._ours.put(self._marked("beers", line))

    def line(self, name: str, line: str) -> None:
        """Write a line of the part called *name*."""
        self._parts.put(line if self._plain else self._marked(name, line))

    def _marked(self, name: str, line: str) -> str:
        front = f"{name:<{self._width}} | "
        if self._colours:
            front = typer.style(front, fg=_COLOURS.get(name.partition("-")[0]), bold=name == "beers")
        return f"{front}{line}"

    def _dropped(self, count: int) -> str:
        return self._marked("beers", f"{count} lines are missing here: they were not read in time")


def _dropped_as_json(count: int) -> str:
    document = {"event": "lines are missing here: they were not read in time", "count": count, "level": "warning"}
    return orjson.dumps({"process": "beers", **document}).decode()
