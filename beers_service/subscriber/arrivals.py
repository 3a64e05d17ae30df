"""What comes out of the queue: an event of the catalogue, or a message that is none, with the reason."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import amqp
import orjson

from beers_service.dead_letters import ATTEMPT, headers_of
from beers_service.unreadable import MARK

CONTENT_TYPE = "application/json"

_BIGGEST = 2**63 - 1
"""The biggest whole number that a database holds."""

_ATTEMPTS_MAXIMUM = 1_000_000
"""More attempts than this are not believed: whoever can send a message can write its headers."""


class Malformed(Exception):
    """A message that is no event. Args: what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as the catalogue tells it.

    Attributes:
        document: The whole envelope.
        log_id: The log that it is of.
        position: Its place there.
        beer_id: The beer that it happened to.
        type: What happened.
        attempts: How often a handler has failed on it.
        message: The message that carries it, or would.
    """

    document: Mapping[str, Any]
    log_id: str
    position: int
    beer_id: int
    type: str
    attempts: int
    message: Any

    def tried(self, attempts: int) -> "Event":
        """Return the event as one that a handler has failed on so often."""
        return replace(self, attempts=attempts)

    def copy(self) -> Any:
        """Return the envelope for a handler, which may change it: the event that is tried again is as it came."""
        return orjson.loads(self.message.body)

    @property
    def traceparent(self) -> str | None:
        """The trace that its command was part of, if there was one."""
        value = headers_of(self.message).get("traceparent")
        return value if isinstance(value, str) else None


def event_of(message: Any) -> Event:
    """Return the event that *message*, as it was delivered, carries; raises `Malformed`."""
    if MARK in message.properties:
        raise Malformed(message.properties[MARK])
    content_type = message.properties.get("content_type")
    if content_type != CONTENT_TYPE:
        raise Malformed(f"content_type must be {CONTENT_TYPE}, got {content_type!r}")
    try:
        document = orjson.loads(message.body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the body is not JSON: {error}") from error
    attempts = headers_of(message).get(ATTEMPT, 0)
    believed = min(max(attempts, 0), _ATTEMPTS_MAXIMUM) if isinstance(attempts, int) else 0
    return _read(document, believed, message)


def event_told(document: Any, attempts: int = 0) -> Event:
    """Return the event whose envelope was told in an answer or kept in the inbox; raises `Malformed`."""
    message = amqp.Message(orjson.dumps(document), content_type=CONTENT_TYPE, content_encoding="utf-8")
    event = _read(document, attempts, message)
    message.properties["message_id"] = document["id"]
    message.properties["type"] = event.type
    message.delivery_info = {"routing_key": event.type}
    return event


def _read(document: Any, attempts: int, message: Any) -> Event:
    if not isinstance(document, dict):
        raise Malformed("the body must be an object")
    for name, kind, words in _FIELDS:
        value = document.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise Malformed(f"the body's {name} must be {words}")
    for name in ("position", "beer_id", "version"):
        number = document.get(name)
        if isinstance(number, int) and abs(number) > _BIGGEST:
            raise Malformed(f"the body's {name} must have at most 64 bits")
    position: int = document["position"]
    log_id, _, place = document["id"].rpartition(":")
    if not log_id or position < 1 or place != str(position):
        raise Malformed("the body's id must be that of a log, a colon and the position")
    return Event(
        document=document,
        log_id=log_id,
        position=position,
        beer_id=document["beer_id"],
        type=document["type"],
        attempts=attempts,
        message=message,
    )


_FIELDS: tuple[tuple[str, type, str], ...] = (
    ("id", str, "text"),
    ("type", str, "text"),
    ("position", int, "a whole number"),
    ("beer_id", int, "a whole number"),
    ("data", dict, "an object"),
)
