"""Logs: one event a line on standard output, for people on a terminal, as JSON for machines.

The logger is made once, by the process's entry point, and handed to whoever logs. What libraries say through the
standard library's logging leaves through the same door in the same form.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import get_ident
from typing import TextIO

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}
STYLES = ("auto", "json", "console")


def configure(*, process: str, level: str = "INFO", style: str = "auto") -> FilteringBoundLogger:
    """Set up the logs of this process and return its logger.

    Args:
        process: What the process is; stands in every line as ``process``, unless BEERS_PART in the environment tells
            it from others of its kind.
        level: The least level that is written, one of `LEVELS`.
        style: ``json``, ``console``, or ``auto``: the console's form if standard output is a terminal.
    """
    process = os.environ.get("BEERS_PART") or process
    as_json = style == "json" or (style == "auto" and not sys.stdout.isatty())
    renderer: list[Processor]
    if as_json:
        renderer = [_to_json]
    else:
        renderer = [
            _write_time,
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(),
                pad_event_to=0,
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    _route_standard_library(process, LEVELS[level], renderer)
    bound: FilteringBoundLogger = structlog.wrap_logger(
        _Lines(sys.stdout),
        processors=[*_ADDED, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
    ).bind(process=process)
    return bound


@contextmanager
def together(logger: FilteringBoundLogger) -> Iterator[None]:
    """Have the lines that *logger*, one of `configure`, is given within the block written at its end, all at once.

    For a block that does nothing else and waits for nothing, in the only thread that logs: what others say meanwhile
    is held as well, and what leaves through the standard library's logging is not. A warning, or worse, ends the
    waiting: it may be the last word.
    """
    lines = getattr(logger, "_logger", None)
    if not isinstance(lines, _Lines):
        yield
        return
    lines.hold()
    try:
        yield
    finally:
        lines.release()


@contextmanager
def turn_by_turn(logger: FilteringBoundLogger, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have the lines that *logger*, one of `configure`, is given in one turn of *loop* written at its end, all at once.

    So it is as long as the block lasts, for what is said in the loop's own thread, which the block is in; what others
    say is written at once, and a warning, or worse, as in `together`.
    """
    lines = getattr(logger, "_logger", None)
    if not isinstance(lines, _Lines):
        yield
        return
    lines.gather(loop.call_soon)
    try:
        yield
    finally:
        lines.gather(None)


class _Lines:
    """Writes lines to a file, each with one call of the system, also where Python does not buffer.

    A log that cannot be written stops nobody. That it cannot is told on standard error, once until it can again.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._failing = False
        self._held: list[str] | None = None
        self._soon: Callable[[Callable[[], None]], object] | None = None
        self._gathering: int | None = None  # the thread that does

    def hold(self) -> None:
        if self._held is None:
            self._held = []

    def release(self) -> None:
        held, self._held = self._held, None
        if held:
            self._write("\n".join(held))

    def gather(self, soon: Callable[[Callable[[], None]], object] | None) -> None:
        """Write soon what is said in this thread; at once, if *soon* is None."""
        self._soon, self._gathering = soon, get_ident() if soon else None
        self.release()

    def msg(self, line: str) -> None:
        if not self._ours():
            self._write(line)
            return
        if self._soon is not None and self._held is None:
            self._held = []
            self._soon(self.release)
        if self._held is None:
            self._write(line)
        else:
            self._held.append(line)

    debug = info = msg

    def urgent(self, line: str) -> None:
        self.msg(line)
        if self._ours():
            self.release()

    warning = error = critical = urgent

    def _ours(self) -> bool:
        return self._gathering is None or get_ident() == self._gathering

    def _write(self, lines: str) -> None:
        try:
            self._file.write(f"{lines}\n")
            self._file.flush()
        except OSError as error:
            if not self._failing:
                self._failing = True
                with suppress(OSError):  # there is nobody left to tell
                    print(f"the log cannot be written: {error}", file=sys.stderr, flush=True)  # noqa: T201
        else:
            self._failing = False


def _add_level_and_time(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["level"] = "error" if method == "exception" else method
    event["timestamp"] = datetime.now(UTC)
    return event


def _write_time(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["timestamp"] = event["timestamp"].isoformat().replace("+00:00", "Z")
    return event


_ADDED: list[Processor] = [_add_level_and_time]

# Without the frames' local variables: they hold payloads and passwords.
_EXCEPTIONS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def _to_json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    if "exc_info" in event:
        event = _EXCEPTIONS(logger, method, event)
    return orjson.dumps(event, default=repr, option=orjson.OPT_UTC_Z).decode()


def _route_standard_library(process: str, level: int, renderer: list[Processor]) -> None:
    def add_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_ADDED, structlog.stdlib.add_logger_name, add_process],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries tell at INFO what they are about to do; what came of it is in our own lines.
    root.setLevel(max(level, logging.WARNING))
