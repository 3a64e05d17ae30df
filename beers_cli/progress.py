"""How far a long command has come: a bar on a terminal, else a line every few seconds. On standard error."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

_LINE_EVERY = 5.0


class Progress:
    """The progress of one command; use it in a `with` statement."""

    def __init__(self, verb: str, size: int | None) -> None:
        """Prepare to show.

        Args:
            verb: What is done with the items, such as "imported".
            size: How much there is in all, in the unit of `update`'s *position*; None if nobody knows.
        """
        self._verb = verb
        self._size = size
        self._started = time.monotonic()
        self._last_line = self._started
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._bar: Bar | None = None
        if self._console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                *([TaskProgressColumn(), TimeRemainingColumn()] if size else []),
                _Rate(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(verb, total=size, items=0)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, items: int, position: int) -> None:
        """Show that *items* are done and that the work has come to *position*."""
        if self._bar is not None:
            self._bar.update(self._task, completed=position, items=items)
            return
        now = time.monotonic()
        if now - self._last_line >= _LINE_EVERY:
            self._last_line = now
            rate = items / (now - self._started)
            share = f", {min(position / self._size, 1):.0%}" if self._size else ""
            self.say(f"{self._verb} {items:,} ({rate:,.0f}/s{share})")

    def say(self, line: str) -> None:
        """Write a line of text above the bar."""
        if self._bar is not None:
            self._console.print(Text(line), soft_wrap=True)
        else:
            sys.stderr.write(f"{line}\n")


class _Rate(ProgressColumn):
    """Items done, and how many in a second."""

    def render(self, task: Task) -> Text:
        items = task.fields["items"]
        rate = items / task.elapsed if task.elapsed else 0
        return Text(f"{items:,} done, {rate:,.0f}/s")
