"""Publishes events to RabbitMQ, a window of them at a time, and waits until the broker has confirmed them all."""

import time
from collections.abc import Iterable

import amqp

from beers_service.broker import BROKER_ERRORS, Broker, drop, send
from beers_service.envelope import EXCHANGE, message
from beers_service.ports import PublishingFailed, StoredEvent

CONFIRM_TIMEOUT = 15
"""Seconds within which the broker has to confirm a window."""


class AmqpPublisher:
    """Publishes to the exchange ``beers.events``; see `ports.EventPublisher`.

    It counts confirms by itself: kombu's ``confirm_publish`` waits after every single message.

    Args:
        broker: Where to publish.
        log_id: The log that the events are of.
    """

    def __init__(self, broker: Broker, log_id: str) -> None:
        self._broker = broker
        self._log_id = log_id
        self._connection: amqp.Connection | None = None
        self._channel: amqp.Channel | None = None
        self._published = 0
        self._confirmed = 0
        self._outstanding: set[int] = set()
        self._refused = False

    def publish(self, events: Iterable[StoredEvent]) -> None:
        """Publish *events* in order and return once all of them are confirmed; raises `PublishingFailed`."""
        try:
            channel = self._channel or self._open()
            for event in events:
                body, properties = message(event, self._log_id)
                self._published += 1
                self._outstanding.add(self._published)
                send(channel, body, EXCHANGE, type(event.data).__name__, **properties)
            self._await_confirms()
        except BROKER_ERRORS as error:
            self.close()
            raise PublishingFailed(f"the broker did not take the events: {error or type(error).__name__}") from error

    def keep_alive(self) -> None:
        """Exchange heartbeats while there is nothing to publish; a connection found dead is dropped."""
        if self._connection is None:
            return
        try:
            self._connection.heartbeat_tick()
            self._connection.drain_events(timeout=0.001)
        except TimeoutError:
            return
        except BROKER_ERRORS:
            # Nothing was under way; the next publish connects anew.
            self.close()

    def close(self) -> None:
        """Let go of the broker without waiting for it."""
        if self._connection is not None:
            drop(self._connection)
        self._connection = self._channel = None

    def _open(self) -> amqp.Channel:
        self._connection = self._broker.connect()
        channel = self._connection.channel()
        channel.exchange_declare(EXCHANGE, "topic", durable=True, auto_delete=False)
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        self._published = self._confirmed = 0
        self._outstanding = set()
        self._refused = False
        self._channel = channel
        return channel

    def _await_confirms(self) -> None:
        deadline = time.monotonic() + CONFIRM_TIMEOUT
        while self._outstanding and not self._refused:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or self._connection is None:
                raise TimeoutError(f"{len(self._outstanding)} events not confirmed within {CONFIRM_TIMEOUT} s")
            self._connection.drain_events(timeout=remaining)
        if self._refused:
            raise amqp.exceptions.MessageNacked

    def _on_ack(self, delivery_tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp calls it so
        if multiple:
            self._outstanding.difference_update(range(self._confirmed + 1, delivery_tag + 1))
            self._confirmed = delivery_tag
        else:
            self._outstanding.discard(delivery_tag)

    def _on_nack(self, _delivery_tag: int, _multiple: bool) -> None:  # noqa: FBT001 - py-amqp calls it so
        self._refused = True
