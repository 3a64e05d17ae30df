"""What calls and methods are: a call names a method and brings arguments, a method says which it takes."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from beers_service.domain.errors import InvalidField

Answer = Any
"""A JSON value, or the exception that a call ended in."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a method.

    Attributes:
        method: The method's name.
        arguments: Its arguments by name, as they came.
        call_id: Names this call for ever, also if its message is delivered again: a command without a request id of
            its own is known by it.
        correlation_id: The conversation that it is part of.
        deadline: Until when the caller waits, in seconds of `time.time`; None if he does not say.
        traceparent: The trace that it is part of, as W3C Trace Context writes it; None if there is none.
        user_id: Who makes it, as it came: Nameko's name for it; None if nobody says. Only commands look at it.
    """

    method: str
    arguments: Mapping[str, Any]
    call_id: str
    correlation_id: str
    deadline: float | None = None
    traceparent: str | None = None
    user_id: object = None


def deadline_of(call: Call) -> float:
    """Return the deadline of *call* in seconds of `time.monotonic`."""
    return float("inf") if call.deadline is None else time.monotonic() + call.deadline - time.time()


@dataclass(frozen=True, slots=True)
class Method:
    """How a method is run: `accepts` names its arguments, those in `needs` have no default."""

    run: Callable[..., Any]
    needs: frozenset[str]
    accepts: frozenset[str] | None


def method(run: Callable[..., Any], *arguments: str) -> Method:
    """Return the method that takes *arguments*; those that end in ``=`` may be left out."""
    return Method(
        run,
        needs=frozenset(argument for argument in arguments if not argument.endswith("=")),
        accepts=frozenset(argument.rstrip("=") for argument in arguments),
    )


def check_arguments(method: Method, name: str, arguments: Mapping[str, Any]) -> None:
    """Raise `InvalidField` if *arguments* lack one that the *method* needs, or have one that it does not take."""
    given = arguments.keys()
    missing = method.needs - given
    if missing:
        raise InvalidField(min(missing), f"is missing; {name} needs it")
    unknown = given - method.accepts if method.accepts is not None else None
    if unknown:
        raise InvalidField(min(unknown), f"is no argument of {name}")
