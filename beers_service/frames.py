"""Messages as the bytes that publish them: AMQP 0-9-1 frames (section 4.2 of its specification), many to a write.

py-amqp builds the frames of a message anew from its properties, and gives each message a write of its own; both cost
the relay more than everything else that it does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Any

_METHOD, _HEADER, _BODY, _END = 1, 2, 3, b"\xce"
_OVERHEAD = 8  # bytes of a frame besides its payload
_BASIC_CLASS, _PUBLISH = 60, 40

_frame = Struct(">BHL")
_method = Struct(">HHH")
_header = Struct(">HHQ")
_long = Struct(">L")
_int64 = Struct(">q")

# The flag of each property, in the order in which those that are there follow each other.
_TEXTS_BEFORE = (("content_type", 0x8000), ("content_encoding", 0x4000))
_HEADERS, _DELIVERY_MODE = 0x2000, 0x1000
_TEXTS_BEHIND = (("correlation_id", 0x0400), ("message_id", 0x0080), ("type", 0x0020))

PROPERTIES = frozenset({name for name, _ in _TEXTS_BEFORE + _TEXTS_BEHIND} | {"application_headers", "delivery_mode"})
"""The properties that a message may have here."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be published.

    Attributes:
        body: Its body.
        exchange: Where to.
        routing_key: By which queues are found.
        properties: Some of `PROPERTIES`; a header is text or a whole number.
        mandatory: Whether it comes back if no queue takes it.
    """

    body: bytes
    exchange: str
    routing_key: str
    properties: Mapping[str, Any]
    mandatory: bool = False


def publishing(message: Outgoing, channel: int, frame_max: int) -> bytes:
    """Return the frames that publish *message* on a channel.

    Args:
        message: The message.
        channel: The channel's number.
        frame_max: The largest frame that the broker takes, in bytes.

    Raises:
        ValueError: If a property is none of `PROPERTIES`, or a text too long for AMQP.
    """
    body = message.body
    properties = _encode_properties(message.properties)
    parts = [
        _publish(channel, message.exchange, message.routing_key, message.mandatory),
        _frame.pack(_HEADER, channel, _header.size + len(properties)),
        _header.pack(_BASIC_CLASS, 0, len(body)),
        properties,
        _END,
    ]
    largest = frame_max - _OVERHEAD
    for start in range(0, len(body), largest):
        chunk = body[start : start + largest]
        parts += [_frame.pack(_BODY, channel, len(chunk)), chunk, _END]
    return b"".join(parts)


@lru_cache(maxsize=64)
def _publish(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:  # noqa: FBT001 - AMQP's own flag
    flags = bytes([mandatory])
    payload = _method.pack(_BASIC_CLASS, _PUBLISH, 0) + _short(exchange) + _short(routing_key) + flags
    return _frame.pack(_METHOD, channel, len(payload)) + payload + _END


def _encode_properties(properties: Mapping[str, Any]) -> bytes:
    if unknown := properties.keys() - PROPERTIES:
        raise ValueError(f"a message cannot have the property {min(unknown)} here")
    flags = 0
    parts = [b""]
    for name, flag in _TEXTS_BEFORE:
        if name in properties:
            flags |= flag
            parts.append(_short(properties[name]))
    if "application_headers" in properties:
        flags |= _HEADERS
        parts.append(_table(properties["application_headers"]))
    if "delivery_mode" in properties:
        flags |= _DELIVERY_MODE
        parts.append(bytes([properties["delivery_mode"]]))
    for name, flag in _TEXTS_BEHIND:
        if name in properties:
            flags |= flag
            parts.append(_short(properties[name]))
    parts[0] = flags.to_bytes(2, "big")
    return b"".join(parts)


def _table(headers: Mapping[str, str | int]) -> bytes:
    parts = []
    for name, value in headers.items():
        parts.append(_name(name))
        if isinstance(value, str):
            encoded = value.encode()
            parts += [b"S", _long.pack(len(encoded)), encoded]
        else:
            parts += [b"l", _int64.pack(value)]
    content = b"".join(parts)
    return _long.pack(len(content)) + content


@lru_cache(maxsize=64)
def _name(text: str) -> bytes:
    return _short(text)


def _short(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > 255:  # noqa: PLR2004 - AMQP's shortstr
        raise ValueError(f"{text[:20]}… is too long for AMQP")
    return bytes([len(encoded)]) + encoded
