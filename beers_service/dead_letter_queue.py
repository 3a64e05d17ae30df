"""A dead-letter queue as an operator works on it: look, send back, throw away.

To look is to take without acknowledging: when the channel closes, the broker puts everything back where it was, also
if this process is killed. What is sent back is acknowledged only after the broker has confirmed the copy, so that at
worst a message is there twice.
"""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import amqp

from beers_service.broker import BROKER_ERRORS, Broker, drop
from beers_service.confirms import Confirms, Unconfirmed
from beers_service.dead_letters import OWN_HEADERS, headers_of, revived
from beers_service.unreadable import RequestChannel, tolerate

CONFIRM_TIMEOUT = 15.0
"""Seconds within which the broker has to confirm a message."""


class QueueUnusable(Exception):
    """The queue cannot be worked on. Args: why, without secrets."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter, and what it says of itself; what it does not say is empty.

    Attributes:
        number: Its place in the queue, from 1, oldest first.
        reason: Why it is here.
        exception: The class of the error that its handler raised.
        attempts: How often it was tried.
        time: When it was put aside, RFC 3339.
        queue: The queue that it was in.
        routing_key: The routing key that it had.
        headers: Its other headers, those that are texts or numbers.
        properties: Its other properties that are texts.
        body: Its body.
    """

    number: int
    reason: str
    exception: str
    attempts: int
    time: str
    queue: str
    routing_key: str
    headers: dict[str, Any]
    properties: dict[str, str]
    body: bytes


class DeadLetterQueue:
    """One dead-letter queue of a broker.

    Args:
        uri: The broker.
        queue: The name of the queue.
    """

    def __init__(self, uri: str, queue: str) -> None:
        self._broker = Broker(uri, heartbeat=0)
        self._queue = queue

    def letters(self) -> list[DeadLetter]:
        """Return all letters, oldest first, and leave them where they are; raises `QueueUnusable`."""
        with self._channel() as channel:
            return [_described(number, message) for number, message in self._all(channel)]

    def replay(self, numbers: Collection[int] | None, progress: Callable[[int], None]) -> int:
        """Send letters back to the queues that they came from, as if they had never been tried.

        Args:
            numbers: Which ones; None: all.
            progress: Called with how many are done.

        Returns:
            How many they were.

        Raises:
            QueueUnusable: If one of them does not say where it came from, or that queue is gone; it and those after it
                stay.
        """
        with self._channel() as channel:
            confirms = Confirms(channel)
            done = 0
            for number, message in self._chosen(channel, numbers):
                queue = headers_of(message).get("x-queue")
                if not isinstance(queue, str) or not queue:
                    raise QueueUnusable(f"letter {number} does not say which queue it came from")
                letter = revived(message)
                confirms.publish(letter.body, "", queue, mandatory=True, **letter.properties)
                _await(channel, confirms)
                channel.basic_ack(message.delivery_tag)
                done += 1
                progress(done)
            return done

    def drop(self, numbers: Collection[int] | None) -> int:
        """Delete letters, those of these *numbers* or all, and return how many they were; raises `QueueUnusable`."""
        with self._channel() as channel:
            chosen = list(self._chosen(channel, numbers))
            for _, message in chosen:
                channel.basic_ack(message.delivery_tag)
            return len(chosen)

    def _chosen(self, channel: amqp.Channel, numbers: Collection[int] | None) -> Iterator[tuple[int, Any]]:
        last = None if numbers is None else max(numbers)
        missing = set(numbers or ())
        for number, message in self._all(channel, last):
            if numbers is None or number in missing:
                missing.discard(number)
                yield number, message
        if missing:
            raise QueueUnusable(f"there is no letter {min(missing)} in {self._queue}")

    def _all(self, channel: amqp.Channel, last: int | None = None) -> Iterator[tuple[int, Any]]:
        """Take the letters that are there now; the broker has them back when the channel closes."""
        count = channel.queue_declare(self._queue, passive=True).message_count
        for number in range(1, min(count, last or count) + 1):
            message = channel.basic_get(self._queue)
            if message is None:
                return
            yield number, message

    @contextmanager
    def _channel(self) -> Iterator[amqp.Channel]:
        tolerate()
        try:
            connection = self._broker.connect()
            try:
                channel = RequestChannel(connection)
                channel.open()
                yield channel
            finally:
                # The answer says that the broker has seen all acknowledgements, and has put everything else back.
                try:
                    if connection.connected:
                        connection.close()
                finally:
                    drop(connection)
        except amqp.exceptions.NotFound as error:
            raise QueueUnusable(f"there is no queue {self._queue}") from error
        except Unconfirmed as error:
            raise QueueUnusable(str(error)) from error
        except BROKER_ERRORS as error:
            raise QueueUnusable(f"RabbitMQ does not answer: {error or type(error).__name__}") from error


def _await(channel: amqp.Channel, confirms: Confirms) -> None:
    deadline = time.monotonic() + CONFIRM_TIMEOUT
    while confirms.outstanding:
        channel.connection.drain_events(timeout=max(deadline - time.monotonic(), 0.001))


def _described(number: int, message: Any) -> DeadLetter:
    headers = headers_of(message)
    attempts = headers.get("x-attempts")
    body = message.body
    return DeadLetter(
        number=number,
        reason=str(headers.get("x-reason", "")),
        exception=str(headers.get("x-exception", "")),
        attempts=attempts if isinstance(attempts, int) else 0,
        time=str(headers.get("x-time", "")),
        queue=str(headers.get("x-queue", "")),
        routing_key=str(headers.get("x-routing-key", "")),
        headers={name: value for name, value in headers.items() if name not in OWN_HEADERS},
        properties={name: value for name, value in message.properties.items() if isinstance(value, str)},
        body=body if isinstance(body, bytes) else body.encode(),
    )
