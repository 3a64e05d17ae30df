"""The spans of the service and of its subscribers: a call, its commit, the telling of its events, their handling.

    process beers.add            a call, however many came in its message
    ├── commit                   the transaction, which it may share with calls of other traces
    └── publish BeerAdded        the relay tells its event; perhaps much later, and in another process
        └── process BeerAdded    a handler of `beers_service.subscriber`

An event keeps the ``traceparent`` of its call, so that its trace goes on wherever and whenever it is told.
"""

import atexit
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, Protocol

from structlog.typing import FilteringBoundLogger

from beers_runtime.topology import EVENTS_EXCHANGE, RPC_QUEUE, SERVICE
from beers_runtime.tracing import OFF, Span, Tracing, is_sampled
from beers_runtime.tracing_settings import FLUSH, start, tracing_settings
from beers_service.domain.errors import BeersError, DeadlinePassed, OutcomeUnknown, Overloaded, StoreUnavailable
from beers_service.ports import EventRecord

_OURS: Final = (Overloaded, StoreUnavailable, OutcomeUnknown, DeadlinePassed)
"""Errors that are not the caller's."""

_PROCESS: Final = {
    "messaging.system": "rabbitmq",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
}
_PUBLISH: Final = {
    "messaging.system": "rabbitmq",
    "messaging.operation.name": "publish",
    "messaging.operation.type": "send",
}
_NOTHING: Final = nullcontext()


class Traced(Protocol):
    """Whatever may be part of a trace."""

    @property
    def traceparent(self) -> str | None:
        """The trace, as W3C Trace Context writes it; None if there is none."""


class Spans:
    """Makes the spans of a process.

    Args:
        tracing: Knows which traces are sampled.
        store: What the store is, as OpenTelemetry calls it: ``sqlite`` or ``postgresql``.
    """

    def __init__(self, tracing: Tracing = OFF, store: str = "") -> None:
        self._tracing = tracing
        self._commit = {"db.system.name": store, "db.operation.name": "commit"}

    def begin(self, calls: Sequence[Traced], *, edge: bool) -> list[Span | None] | None:
        """Return a span for each of *calls* whose trace is sampled; None if there is no such call.

        At the *edge* a call comes from its caller himself, and what he leaves open is decided here.
        """
        tracing = self._tracing
        if not tracing.on:
            return None
        begin = tracing.enter if edge else tracing.join
        spans = [begin(call.traceparent) for call in calls]
        return spans if any(spans) else None

    def end(self, span: Span, method: str, correlation_id: str, answer: object, together: int) -> None:
        """End the *span* of a call of *method* that got *answer*, one of so many in its message."""
        attributes: dict[str, str | int] = {
            **_PROCESS,
            "messaging.destination.name": RPC_QUEUE,
            "messaging.message.conversation_id": correlation_id,
            "rpc.method": method,
        }
        if together > 1:
            attributes["messaging.batch.message_count"] = together
        error = ""
        if isinstance(answer, Exception):
            attributes["beers.outcome"] = type(answer).__name__
            if isinstance(answer, _OURS) or not isinstance(answer, BeersError):
                error = type(answer).__name__
        self._tracing.end(span, f"process {SERVICE}.{method}", "consumer", attributes, error=error)

    def commit(self, requests: Sequence[Traced]) -> AbstractContextManager[None]:
        """Return what is to surround the transaction that carries out *requests*."""
        if not self._tracing.on:
            return _NOTHING
        # The beers of an import are requests of one call.
        parents = dict.fromkeys(request.traceparent for request in requests)
        spans = [span for parent in parents if (span := self._tracing.join(parent, local=True))]
        return self._committing(spans, len(requests)) if spans else _NOTHING

    @contextmanager
    def _committing(self, spans: Sequence[Span], size: int) -> Iterator[None]:
        attributes: Mapping[str, str | int] = self._commit
        if size > 1:
            attributes = {**self._commit, "db.operation.batch.size": size}
        error = ""
        try:
            yield
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            # Each trace shows the transaction, and those after the first are linked to that: it is one and the same.
            for span in spans:
                links = () if span is spans[0] else (spans[0],)
                self._tracing.end(span, "commit", "client", attributes, error=error, links=links)

    def publish(self, window: Sequence[EventRecord]) -> AbstractContextManager[Sequence[EventRecord]]:
        """Return what is to surround the telling of *window*, and yields what is to be told in its place."""
        if not self._tracing.on or not any(record.traceparent and is_sampled(record.traceparent) for record in window):
            return nullcontext(window)
        return self._publishing(window)

    @contextmanager
    def _publishing(self, window: Sequence[EventRecord]) -> Iterator[Sequence[EventRecord]]:
        # One for all events of a type that a call caused, which may be a thousand.
        kinds = list(dict.fromkeys((record.traceparent, record.type) for record in window))
        spans = {kind: span for kind in kinds if (span := self._tracing.join(kind[0]))}
        told: list[EventRecord] = []
        events: dict[Span, list[EventRecord]] = {span: [] for span in spans.values()}
        for record in window:
            span = spans.get((record.traceparent, record.type))
            if span is None:
                told.append(record)
            else:
                told.append(record._replace(traceparent=span.traceparent))
                events[span].append(record)
        error = ""
        try:
            yield told
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            for span, caused in events.items():
                self._published(span, caused, error)

    def _published(self, span: Span, events: Sequence[EventRecord], error: str) -> None:
        first = events[0]
        attributes: dict[str, str | int] = {
            **_PUBLISH,
            "messaging.destination.name": f"{EVENTS_EXCHANGE}:{first.type}",
            "messaging.message.conversation_id": first.correlation_id,
            "beers.position": first.position,
        }
        if len(events) > 1:
            attributes["messaging.batch.message_count"] = len(events)
        self._tracing.end(span, f"publish {first.type}", "producer", attributes, error=error)


def handled(
    tracing: Tracing, span: Span, queue: str, document: Mapping[str, object], failure: Exception | None
) -> None:
    """End the *span* of a handler that got the event in *document* through *queue*; *failure* is what it raised."""
    attributes: dict[str, str | int] = {
        **_PROCESS,
        "messaging.destination.name": f"{EVENTS_EXCHANGE}:{document['type']}:{queue}",
        "messaging.message.id": str(document["id"]),
        "messaging.message.conversation_id": str(document.get("correlation_id")),
    }
    tracing.end(
        span,
        f"process {document['type']}",
        "consumer",
        attributes,
        error="" if failure is None else type(failure).__name__,
    )


def tracing_of(config: dict[str, Any], name: str, logger: FilteringBoundLogger) -> Tracing:
    """Return what traces this process, which is kept in *config*; if there is nothing yet, make it.

    Args:
        config: That of Nameko.
        name: What to call the process, unless it is configured.
        logger: Told what does not get to the collector.

    Raises:
        ConfigurationError: If what is configured of traces is malformed.
    """
    if "TRACING" not in config:
        made = config["TRACING"] = start(tracing_settings(config, name), logger)
        # Under `nameko run` nobody else hands on what is left.
        atexit.register(made.close, FLUSH)
    tracing: Tracing = config["TRACING"]
    return tracing
