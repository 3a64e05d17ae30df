"""What is told of each call that has ended: a line of the log, its measure and its span."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

import grpc
from structlog.typing import FilteringBoundLogger

from beers_runtime.tracing import OFF, Tracing, ids
from grpc_bridge import spans
from grpc_bridge.identifiers import in_a_log
from grpc_bridge.received import Call

Measure = Callable[[str, grpc.StatusCode, float, str], None]
"""Takes each call that has ended: its method, status, seconds, and the trace that it was part of."""


class Journal:
    """Tells of calls.

    Args:
        logger: Gets commands and failures at info level, other reads at debug level.
        measure: Takes each call; None: nobody wants to know.
        tracing: Takes the spans of those whose trace is sampled.
        knows_clients: Whether clients are asked who they are, so that a line is to name them.

    Attributes:
        tracing: As it was given.
    """

    def __init__(
        self,
        logger: FilteringBoundLogger,
        *,
        measure: Measure | None = None,
        tracing: Tracing = OFF,
        knows_clients: bool = False,
    ) -> None:
        self.tracing: Final = tracing
        self._logger = logger
        self._measure = measure
        self._knows_clients = knows_clients
        self._tells_reads = logger.is_enabled_for(logging.DEBUG)

    def ended(self, method: str, call: Call, code: grpc.StatusCode, started: float) -> None:
        """Tell that *call* of *method* has ended with *code*; it *started* then, by `time.perf_counter`."""
        seconds = time.perf_counter() - started
        if self._measure is not None:
            self._measure(method, code, seconds, call.traceparent)
        if call.span is not None:
            spans.answered(self.tracing, call.span, method, code, call.correlation_id)
        # Commands and failures are what one looks for; reads that went well only bury them.
        told = bool(call.request_id) or code is not grpc.StatusCode.OK
        if not (told or self._tells_reads):
            return
        write = self._logger.info if told else self._logger.debug
        more: Mapping[str, int | str] = call.counts
        if self._knows_clients:
            more = {**more, "identity": in_a_log(call.identity.name) if call.identity else "", "fault": call.fault}
        write(
            "call",
            method=method,
            code=code.name,
            duration_ms=round(seconds * 1000, 1),
            request_id=in_a_log(call.request_id),
            correlation_id=call.correlation_id,
            **more,
            **ids(call.traceparent),
        )

    def bug(self, method: str, call: Call, error: Exception, error_id: str) -> None:
        """Tell what nobody foresaw, under the id that the client may quote."""
        self._logger.error(
            "a call failed for a reason that nobody foresaw",
            method=method,
            error_id=error_id,
            correlation_id=call.correlation_id,
            exc_info=error,
        )
