"""What a message on the bus must be to be a call: arguments and context, checked like any input from outside."""

import hashlib
import inspect
import json
import math
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from nameko.exceptions import IncorrectSignature, MalformedRequest

from beers_runtime.tracing import as_version_00, is_traceparent
from beers_service.unreadable import MARK

CONTENT_TYPE = "application/json"
HEADER_PREFIX = "nameko."

_UNIQUE_LENGTH = 16
_IDENTIFIER_LENGTH = 128

Message = Any
"""An `amqp.basic_message.Message` as it was delivered."""


class Unanswerable(Exception):
    """A message that is no call and names nobody to answer. Args: what is wrong with it."""


class Signature:
    """What a method can be called with.

    Args:
        method: The method, as its class has it.
    """

    def __init__(self, method: Callable[..., Any]) -> None:
        self._signature = inspect.signature(method)
        own, *parameters = self._signature.parameters.values()
        named = [parameter for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
        self._own = own.name
        self._accepts = frozenset(parameter.name for parameter in named)
        self._needs = frozenset(parameter.name for parameter in named if parameter.default is parameter.empty)
        self._accepts_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        self._is_simple = len(named) + self._accepts_any == len(parameters)

    def check(self, args: list[Any], kwargs: dict[str, Any]) -> None:
        """Raise `IncorrectSignature` if the method cannot be called with these arguments."""
        # Named arguments, which is how almost all calls come, can be told by their names, ten times as fast.
        if self._is_simple and not args and self._own not in kwargs:
            names = kwargs.keys()
            if names >= self._needs and (self._accepts_any or names <= self._accepts):
                return
        try:
            # With a place for `self`, so that nobody passes an argument of that name.
            self._signature.bind(None, *args, **kwargs)
        except TypeError as error:
            raise IncorrectSignature(str(error)) from error


def arguments(message: Message) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the named arguments of a call; raises `MalformedRequest`."""
    if message.properties.get("content_type") != CONTENT_TYPE:
        raise MalformedRequest(f"content_type must be {CONTENT_TYPE}")
    try:
        body = orjson.loads(message.body)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(_why_not_json(message.body, error)) from error
    args, kwargs = (body.get("args"), body.get("kwargs")) if isinstance(body, dict) else (None, None)
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise MalformedRequest("the body must be an object with a list `args` and an object `kwargs`")
    return args, kwargs


def is_identifier(value: object) -> bool:
    """Tell whether *value* may stand in a log and in the store: printable ASCII, 1 to 128 characters."""
    return isinstance(value, str) and 1 <= len(value) <= _IDENTIFIER_LENGTH and value.isascii() and value.isprintable()


def is_number(value: object) -> bool:
    """Tell whether *value* is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def reply_to(message: Message) -> str:
    """Return the routing key that the answer goes to; raises `Unanswerable` if there is none."""
    if MARK in message.properties:
        raise Unanswerable(message.properties[MARK])
    routing_key = message.properties.get("reply_to")
    if not isinstance(routing_key, str) or not routing_key:
        raise Unanswerable("no reply_to")
    for name in ("reply_to", "correlation_id"):
        # py-amqp lets halves of surrogate pairs pass, which nobody else can read.
        if not is_encodable(message.properties.get(name, "")):
            raise Unanswerable(f"{name} is no text")
    return routing_key


def is_encodable(text: str) -> bool:
    """Tell whether *text* can be written in UTF-8: it cannot if it holds half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def context(message: Message, reply_to: str) -> dict[str, Any]:
    """Return the context of a call: its headers without their prefix, and its identity.

    Raises:
        MalformedRequest: If a header is not what it should be.
    """
    headers: Mapping[str, Any] = message.properties.get("application_headers") or {}
    found = {
        name.removeprefix(HEADER_PREFIX): value for name, value in headers.items() if name.startswith(HEADER_PREFIX)
    }
    stack = found.get("call_id_stack", [])
    if not isinstance(stack, list) or not all(isinstance(call_id, str) for call_id in stack):
        raise MalformedRequest("the header nameko.call_id_stack must be a list of texts")
    deadline = found.get("deadline")
    if deadline is not None and not is_number(deadline):
        raise MalformedRequest("the header nameko.deadline must be a number of seconds since 1970")
    # Stored and published, so of no other form, under whatever name it came.
    traceparent = traceparent_of(headers) or traceparent_of(found)
    found.pop("traceparent", None)
    if traceparent:
        found["traceparent"] = traceparent
    correlation_id = message.properties.get("correlation_id")
    found["call_id"] = _call_id(reply_to, correlation_id)
    conversation = found.get("correlation_id")
    found["correlation_id"] = next(filter(is_identifier, (conversation, correlation_id)), found["call_id"])
    return found


def traceparent_of(carrier: Mapping[str, Any]) -> str | None:
    """Return the trace context (W3C) that *carrier* holds, in version 00; what is malformed counts as none."""
    value = carrier.get("traceparent")
    if not isinstance(value, str):
        return None
    known = as_version_00(value)
    return known if is_traceparent(known) else None


def _call_id(reply_to: str, correlation_id: object) -> str:
    """Return what names a call for ever, the same at every delivery of its message.

    The queue that waits for the answer and the call's number there do so, if the number is one like those of Nameko,
    which are UUIDs. A client that counts from 1 would name another call so after its next start.
    """
    if isinstance(correlation_id, str) and len(correlation_id) >= _UNIQUE_LENGTH:
        return f"amqp-{hashlib.blake2b(f'{reply_to} {correlation_id}'.encode(), digest_size=16).hexdigest()}"
    return f"once-{uuid.uuid4().hex}"


def _why_not_json(body: bytes, error: ValueError) -> str:
    """Say what is wrong with *body*; Python's own JSON, which stock clients write, lets NaN and infinity pass."""
    try:
        lenient = json.loads(body)
    except (ValueError, RecursionError):
        return f"the body is not JSON: {error}"
    path = _no_number(lenient, "body")
    return f"{path} is not a number that JSON knows" if path else f"the body is not JSON: {error}"


def _no_number(value: object, path: str) -> str:
    """Return the path to the first NaN or infinity in *value*; empty if there is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next(filter(None, (_no_number(item, f"{path}.{key}") for key, item in items)), "")
