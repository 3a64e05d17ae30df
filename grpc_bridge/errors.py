"""Failures, and the one table that turns them into gRPC statuses.

The service's errors arrive over the bus as strings: the name of the exception's class, its arguments and its message.
The bridge's own failures have names of the same kind, so that there is one table:

    CallFailed
    ├── named in RULES, made by the service   InvalidField, BeerNotFound, VersionConflict, StoreUnavailable …
    ├── named in RULES, made by the bridge    BrokerUnavailable, ServiceUnavailable, ServiceStopping, Overloaded,
    │                                         DeadlinePassed, InvalidField, UndecodableRequest, SlowReader,
    │                                         PositionOutOfRange, RequestIdMissing, StreamEnded, TokenMissing,
    │                                         TokenInvalid, TokenExpired, ClientUnknown, ScopeMissing
    └── anything else                         INTERNAL: generic text and an id to quote; the rest only in the log

The table is total: a name that it does not hold is a bug of somebody's, and answered as one.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

Trailers = tuple[tuple[str, str | bytes], ...]

_DOMAIN = "beers"
_LONGEST_TEXT = 500  # characters of a message or argument: trailers share 8 KB

RETRY_AWAY = 1.0
"""Seconds after which to try again when a part is away: as long as it takes to notice its return."""
RETRY_ENDED = 0.05
"""Seconds after which to take up a stream again that was ended only to be begun on another connection."""
RETRY_OVERLOADED = 0.25
"""Seconds after which to try again when there is too much to do."""

_SPREAD = 1.5
"""By how much the longest pushback exceeds the shortest: gRPC adds no chance to it, and all would come back at once."""

_PUSHBACK = "grpc-retry-pushback-ms"
_NEVER = "-1"
"""The pushback that stops gRPC's own retries."""


