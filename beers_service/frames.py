"""Messages as the bytes that publish them: AMQP 0-9-1 frames (section 4.2 of its specification), many to a write.

py-amqp builds the frames of a message anew from all of its properties, and gives each message a write of its own; both
cost the relay more than everything else that it does. Here what messages share is encoded once.
"""

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from typing import Any, NamedTuple

_METHOD, _HEADER, _BODY, _END = 1, 2, 3, b"\xce"
_OVERHEAD = 8  # bytes of a frame besides its payload
_BASIC_CLASS, _PUBLISH = 60, 40

_frame = Struct(">BHL")
_method = Struct(">HHH")
_content = Struct(">BHLHHQH")  # the start of a header frame, up to the flags of the properties
_content_size = 2 + 2 + 8 + 2
_text = Struct(">L")
_number = Struct(">q")

# The flag of each property, in the order in which those that are there follow each other.
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE = 0x8000, 0x4000, 0x2000, 0x1000
_CORRELATION_ID, _MESSAGE_ID, _TYPE = 0x0400, 0x0080, 0x0020
_FLAGS = _CONTENT_TYPE | _CONTENT_ENCODING | _HEADERS | _DELIVERY_MODE | _CORRELATION_ID | _MESSAGE_ID | _TYPE

SHARED = frozenset({"content_type", "content_encoding", "application_headers", "delivery_mode", "type"})
"""The properties that messages of one kind have in common: all of them, though there may be no headers."""


class Message(NamedTuple):
    """What a message has for itself.

    Attributes:
        body: Its body.
        correlation_id: The property.
        message_id: The property.
        headers: Those besides the ones that it shares; each is text or a whole number.
    """

    body: bytes
    correlation_id: str
    message_id: str
    headers: Mapping[str, str | int]


class Kind:
    """What messages of one kind share, encoded once.

    Args:
        exchange: Where to.
        routing_key: By which queues are found.
        properties: Those of `SHARED`.
        mandatory: Whether a message comes back if no queue takes it.

    Raises:
        ValueError: If the properties are others, or a text too long for AMQP.
    """

    def __init__(
        self, exchange: str, routing_key: str, properties: Mapping[str, Any], *, mandatory: bool = False
    ) -> None:
        if properties.keys() != SHARED:
            raise ValueError(f"messages share {', '.join(sorted(SHARED))}, and not {', '.join(sorted(properties))}")
        self._publish = _publish_method(exchange, routing_key, mandatory=mandatory)
        self._before = _short(properties["content_type"]) + _short(properties["content_encoding"])
        self._headers = _entries(properties["application_headers"])
        self._delivery_mode = bytes([properties["delivery_mode"]])
        self._behind = _short(properties["type"])

    def frames(self, message: Message, channel: int, frame_max: int) -> bytes:
        """Return the frames that publish *message* on a channel.

        Args:
            message: The message.
            channel: The channel's number.
            frame_max: The largest frame that the broker takes, in bytes.

        Raises:
            ValueError: If a text is too long for AMQP.
        """
        body, correlation_id, message_id, headers = message
        entries = self._headers + _entries(headers)
        properties = b"".join(
            (
                self._before,
                _text.pack(len(entries)),
                entries,
                self._delivery_mode,
                _short(correlation_id),
                _short(message_id),
                self._behind,
            )
        )
        return _publishing(self._publish, _FLAGS, properties, body, channel, frame_max)


class Answer(NamedTuple):
    """The answer to a call.

    Attributes:
        body: Its body, in JSON.
        reply_to: By which the queue of whoever called is found.
        correlation_id: The property, by which he knows what is answered; None if he gave none.
        delivery_mode: As durable as the question: 1 or 2.
    """

    body: bytes
    reply_to: str
    correlation_id: str | None = None
    delivery_mode: int = 1

    def frames(self, exchange: str, channel: int, frame_max: int) -> bytes:
        """Return the frames that publish it to *exchange*; otherwise as `Kind.frames`."""
        flags, properties = _ANSWER_FLAGS, _JSON + bytes((self.delivery_mode,))
        if self.correlation_id is not None:
            flags |= _CORRELATION_ID
            properties += _short(self.correlation_id)
        method = _answer_method(exchange, self.reply_to)
        return _publishing(method, flags, properties, self.body, channel, frame_max)


def _publish_method(exchange: str, routing_key: str, *, mandatory: bool = False) -> bytes:
    """Return the payload of the frame that says where a message goes; raises `ValueError` for a text too long."""
    return _method.pack(_BASIC_CLASS, _PUBLISH, 0) + _short(exchange) + _short(routing_key) + bytes([mandatory])


def _publishing(method: bytes, flags: int, properties: bytes, body: bytes, channel: int, frame_max: int) -> bytes:
    """Return the frames of a message: its *method*, a header that has *properties* as *flags* say, and its body."""
    size, largest = len(body), frame_max - _OVERHEAD
    parts = [
        _frame.pack(_METHOD, channel, len(method)),
        method,
        _END,
        _content.pack(_HEADER, channel, _content_size + len(properties), _BASIC_CLASS, 0, size, flags),
        properties,
        _END,
    ]
    for start in range(0, size, largest):
        chunk = body[start : start + largest]
        parts += (_frame.pack(_BODY, channel, len(chunk)), chunk, _END)
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _answer_method(exchange: str, reply_to: str) -> bytes:
    return _publish_method(exchange, reply_to)


def _entries(headers: Mapping[str, str | int]) -> bytes:
    parts: list[bytes] = []
    for name, value in headers.items():
        if isinstance(value, str):
            encoded = value.encode()
            parts += (_named(name, b"S"), _text.pack(len(encoded)), encoded)
        else:
            parts += (_named(name, b"l"), _number.pack(value))
    return b"".join(parts)


@lru_cache(maxsize=64)
def _named(name: str, kind: bytes) -> bytes:
    return _short(name) + kind


def _short(text: str) -> bytes:
    encoded = text.encode(errors="surrogatepass")  # as py-amqp reads it: what came over AMQP can go back
    if len(encoded) > 255:  # noqa: PLR2004 - AMQP's shortstr
        raise ValueError(f"{text[:20]}… is too long for AMQP")
    return bytes((len(encoded),)) + encoded


_JSON = _short("application/json") + _short("utf-8")
_ANSWER_FLAGS = _CONTENT_TYPE | _CONTENT_ENCODING | _DELIVERY_MODE
