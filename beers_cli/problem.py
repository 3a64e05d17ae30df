"""What can go wrong between the command line and the service, told to a person.

Failure                 what, why and what to do; ends the command with exit status 1
Problem                 one failed gRPC call, taken apart: status, google.rpc details, whether to try again
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Any

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from beers_cli.failure import Failure

_NOBODY_LISTENS = (
    "failed to connect",
    "connections to all backends failing",
    "connection refused",
    "name resolution",
    "dns resolution",
    "no route to host",
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A gRPC call that failed.

    Attributes:
        code: The status.
        message: What the other side said.
        reason: The stable reason in the ErrorInfo, such as BEER_NOT_FOUND; empty if the service did not say.
        field: The field at fault; empty if there is none.
        why: What is wrong with that field.
        retry_after: Seconds after which the service wants to be asked again; None if it does not say.
        metadata: What else the ErrorInfo says, such as head and log_id.
    """

    code: grpc.StatusCode
    message: str
    reason: str = ""
    field: str = ""
    why: str = ""
    retry_after: float | None = None
    metadata: Mapping[str, str] = attribute(default_factory=dict)

    @classmethod
    def of(cls, error: Any) -> "Problem":
        """Take *error* apart, the `grpc.RpcError` of a finished call."""
        message = error.details() or ""
        found = {ErrorInfo: ErrorInfo(), BadRequest: BadRequest(), RetryInfo: RetryInfo()}
        has = set()
        try:
            status = rpc_status.from_call(error)
        except ValueError:
            status = None  # the details are of another call: then the plain status has to do
        for packed in status.details if status is not None else ():
            for kind, detail in found.items():
                if packed.Is(kind.DESCRIPTOR) and packed.Unpack(detail):
                    has.add(kind)
        violations = found[BadRequest].field_violations
        return cls(
            code=error.code(),
            message=message,
            reason=found[ErrorInfo].reason,
            field=violations[0].field if violations else "",
            why=violations[0].description if violations else "",
            retry_after=found[RetryInfo].retry_delay.ToTimedelta().total_seconds() if RetryInfo in has else None,
            metadata=dict(found[ErrorInfo].metadata),
        )

    @property
    def nobody_listens(self) -> bool:
        """Whether there was no connection in the first place."""
        words = self.message.lower()
        return self.code is grpc.StatusCode.UNAVAILABLE and not self.reason and any(w in words for w in _NOBODY_LISTENS)

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed later. Overload passes; a message that is too large stays so."""
        return self.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED) or (
            self.code is grpc.StatusCode.RESOURCE_EXHAUSTED and self.retry_after is not None
        )

    @property
    def cut_off(self) -> bool:
        """Whether this is how a stream ends whose connection broke, or whose server ended without a word."""
        return not self.reason and self.code in (
            grpc.StatusCode.CANCELLED,
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.UNKNOWN,
        )

    @property
    def about_the_request(self) -> bool:
        """Whether the service understood and refused this one request, and may well take the next."""
        return self.code in (
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.ABORTED,
            grpc.StatusCode.FAILED_PRECONDITION,
            grpc.StatusCode.OUT_OF_RANGE,
            grpc.StatusCode.ALREADY_EXISTS,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.INTERNAL,
        )

    def failure(self, address: str, timeout: float, request_id: str = "") -> Failure:
        """Return what to tell the person who called.

        Args:
            address: Where the call went.
            timeout: The seconds it had.
            request_id: That of the command, if it was one.
        """
        message, hint = self._words(address, timeout, request_id)
        return Failure(message, hint, code=self.code.name, reason=self.reason, field=self.field, request_id=request_id)

    def _words(self, address: str, timeout: float, request_id: str) -> tuple[str, str]:
        said = self.message or f"the service answered {self.code.name}"
        if self.nobody_listens:
            return f"No beers service answers at {address}.", _START_ONE
        if self.field:
            return f"{self.field}: {self.why}", ""
        message, hint = _WORDS.get(self.code, ("{said}", ""))
        if self.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not self.passing:
            hint = ""
        again = f"Run it again with --request-id {request_id}: nothing is done twice." if request_id else "Try again."
        outcome = " Whether it was carried out is unknown." if request_id else ""
        known = {"said": said.rstrip("."), "address": address, "timeout": f"{timeout:g}", "outcome": outcome}
        return message.format(**known), hint.format(again=again)


_START_ONE = "Start one with `beers up`, or say where it is with --address or BEERS_ADDRESS."

_WORDS = {
    grpc.StatusCode.DEADLINE_EXCEEDED: (
        "{address} did not answer within {timeout} s.{outcome}",
        "{again} --timeout gives it longer.",
    ),
    grpc.StatusCode.UNAVAILABLE: (
        "The service behind {address} is not available: {said}.",
        "{again} `beers health` shows which part is missing.",
    ),
    grpc.StatusCode.RESOURCE_EXHAUSTED: ("The service cannot take this: {said}.", "{again}"),
    grpc.StatusCode.UNIMPLEMENTED: (
        "What listens at {address} is no beers service, or one of an older version.",
        "Name another with --address.",
    ),
    grpc.StatusCode.UNAUTHENTICATED: (
        "The service at {address} does not let you in: {said}.",
        "--token-file or BEERS_TOKEN_FILE names a file with a token; ask whoever runs the service for one.",
    ),
    grpc.StatusCode.PERMISSION_DENIED: ("{said}", "Ask whoever runs the service for access."),
    grpc.StatusCode.ABORTED: ("{said}", "Look at it with `beers get`, then decide anew."),
    grpc.StatusCode.NOT_FOUND: ("{said}", "`beers list --show-removed` shows removed ones too; `beers restore` helps."),
    grpc.StatusCode.INTERNAL: ("{said}", "This is a bug: the service's log holds the rest, under the id above."),
}
"""What to tell a person, and what to do, by status; the service's own words where there are none here."""
