"""Messages that py-amqp cannot read, made into messages that can be put aside.

A message whose properties or routing key do not decode (bytes that are no UTF-8, a timestamp beyond the year 9999,
tables nested a thousand deep) makes py-amqp raise while it reads from the connection. Nobody learns which message it
was, so nobody can acknowledge it, and the broker delivers it again for ever: to this process and to the next one.

py-amqp has no hook for it. `tolerate` replaces its decoder of properties, for the process, by one that marks such a
message; `RequestChannel` reads a delivery whose routing key does not decode as one with the key ``?``.
"""

from typing import Any

import amqp
from amqp import serialization, spec

MARK = "unreadable"
"""The property that says why the others of a message could not be read."""

_BASIC = 60
_decode_properties = serialization.PROPERTY_CLASSES[_BASIC]


def tolerate() -> None:
    """Make py-amqp hand over messages with unreadable properties, marked with `MARK`."""
    serialization.PROPERTY_CLASSES[_BASIC] = _decode_or_mark


def _decode_or_mark(buffer: bytes, offset: int) -> tuple[dict[str, Any], int]:
    try:
        properties, end = _decode_properties(buffer, offset)
    except Exception as error:  # noqa: BLE001 - whatever a sender can make it raise
        return {MARK: f"unreadable properties ({type(error).__name__})"}, len(buffer)
    return properties, end


class RequestChannel(amqp.Channel):
    """A channel that delivers whatever the broker sends, bodies as bytes."""

    def __init__(self, connection: amqp.Connection) -> None:
        # A body is not decoded by what its sender calls its encoding: that is no business of his.
        super().__init__(connection, auto_decode=False)

    def dispatch_method(self, method_sig: tuple[int, int], payload: Any, content: Any) -> None:
        """Hand on what arrived; see `amqp.abstract_channel.AbstractChannel.dispatch_method`."""
        if method_sig == spec.Basic.Deliver:
            payload = _with_readable_key(payload)
        super().dispatch_method(method_sig, payload, content)


def _with_readable_key(payload: Any) -> Any:
    """Return the arguments of a delivery: consumer tag, delivery tag, redelivered, exchange, routing key."""
    raw = bytes(payload)
    exchange = 4 + 1 + raw[4] + 8 + 1
    key = exchange + 1 + raw[exchange]
    try:
        raw[key + 1 :].decode()
    except UnicodeDecodeError:
        return raw[:key] + b"\x01?"
    return payload
