"""Publishes events to RabbitMQ, a window of them at a time, and waits until the broker has confirmed them all."""

import time
from collections.abc import Sequence

import amqp

from beers_service.broker import BROKER_ERRORS, Broker, drop, refusal
from beers_service.confirms import Confirms, Unconfirmed
from beers_service.envelope import EXCHANGE, message, properties
from beers_service.frames import Kind
from beers_service.inflow import Inflow
from beers_service.ports import EventRecord, PublishingFailed

CONFIRM_TIMEOUT = 15
"""Seconds within which the broker has to confirm a window."""


class AmqpPublisher:
    """Publishes to the exchange ``beers.events``, or to one queue alone; see `ports.EventPublisher`.

    Args:
        broker: Where to publish.
        log_id: The log that the events are of.
        queue: The queue that gets the events instead of the exchange; it has to be there.

    Attributes:
        connections: How many connections it has had.
    """

    def __init__(self, broker: Broker, log_id: str, queue: str = "") -> None:
        self._broker = broker
        self._log_id = log_id
        self._queue = queue
        self._kinds: dict[str, Kind] = {}
        self._connection: amqp.Connection | None = None
        self._confirms: Confirms | None = None
        self._inflow: Inflow | None = None
        self.connections = 0

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def publish(self, events: Sequence[EventRecord]) -> None:
        """Publish *events* in order and return once all of them are confirmed; raises `PublishingFailed`."""
        try:
            confirms = self._confirms or self._open()
            confirms.publish_all((self._kind(event.type), message(event, self._log_id)) for event in events)
            self._await_confirms(confirms)
        except Unconfirmed as error:
            self.close()
            raise PublishingFailed(str(error), refused=True) from error
        except BROKER_ERRORS as error:
            self.close()
            why = refusal(error) or str(error) or type(error).__name__
            raise PublishingFailed(f"the broker did not take the events: {why}") from error

    def keep_alive(self) -> None:
        """Exchange heartbeats while there is nothing to publish; a connection found dead is dropped.

        Before the first event it connects: others may follow an exchange that is there, and may not make it.

        Raises:
            PublishingFailed: If the broker does not let us do that.
        """
        if self._connection is None and not self.connections:
            self._connect_early()
        if self._connection is None or self._inflow is None:
            return
        try:
            self._connection.heartbeat_tick()
            self._inflow.drain(timeout=0.001)
        except TimeoutError:
            return
        except BROKER_ERRORS:
            # Nothing was under way; the next publish connects anew.
            self.close()

    def _connect_early(self) -> None:
        try:
            self._open()
        except BROKER_ERRORS as error:
            self.close()
            if refused := refusal(error):
                raise PublishingFailed(refused) from error
            # That it is away, those tell who have more to do there.

    def close(self) -> None:
        """Let go of the broker without waiting for it."""
        if self._connection is not None:
            drop(self._connection)
        self._connection = self._confirms = self._inflow = None

    def _kind(self, name: str) -> Kind:
        """Return what all events of a type share."""
        kind = self._kinds.get(name)
        if kind is None:
            shared = properties(name, self._log_id)
            kind = self._kinds[name] = (
                Kind("", self._queue, shared, mandatory=True) if self._queue else Kind(EXCHANGE, name, shared)
            )
        return kind

    def _open(self) -> Confirms:
        self._connection = self._broker.connect()
        channel = self._connection.channel()
        if not self._queue:
            channel.exchange_declare(EXCHANGE, "topic", durable=True, auto_delete=False)
        self._inflow = Inflow(self._connection)
        self._confirms = Confirms(channel)
        self.connections += 1
        return self._confirms

    def _await_confirms(self, confirms: Confirms) -> None:
        deadline = time.monotonic() + CONFIRM_TIMEOUT
        while outstanding := confirms.outstanding:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or self._inflow is None:
                raise TimeoutError(f"{outstanding} events not confirmed within {CONFIRM_TIMEOUT} s")
            self._inflow.drain(timeout=remaining)
