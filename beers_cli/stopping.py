"""Ctrl-C and SIGTERM for commands that run until they are stopped: noted at once, obeyed where it is safe."""

import os
import queue
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from beers_cli.failure import INTERRUPTED


class Stop:
    """Whether somebody wants an end; use it in a `with` statement, in the main thread.

    A second signal ends the process at once, with whatever it is in the middle of.

    Attributes:
        last_act: What to do before ending at once.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._insisted: int | None = None
        self._starting = False
        # Unlike an Event it may be used in a signal handler that interrupts its own user.
        self._bells: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue()]
        self.last_act: Callable[[], object] = lambda: None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def wanted(self) -> bool:
        """Whether an end is wanted."""
        return self._signal is not None

    def rings(self, bell: "queue.SimpleQueue[Any]") -> None:
        """Put None into *bell* once an end is wanted, so that who waits there wakes up."""
        self._bells.append(bell)

    def wait(self, seconds: float) -> bool:
        """Wait for so long, or until an end is wanted; tell whether it is."""
        if not self.wanted:
            try:
                self._bells[0].get(timeout=seconds)
            except queue.Empty:
                return self.wanted
        return self.wanted

    def raise_if_interrupted(self) -> None:
        """Raise KeyboardInterrupt if it was Ctrl-C that ended this; SIGTERM is an end like any other."""
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Put an end at once off to the end of this block, in which `last_act` changes."""
        self._starting = True
        try:
            yield
        finally:
            self._starting = False
            if self._insisted is not None:
                self._end(self._insisted)

    def _end(self, number: int) -> None:
        self.last_act()
        os._exit(INTERRUPTED if number == signal.SIGINT else 128 + number)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.wanted:
            self._insisted = number
            if not self._starting:
                self._end(number)
            return
        self._signal = number
        for bell in self._bells:
            bell.put(None)
