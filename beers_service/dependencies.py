"""The composition root: from the configuration to a service that can run calls."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from nameko.extensions import DependencyProvider

from beers_runtime import configuration
from beers_runtime.metrics import Exporter, registry_of
from beers_runtime.topology import SERVICE
from beers_service.broker import Broker, backoff
from beers_service.calls import Calls
from beers_service.domain.errors import BeersError, InvalidField, StoreUnavailable
from beers_service.gathering import Gathering
from beers_service.incoming import is_identifier, is_number, traceparent_of
from beers_service.methods import Call
from beers_service.metrics import Core, Measures, ServiceMetrics
from beers_service.publisher import AmqpPublisher
from beers_service.relay import Relay
from beers_service.representation import Json, represent_error
from beers_service.spans import Spans, tracing_of
from beers_service.store import migrations
from beers_service.store.engine import connect
from beers_service.store.event_log import SqlEventLog
from beers_service.store.reader import SqlReader
from beers_service.store.relay_cursor import SqlRelayCursor
from beers_service.transport import RequestConsumer, logger_of
from beers_service.writer import Writer

FORGET_EVERY = 60
"""Seconds between two looks for answers that are old enough to be forgotten."""

FORGET_BATCH = 1000

CALLS_MAXIMUM = 1000
"""How many calls one message may hold."""


class BoundCalls:
    """The calls of one message: what the service's methods work with."""

    def __init__(self, calls: Calls, context: Mapping[str, Any]) -> None:
        self._calls = calls
        self._context = context

    def one(self, method: str, /, **arguments: Any) -> Any:
        """Run one call and return its result; raises what it ended in."""
        # That of a bridge, which asks every second, nobody looks for.
        answer = self._calls.run([self._call(method, arguments)], edge=method != "ping")[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def many(self, calls: object) -> list[Json]:
        """Run calls in order; return for each ``{"result", "error"}``, of which one is None.

        Raises:
            InvalidField: If *calls* is not a list of ``{"method", "kwargs"}``.
        """
        if not isinstance(calls, list) or len(calls) > CALLS_MAXIMUM:
            raise InvalidField("calls", f"must be a list of at most {CALLS_MAXIMUM} calls")
        return [
            {"result": None, "error": represent_error(answer)}
            if isinstance(answer, Exception)
            else {"result": answer, "error": None}
            for answer in self._calls.run([self._parse(index, call) for index, call in enumerate(calls)])
        ]

    def _parse(self, index: int, call: object) -> Call:
        if not isinstance(call, dict) or not isinstance(call.get("method"), str):
            raise InvalidField(f"calls[{index}]", "must be an object with a method and kwargs")
        arguments = call.get("kwargs", {})
        if not isinstance(arguments, dict):
            raise InvalidField(f"calls[{index}].kwargs", "must be an object")
        deadline = call.get("deadline")
        if deadline is not None and not is_number(deadline):
            raise InvalidField(f"calls[{index}].deadline", "must be a number of seconds since 1970")
        correlation_id: Any = call.get("correlation_id")
        user_id: object = call.get("user_id")
        return Call(
            method=call["method"],
            arguments=arguments,
            call_id=f"{self._context['call_id']}-{index}",
            correlation_id=correlation_id if is_identifier(correlation_id) else self._context["correlation_id"],
            deadline=deadline,
            traceparent=traceparent_of(call),
            user_id=self._context.get("user_id") if user_id is None else user_id,
        )

    def _call(self, method: str, arguments: Mapping[str, Any]) -> Call:
        context = self._context
        return Call(
            method=method,
            arguments=arguments,
            call_id=context["call_id"],
            correlation_id=context["correlation_id"],
            deadline=context.get("deadline"),
            traceparent=context.get("traceparent"),
            user_id=context.get("user_id"),
        )


class CallsProvider(DependencyProvider):
    """Gives each worker the calls of its message, and runs what has to run beside them: relay and retention."""

    _measures: Measures | None = None

    def setup(self) -> None:
        """Open the store and build everything on it; waits for a store that is away."""
        config = self.container.config
        logger = self._logger = logger_of(config)
        self._retention = timedelta(days=configuration.number(config, "REQUEST_RETENTION_DAYS", 0.01, 3650))
        heartbeat = configuration.integer(config, "HEARTBEAT", 1, 3600)
        broker = Broker(configuration.amqp_uri(config), heartbeat, ssl=config.get("AMQP_SSL"))
        # Before the store is there, whose absence it tells.
        metrics = self._export()
        measures = self._measures
        self._engine = connect(configuration.text(config, "DATABASE_URL"))
        self._await_store()
        self._log = SqlEventLog(self._engine)
        reader = SqlReader(self._engine)
        log_id = reader.head().log_id
        publisher = AmqpPublisher(broker, log_id)
        spans = Spans(tracing_of(config, f"{SERVICE}-service", logger), self._engine.dialect.name)
        self._relay = Relay(
            reader,
            SqlRelayCursor(self._engine),
            publisher,
            logger,
            measure=None if measures is None else measures.window,
            spans=spans,
        )
        writer = Writer(
            self._log,
            reader,
            _now,
            self._relay.wake,
            measure=None if measures is None else measures.commit,
            spans=spans,
        )
        # The container of `nameko run` does not tell: there each call has its own commit.
        gathering = Gathering(writer.submit, lambda: bool(getattr(self.container, "unbegun", 0)))
        self._calls = Calls(
            writer,
            reader,
            logger,
            gathering.submit,
            measure=None if measures is None else measures.calls,
            spans=spans,
        )
        if metrics is not None:
            metrics.core = Core(writer, self._relay, publisher)
        self._stopping = False

    def start(self) -> None:
        """Start the relay and the retention."""
        self._relay_thread = self.container.spawn_managed_thread(self._relay.run, identifier="relay")
        self._retention_thread = self.container.spawn_managed_thread(self._forget, identifier="retention")

    def stop(self) -> None:
        """Let the relay finish the window that it has in hand; the container has no workers left by now."""
        self._retention_thread.kill()
        self._relay.stop()
        self._relay_thread.wait()
        self._engine.dispose()

    def get_dependency(self, worker_ctx: Any) -> BoundCalls:
        """Return the calls of this worker's message."""
        if self._measures is not None:
            self._measures.began(worker_ctx.data)
        return BoundCalls(self._calls, worker_ctx.data)

    def _export(self) -> ServiceMetrics | None:
        """Let Prometheus ask for the metrics, if that is wanted; the process's end is theirs."""
        address = configuration.metrics_address(self.container.config)
        if address is None:
            return None
        measures = self._measures = Measures(lambda method: method in self._calls)
        container = self.container
        consumer = container.shared_extensions.get(RequestConsumer)
        metrics = ServiceMetrics(
            measures,
            consumer if isinstance(consumer, RequestConsumer) else None,
            container.max_workers,
            lambda: len(container._worker_threads),  # noqa: SLF001 - Nameko does not tell otherwise
        )
        Exporter(registry_of("service", metrics), address, self._logger)
        return metrics

    def _await_store(self) -> None:
        pauses = backoff()
        while True:
            try:
                migrations.require_current(self._engine)
            except StoreUnavailable as error:
                pause = next(pauses)
                self._logger.warning("store unavailable", error=str(error), retry_in=round(pause, 2))
                time.sleep(pause)
            else:
                return

    def _forget(self) -> None:
        """Delete answers past their time, a few at a time; never raises, which would end the process."""
        while True:
            time.sleep(FORGET_EVERY)
            try:
                while self._log.forget_answers(_now() - self._retention, FORGET_BATCH) == FORGET_BATCH:
                    time.sleep(0.1)
            except BeersError as error:
                self._logger.warning("answers not forgotten", error=str(error))
            except Exception:
                self._logger.exception("answers not forgotten")


def _now() -> datetime:
    return datetime.now(UTC)
