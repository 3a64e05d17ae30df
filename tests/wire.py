"""Raw AMQP to tease a service with."""

import json
import struct
import uuid
from contextlib import suppress
from typing import Any

import amqp
from kombu import Connection

from beers_service.envelope import EXCHANGE
from tests.processes import eventually
from tests.published import require_valid_message


class Wire:
    """Raw AMQP: sends what no client would, and sees every answer."""

    def __init__(self, uri: str) -> None:
        self._connection = Connection(uri, heartbeat=0)
        self.channel: amqp.Channel = self._connection.default_channel
        self.answers: list[Any] = []
        self.reply_to = str(uuid.uuid4())
        self.channel.exchange_declare("nameko-rpc", "topic", durable=True, auto_delete=False)
        queue = self.channel.queue_declare(exclusive=True).queue
        self.channel.queue_bind(queue, "nameko-rpc", self.reply_to)
        self.channel.basic_consume(queue, no_ack=True, callback=self._take)

    def _take(self, message: Any) -> None:
        self.answers.append((message.properties.get("correlation_id"), json.loads(message.body)))

    def send(self, body: bytes | dict[str, Any], key: str = "beers.ping", **properties: Any) -> str:
        """Send a request and return its correlation id; a property given as None is left out."""
        correlation_id = uuid.uuid4().hex
        given = {
            "content_type": "application/json",
            "reply_to": self.reply_to,
            "correlation_id": correlation_id,
            **properties,
        }
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = amqp.Message(raw, **{name: value for name, value in given.items() if value is not None})
        self.channel.basic_publish(message, "nameko-rpc", key)
        return correlation_id

    def send_raw(self, flags: int, properties: bytes) -> None:
        """Send a request for a ping whose properties are these bytes."""
        message = amqp.Message(b'{"args": [], "kwargs": {}}')
        vars(message)["_serialize_properties"] = lambda: struct.pack(">H", flags) + properties
        self.channel.basic_publish(message, "nameko-rpc", "beers.ping")

    def consumers(self, queue: str) -> int:
        """Return how many consume from *queue*; none if it does not exist."""
        with suppress(amqp.exceptions.NotFound), self.channel.connection.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).consumer_count)
        return 0

    def call(self, method: str, /, **kwargs: Any) -> str:
        return self.send({"args": [], "kwargs": kwargs}, f"beers.{method}")

    def answer(self, correlation_id: str) -> Any:
        """Return the body of the answer to a request."""

        def arrived() -> bool:
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=0.1)
            return any(known == correlation_id for known, _ in self.answers)

        if not any(known == correlation_id for known, _ in self.answers):
            eventually(arrived)
        return next(body for known, body in self.answers if known == correlation_id)

    def get(self, queue: str) -> Any:
        """Take one message from *queue*, waiting for it; an event has to keep the contract."""
        found: list[Any] = []

        def take() -> bool:
            message = self.channel.basic_get(queue, no_ack=True)
            if message is not None:
                found.append(message)
            return message is not None

        eventually(take)
        if found[0].delivery_info["exchange"] == EXCHANGE:
            require_valid_message(found[0])
        return found[0]

    def close(self) -> None:
        self._connection.release()
