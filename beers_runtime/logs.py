"""Logs: one event a line on standard output, for people on a terminal, as JSON for machines.

The logger is made once, by the process's entry point, and handed to whoever logs. What libraries say through the
standard library's logging leaves through the same door in the same form.
"""

import logging
import os
import sys

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
    added: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Processor]
    if as_json:
        renderer = [_EXCEPTIONS, structlog.processors.JSONRenderer(serializer=_to_json)]
    else:
        renderer = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(),
                pad_event_to=0,
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    _route_standard_library(process, LEVELS[level], added, renderer)
    bound: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stdout),
        processors=[*added, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
    ).bind(process=process)
    return bound


# Without the frames' local variables: they hold payloads and passwords.
_EXCEPTIONS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def _to_json(event: EventDict, **_: object) -> str:
    return orjson.dumps(event, default=repr).decode()


def _route_standard_library(process: str, level: int, added: list[Processor], renderer: list[Processor]) -> None:
    def add_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*added, structlog.stdlib.add_logger_name, add_process],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries tell at INFO what they are about to do; what came of it is in our own lines.
    root.setLevel(max(level, logging.WARNING))
