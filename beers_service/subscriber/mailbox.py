"""The queues of one subscription, and what moves messages between them without ever holding none.

    beers.events ──▶ evt-beers--taplist.on_beer ──▶ handler
                        ▲            │ fails        │ fails for the last time, or is no event
                        │            ▼              ▼
                        └── ….retry-in-5s, …   ….dead-letters

A retry queue holds its messages for one length of time and has no consumer; the broker then puts them back. A message
is acknowledged only after the broker has confirmed its copy. Copies go through an exchange of the subscription's own:
who may publish to the default one may write into every queue of the broker.
"""

from collections.abc import Sequence
from typing import Any

import amqp

from beers_service.broker import interrupt, require_exchange, send
from beers_service.confirms import Confirms, Unconfirmed
from beers_service.consuming import queue_arguments
from beers_service.dead_letters import Letter, Verdict, dead_letters_of, letter_of, retried
from beers_service.envelope import EXCHANGE

CONFIRM_TIMEOUT = 10.0
"""Seconds within which the broker has to confirm a copy."""


QUORUM_KEEPS = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}


class Mailbox:
    """The queue of a subscription with its retry queues and its dead letters.

    Args:
        queue: The queue's name.
        delays: Seconds before each next attempt.
        queue_type: ``classic`` or ``quorum``.
        single: Whether only one of all consumers gets messages at a time.
    """

    def __init__(self, queue: str, delays: Sequence[float], queue_type: str, *, single: bool) -> None:
        self.queue = queue
        self.dead_letters = dead_letters_of(queue)
        self._exchange = queue
        self._delays = delays
        self._arguments = queue_arguments(queue_type)
        # A quorum queue hands on what has expired at most once, unless it is told otherwise.
        self._kept = QUORUM_KEEPS if queue_type == "quorum" else {}
        self._single = single
        self._channel: Any = None
        self._confirms: Confirms | None = None

    def prepare(self, channel: amqp.Channel) -> None:
        """Declare everything, and publish on *channel* from now on."""
        single = {"x-single-active-consumer": True} if self._single else {}
        require_exchange(channel, EXCHANGE)
        channel.exchange_declare(self._exchange, "direct", durable=True, auto_delete=False)
        self._declare(channel, self.queue, single)
        # Whatever is wanted, all of it is counted: only who sees every position can miss one.
        channel.queue_bind(self.queue, EXCHANGE, "#")
        self._declare(channel, self.dead_letters, {})
        for delay in () if self._single else self._delays:
            back = {"x-dead-letter-exchange": self._exchange, "x-dead-letter-routing-key": self.queue, **self._kept}
            self._declare(channel, self._retry_queue(delay), {"x-message-ttl": round(delay * 1000), **back})
        # It leads nowhere: a right to publish that is missing is to show now, not with the first failure.
        send(channel, b"", self._exchange, "nowhere")
        self._channel, self._confirms = channel, Confirms(channel)

    def retry(self, message: Any, attempts: int) -> None:
        """Have *message* come back after the delay that so many *attempts* have earned.

        Raises:
            Unconfirmed: If the broker has not taken it; the connection is ended.
            OSError, amqp.exceptions.AMQPError: If there is no connection any more.
        """
        self._publish(self._retry_queue(self._delays[attempts - 1]), retried(message, attempts))

    def bury(self, message: Any, verdict: Verdict) -> None:
        """Copy *message* to the dead letters; raises what `retry` raises."""
        self._publish(self.dead_letters, letter_of(message, self.queue, verdict))

    def _publish(self, queue: str, letter: Letter) -> None:
        if self._confirms is None:
            raise Unconfirmed("there is no connection to the broker yet")
        channel, confirms = self._channel, self._confirms
        number = confirms.publish(letter.body, self._exchange, queue, mandatory=True, **letter.properties)
        try:
            confirms.wait(number, CONFIRM_TIMEOUT)
        except Unconfirmed:
            # A refusal is remembered for as long as the channel lives: what follows on it would be taken, and called
            # refused as well. The next connection declares all of it anew.
            if channel.connection is not None:
                interrupt(channel.connection)
            raise

    def _retry_queue(self, delay: float) -> str:
        # Named after its delay, which is fixed at its declaration: other delays are other queues.
        return f"{self.queue}.retry-in-{delay:g}s"

    def _declare(self, channel: amqp.Channel, queue: str, arguments: dict[str, Any]) -> None:
        channel.queue_declare(queue, durable=True, auto_delete=False, arguments=self._arguments | arguments)
        channel.queue_bind(queue, self._exchange, queue)
