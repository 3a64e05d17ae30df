"""Publishing with the broker's word for it, many messages at a time.

kombu's ``confirm_publish`` waits after every single message; here whoever publishes decides what to wait for.
"""

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import amqp

from beers_service.broker import send
from beers_service.frames import Kind, Message

_WRITE = 64 * 1024
"""Bytes that are gathered before they are written."""

_GLANCE = 0.2
"""Seconds between two looks whether the connection has ended under somebody who waits."""


class Unconfirmed(Exception):
    """The broker has not taken a message. Args: why."""


class Confirms:
    """What was published on a channel, and what of it the broker has confirmed.

    It reads nothing by itself: whoever drains the connection makes it learn of confirms.
    """

    def __init__(self, channel: amqp.Channel) -> None:
        self._channel = channel
        self._published = 0
        self._confirmed = 0
        self._outstanding: set[int] = set()
        self._waiting: dict[int, threading.Event] = {}
        self._refusal = ""
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events.setdefault("basic_return", set()).add(self._on_return)

    @property
    def outstanding(self) -> int:
        """How many messages are not confirmed yet; raises `Unconfirmed` if the broker has refused one."""
        if self._refusal:
            raise Unconfirmed(self._refusal)
        return len(self._outstanding)

    def publish(
        self, body: bytes, exchange: str, routing_key: str, *, mandatory: bool = False, **properties: Any
    ) -> int:
        """Send a message and return its number, to `wait` for."""
        self._published += 1
        number = self._published
        self._outstanding.add(number)
        send(self._channel, body, exchange, routing_key, mandatory=mandatory, **properties)
        return number

    def publish_all(self, messages: Iterable[tuple[Kind, Message]]) -> None:
        """Send many messages, in writes of some tens of kilobytes."""
        connection = self._channel.connection
        if connection is None:
            raise ConnectionError("the connection has ended")
        channel, frame_max = self._channel.channel_id, connection.frame_max
        gathered, size = [], 0
        for kind, message in messages:
            frames = kind.frames(message, channel, frame_max)
            gathered.append(frames)
            size += len(frames)
            if size >= _WRITE:
                self._write(connection, gathered)
                gathered, size = [], 0
        if gathered:
            self._write(connection, gathered)

    def _write(self, connection: amqp.Connection, messages: Sequence[bytes]) -> None:
        before = self._published
        self._published += len(messages)
        self._outstanding.update(range(before + 1, self._published + 1))
        connection.transport.write(b"".join(messages))

    def wait(self, number: int, timeout: float) -> None:
        """Wait until a message is confirmed, while another thread drains the connection; raises `Unconfirmed`."""
        if number in self._outstanding:
            settled = self._waiting[number] = threading.Event()
            glances = int(timeout / _GLANCE) + 1
            while not settled.wait(_GLANCE):
                glances -= 1
                if self._channel.connection is None or not glances:
                    raise Unconfirmed("the broker has not confirmed it")
        if self._refusal:
            raise Unconfirmed(self._refusal)

    def _on_ack(self, delivery_tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp calls it so
        numbers = range(self._confirmed + 1, delivery_tag + 1) if multiple else (delivery_tag,)
        self._outstanding.difference_update(numbers)
        if multiple:
            self._confirmed = delivery_tag
        if self._waiting:
            for number in numbers:
                if waiting := self._waiting.pop(number, None):
                    waiting.set()

    def _on_nack(self, _delivery_tag: int, _multiple: bool) -> None:  # noqa: FBT001 - py-amqp calls it so
        self._refuse("the broker refused a message")

    def _on_return(self, _error: Exception, _exchange: str, routing_key: str, _message: object) -> None:
        self._refuse(f"there is no queue {routing_key}")

    def _refuse(self, why: str) -> None:
        # Which message it was does not matter: what is not confirmed is published anew, on another channel.
        self._refusal = self._refusal or why
        for waiting in self._waiting.values():
            waiting.set()
        self._waiting.clear()
