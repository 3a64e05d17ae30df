"""A dead-letter queue as an operator works on it: look, send back, throw away.

To look is to take without acknowledging: when the channel closes, the broker puts everything back where it was, also
if this process is killed. What is sent back is acknowledged only after the broker has confirmed the copy, so that at
worst a message is there twice.

Whoever works on a queue has it for himself: a number counts what nobody else holds, so that with two of them at work
it could mean another letter than the one that was looked at.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator
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

LETTER_TIMEOUT = 15.0
"""Seconds within which the broker has to hand out the next letter, if there is one."""

_GLANCE = 0.5
"""Seconds without a letter after which the broker is asked whether there are more."""

_PREFETCH = 500
"""Letters that the broker sends ahead where each is acknowledged in its turn."""

_PREFETCH_MAXIMUM = 65535
_NAME_MAXIMUM = 255  # bytes


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

    def letters(self, last: int | None = None) -> Generator[DeadLetter]:
        """Yield all letters, or those up to number *last*, oldest first, and leave them where they are.

        Nobody else gets at them until the end; raises `QueueUnusable`.
        """
        with self._channel() as channel:
            for number, message in self._all(channel, last, prefetch=last or 0):
                yield _described(number, message)

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
                if not isinstance(queue, str) or not 0 < len(queue.encode()) <= _NAME_MAXIMUM:
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
            # Where some are named, none goes unless all are there.
            chosen = self._chosen(channel, numbers)
            done = 0
            for _, message in chosen if numbers is None else list(chosen):
                channel.basic_ack(message.delivery_tag)
                done += 1
            return done

    def _chosen(self, channel: amqp.Channel, numbers: Collection[int] | None) -> Iterator[tuple[int, Any]]:
        last = None if numbers is None else max(numbers)
        missing = set(numbers or ())
        for number, message in self._all(channel, last, prefetch=last or _PREFETCH):
            if numbers is None or number in missing:
                missing.discard(number)
                yield number, message
        if missing:
            raise QueueUnusable(f"there is no letter {min(missing)} in {self._queue}")

    def _all(self, channel: amqp.Channel, last: int | None, prefetch: int) -> Iterator[tuple[int, Any]]:
        """Take the letters that are there now; the broker has them back when the channel closes.

        Args:
            channel: Where to take them.
            last: The number of the last one; None: all.
            prefetch: How many may be out and not acknowledged; 0: all.
        """
        arrived: deque[Any] = deque()
        count = self._ready(channel)
        channel.basic_qos(0, prefetch if prefetch <= _PREFETCH_MAXIMUM else 0, a_global=False)
        # The queue itself keeps others out, and takes back what is out in the same step in which it lets them in.
        channel.basic_consume(self._queue, exclusive=True, callback=arrived.append)
        for number in range(1, min(count, last or count) + 1):
            if not arrived and not self._await_letter(channel, arrived):
                return
            yield number, arrived.popleft()

    def _await_letter(self, channel: amqp.Channel, arrived: deque[Any]) -> bool:
        """Wait until a letter has *arrived*; False if there are no more, because somebody was just before us."""
        deadline = time.monotonic() + LETTER_TIMEOUT
        while not arrived:
            try:
                channel.connection.drain_events(timeout=_GLANCE)
            except TimeoutError:
                if not self._ready(channel) and not arrived:
                    return False
                if time.monotonic() > deadline:
                    raise
        return True

    def _ready(self, channel: amqp.Channel) -> int:
        return int(channel.queue_declare(self._queue, passive=True).message_count)

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
        except amqp.exceptions.AccessRefused as error:
            if "exclusive use" not in str(error):
                raise QueueUnusable(f"RabbitMQ refuses it: {error}") from error
            raise QueueUnusable(f"somebody else looks at {self._queue} at this moment, or reads from it") from error
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