class CallFailed(Exception):
    """A call came to nothing, for a reason that has a name.

    Attributes:
        name: The name of the error, a key of `RULES` or not.
        arguments: The error's arguments, all of them text.
        message: What to tell a person.
        retry_after: Seconds after which to try again, where it is known better than the rule does.
    """

    def __init__(
        self, name: str, arguments: Sequence[str] = (), message: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(name, arguments, message)
        self.retry_after = retry_after
        self.name = name
        self.arguments = tuple(arguments)
        self.message = message

    def __str__(self) -> str:
        return f"{self.name}{self.arguments!r}: {self.message}"


@dataclass(frozen=True, slots=True)
class Rule:
    """What an error means to a gRPC client.

    Attributes:
        code: The status.
        arguments: What the error's arguments are called; they become metadata of the ErrorInfo.
        detail: Which google.rpc detail it has besides ErrorInfo and RetryInfo: "field", "resource", "precondition".
        retry_after: Seconds after which to try again; None where trying again changes nothing.
    """

    code: grpc.StatusCode
    arguments: tuple[str, ...] = ()
    detail: str = ""
    retry_after: float | None = None


RULES: Mapping[str, Rule] = {
    "InvalidField": Rule(grpc.StatusCode.INVALID_ARGUMENT, ("field", "reason"), "field"),
    "RequestIdReused": Rule(grpc.StatusCode.INVALID_ARGUMENT, ("request_id",), "request_id"),
    "UndecodableRequest": Rule(grpc.StatusCode.INVALID_ARGUMENT),
    "BeerNotFound": Rule(grpc.StatusCode.NOT_FOUND, ("beer_id",), "resource"),
    "VersionConflict": Rule(grpc.StatusCode.ABORTED, ("beer_id", "expected", "actual"), "precondition"),
    "BeerNotRemoved": Rule(grpc.StatusCode.FAILED_PRECONDITION, ("beer_id",), "precondition"),
    "PositionOutOfRange": Rule(grpc.StatusCode.OUT_OF_RANGE, ("position", "head", "log_id")),
    "Overloaded": Rule(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=RETRY_OVERLOADED),
    "SlowReader": Rule(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=RETRY_OVERLOADED),
    "StoreUnavailable": Rule(grpc.StatusCode.UNAVAILABLE, retry_after=RETRY_AWAY),
    "OutcomeUnknown": Rule(grpc.StatusCode.UNAVAILABLE, ("request_id",), retry_after=RETRY_AWAY),
    "ServiceStopping": Rule(grpc.StatusCode.UNAVAILABLE, retry_after=RETRY_AWAY),
    "StreamEnded": Rule(grpc.StatusCode.UNAVAILABLE, retry_after=RETRY_ENDED),
    "ServiceUnavailable": Rule(grpc.StatusCode.UNAVAILABLE, retry_after=RETRY_AWAY),
    "BrokerUnavailable": Rule(grpc.StatusCode.UNAVAILABLE, retry_after=RETRY_AWAY),
    "DeadlinePassed": Rule(grpc.StatusCode.DEADLINE_EXCEEDED, ("request_id",)),
    # Not INVALID_ARGUMENT: that would say that nothing was done.
    "RequestIdMissing": Rule(grpc.StatusCode.UNAVAILABLE),
    "TokenMissing": Rule(grpc.StatusCode.UNAUTHENTICATED),
    "TokenInvalid": Rule(grpc.StatusCode.UNAUTHENTICATED),
    "TokenExpired": Rule(grpc.StatusCode.UNAUTHENTICATED),
    "ClientUnknown": Rule(grpc.StatusCode.UNAUTHENTICATED),
    "ScopeMissing": Rule(grpc.StatusCode.PERMISSION_DENIED, ("scope",)),
}

# Where the service's own words would say something about its inside, or nothing.
_MESSAGES: Mapping[str, str] = {
    "StoreUnavailable": "the store is away; try again",
    "ServiceStopping": "the service is stopping; try again",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A gRPC status with everything that is sent along with it."""

    code: grpc.StatusCode
    message: str
    trailers: Trailers


def invalid_field(field: str, reason: str) -> CallFailed:
    """Return the failure of a call whose *field* cannot be passed on."""
    return CallFailed("InvalidField", (field, reason), f"{field} {reason}")


def overloaded(reason: str, retry_after: float | None = None) -> CallFailed:
    """Return the failure of a call that came when there was too much to do already."""
    return CallFailed("Overloaded", (reason,), f"{reason}; try again", retry_after)


def deadline_passed(request_id: str) -> CallFailed:
    """Return the failure of a call that got no answer in its time. Only commands have a *request_id*."""
    if not request_id:
        return CallFailed("DeadlinePassed", ("",), "the deadline passed before an answer came")
    return CallFailed(
        "DeadlinePassed",
        (request_id,),
        "the deadline passed before an answer came, so the outcome is unknown; "
        f"send the command again with request_id {request_id} to learn it: nothing runs twice",
    )


def request_id_missing() -> CallFailed:
    """Return the failure of a command that may have been sent before, and that nothing tells from a second one."""
    return CallFailed(
        "RequestIdMissing",
        (),
        "this may be a further attempt of a command without a request_id: whether an earlier one was carried out is "
        "unknown; give every command a request_id to have it tried again safely",
    )


def stream_ended() -> CallFailed:
    """Return the failure of a stream that has lasted long enough. Nothing is wrong."""
    return CallFailed("StreamEnded", (), "the stream has lasted long enough; take it up again, on another connection")


def refusal(failure: CallFailed, *, repeatable: bool = True) -> Refusal | None:
    """Return the gRPC status of *failure*; None if it has no rule, and is a bug therefore.

    Args:
        failure: What went wrong.
        repeatable: Whether the same request can be sent again without being carried out twice. gRPC itself does not
            try others again, whatever is configured; what RetryInfo says is for those who know what they do.
    """
    rule = RULES.get(failure.name)
    if rule is None:
        return None
    message = _clipped(_MESSAGES.get(failure.name) or failure.message or failure.name)
    arguments = dict(zip(rule.arguments, map(_clipped, failure.arguments), strict=False))
    details: list[Message] = [ErrorInfo(reason=_reason(failure.name), domain=_DOMAIN, metadata=arguments)]
    match rule.detail:
        case "field":
            violation = BadRequest.FieldViolation(
                field=arguments.get("field", ""), description=arguments.get("reason", message)
            )
            details.append(BadRequest(field_violations=[violation]))
        case "request_id":
            violation = BadRequest.FieldViolation(field="request_id", description=message)
            details.append(BadRequest(field_violations=[violation]))
        case "resource":
            details.append(
                ResourceInfo(
                    resource_type="beers.v1.Beer", resource_name=arguments.get("beer_id", ""), description=message
                )
            )
        case "precondition":
            subject = PreconditionFailure.Violation(
                type=_reason(failure.name), subject=arguments.get("beer_id", ""), description=message
            )
            details.append(PreconditionFailure(violations=[subject]))
    retry_after = rule.retry_after if failure.retry_after is None else failure.retry_after
    return _refusal(rule.code, message, details, retry_after, repeatable=repeatable)


def internal(error_id: str) -> Refusal:
    """Return the status of a bug. It says nothing of it but *error_id*, which stands in the log as well."""
    info = ErrorInfo(reason="INTERNAL", domain=_DOMAIN, metadata={"error_id": error_id})
    message = f"internal error; quote {error_id} when you report it"
    return _refusal(grpc.StatusCode.INTERNAL, message, [info], None, repeatable=True)


def _refusal(
    code: grpc.StatusCode, message: str, details: list[Message], retry_after: float | None, *, repeatable: bool
) -> Refusal:
    pushback: Trailers = ()
    if retry_after is not None:
        # gRPC's own retry policy ignores RetryInfo and honours the trailer; people and other clients read RetryInfo.
        delay = Duration()
        delay.FromMilliseconds(round(retry_after * 1000))
        details.append(RetryInfo(retry_delay=delay))
        longer = random.uniform(1.0, _SPREAD)  # noqa: S311 - not a secret
        pushback = ((_PUSHBACK, str(round(retry_after * 1000 * longer))),)
    if not repeatable:
        pushback = ((_PUSHBACK, _NEVER),)
    status = Status(code=code.value[0], message=message, details=[_packed(detail) for detail in details])
    return Refusal(code, message, (("grpc-status-details-bin", status.SerializeToString()), *pushback))


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed


def _reason(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
