"""Dead letters: messages that nobody can do anything with, put aside with the reason, and whole.

A dead letter has the body and the properties of its message, as far as they could be read, and headers of its own:

    x-reason        what is wrong, in words
    x-exception     the class of the error that a handler raised; missing if there was none
    x-attempts      how often it was tried; 0 if it was no use trying
    x-time          when it was put aside, RFC 3339 in UTC
    x-queue         the queue that it was in, and goes back to when it is replayed
    x-routing-key   the routing key that it had
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from beers_runtime.topology import DEAD_LETTERS
from beers_service.representation import represent_time
from beers_service.unreadable import MARK

ATTEMPT = "x-attempt"
"""The header that counts how often a message in hand was tried before."""

OWN_HEADERS = frozenset(
    {"x-reason", "x-exception", "x-attempts", "x-time", "x-queue", "x-routing-key", ATTEMPT, "x-death"}
    | {f"x-{which}-death-{what}" for which in ("first", "last") for what in ("exchange", "queue", "reason")}
)
"""The headers that a message does not take with it when it is replayed."""

_REASON_LENGTH = 1000
_VALUE_LENGTH = 1024
_HEADERS_MAXIMUM = 50
# `expiration` would end the letter, an encoding would be taken at its word by whoever reads it, and the rest has no
# meaning to whoever gets it later.
_KEPT = ("content_type", "correlation_id", "reply_to", "message_id", "type", "app_id")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a message is put aside.

    Attributes:
        reason: What is wrong, in words.
        exception: The class of the error that its handler raised; empty if there was none.
        attempts: How often it was tried.
    """

    reason: str
    exception: str = ""
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to be sent: its body and its properties."""

    body: bytes
    properties: dict[str, Any]


def dead_letters_of(name: str) -> str:
    """Return the name of the dead-letter queue of a service or of a queue."""
    return f"{name}{DEAD_LETTERS}"


def letter_of(message: Any, queue: str, verdict: Verdict) -> Letter:
    """Return *message*, which came from *queue*, as a dead letter."""
    told: dict[str, Any] = {
        "x-reason": verdict.reason[:_REASON_LENGTH],
        "x-attempts": verdict.attempts,
        "x-time": represent_time(datetime.now(UTC)),
        "x-queue": queue,
        "x-routing-key": message.delivery_info["routing_key"],
    }
    if verdict.exception:
        told["x-exception"] = verdict.exception
    return _copy(message, told)


def retried(message: Any, attempts: int) -> Letter:
    """Return *message* as it is tried again, after so many *attempts*."""
    return _copy(message, {ATTEMPT: attempts})


def revived(letter: Any) -> Letter:
    """Return the message that a dead *letter* was, as if it had never been tried."""
    return _copy(letter, {})


def headers_of(message: Any) -> dict[str, Any]:
    """Return the headers of *message* that can be sent again: texts of some length, and numbers."""
    if MARK in message.properties:
        return {}
    headers = message.properties.get("application_headers") or {}
    return {
        name: value
        for name, value in list(headers.items())[:_HEADERS_MAXIMUM]
        if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _VALUE_LENGTH)
    }


def _copy(message: Any, headers: dict[str, Any]) -> Letter:
    kept = {name: value for name, value in headers_of(message).items() if name not in OWN_HEADERS}
    properties = {} if MARK in message.properties else message.properties
    body = message.body
    return Letter(
        body if isinstance(body, bytes) else body.encode(),
        {
            **{name: properties[name] for name in _KEPT if isinstance(properties.get(name), str)},
            "delivery_mode": 2,
            "application_headers": kept | headers,
        },
    )
