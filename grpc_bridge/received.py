"""What came in: a call and what is known of it, a request whose bytes may be no message at all, and who answers it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from beers_runtime.tracing import Span
from grpc_bridge.auth import Identity
from grpc_bridge.errors import CallFailed
from grpc_bridge.quotas import Share

_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)


class Call:
    """What is known of one gRPC call besides its request.

    Attributes:
        correlation_id: The conversation that it is part of.
        deadline: When to have answered, in the time of the event loop. For a stream, infinity if its client does not
            say: each step of it has its own deadline then.
        traceparent: The trace that it is part of: with the span as the parent, or, if there is none, as the client
            wrote it; empty if it did not.
        span: Its span; None if its trace is not sampled.
        request_id: That of a command, once a servicer has found or made it; empty for a read.
        counts: What a stream has counted, for the log.
        identity: Who calls; None where nobody is asked.
        share: What they take of the bridge; None where that is not counted.
        fault: What is wrong with what they showed, for the log.
        again: Whether it is a further attempt, made by gRPC itself after one that reached a server.
        repeatable: Whether sending the same request again runs nothing twice: it is a read, or its client gave an id.
    """

    __slots__ = (
        "_step",
        "again",
        "correlation_id",
        "counts",
        "deadline",
        "fault",
        "identity",
        "repeatable",
        "request_id",
        "share",
        "span",
        "traceparent",
    )

    def __init__(
        self, correlation_id: str, deadline: float, traceparent: str, step: float, span: Span | None = None
    ) -> None:
        self.correlation_id = correlation_id
        self.deadline = deadline
        self.traceparent = traceparent if span is None else span.traceparent
        self.span = span
        self.request_id = ""
        self.counts: dict[str, int] = {}
        self.identity: Identity | None = None
        self.share: Share | None = None
        self.fault = ""
        self.again = False
        self.repeatable = True
        self._step = step

    @property
    def actor(self) -> str:
        """The name of who calls; empty where nobody is asked. It comes from what they have proved, never said."""
        return "" if self.identity is None else self.identity.name

    def step_deadline(self) -> float:
        """Return when a step of a stream that begins now is to have ended: in the default time, or when the call is."""
        return min(self.deadline, asyncio.get_running_loop().time() + self._step)


Handler = Callable[[_Request, Call], Awaitable[_Response]]
"""Answers a request, or raises `CallFailed`."""

StreamHandler = Callable[[AsyncIterator[_Request], Call], Awaitable[_Response]]
"""Answers a stream of requests, or raises `CallFailed`."""

Streamer = Callable[[_Request, Call], AsyncGenerator[bytes, None]]
"""Yields the responses to a request, serialized, or raises `CallFailed`."""


class Undecodable:
    """Stands for a request whose bytes are no protobuf of its type."""


UNDECODABLE: Final = Undecodable()


def decoding(request: type[_Request]) -> Callable[[bytes], _Request | Undecodable]:
    """Return a deserializer that does not raise: gRPC would tell the client the exception's class and text."""
    parse = request.FromString

    def decode(received: bytes) -> _Request | Undecodable:
        try:
            return parse(received)
        except DecodeError:
            return UNDECODABLE

    return decode


def decoded(received: _Request | Undecodable) -> _Request:
    """Return the request that came; raises `CallFailed` if its bytes were none."""
    if isinstance(received, Undecodable):
        raise CallFailed("UndecodableRequest", (), "the request is no protobuf message of its type")
    return received
