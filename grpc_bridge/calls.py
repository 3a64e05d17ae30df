"""What every call passes on its way in and out: one wrapper instead of a stack of interceptors.

It lets in who may come, limits how many calls there are, gives each a correlation id and a deadline, turns failures
into statuses, and has each told in the journal. Nothing that went wrong inside leaves through it.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message

from beers_runtime.tracing import as_version_00
from grpc_bridge import auth, errors
from grpc_bridge.auth import WRITE, Door
from grpc_bridge.errors import CallFailed
from grpc_bridge.identifiers import identifiers, is_acceptable
from grpc_bridge.journal import Journal
from grpc_bridge.quotas import Quota, Quotas
from grpc_bridge.received import Call, Handler, Streamer, StreamHandler, Undecodable, decoded, decoding

CORRELATION_ID: Final = "x-correlation-id"
REQUEST_ID: Final = "x-request-id"
TRACEPARENT: Final = "traceparent"
ATTEMPTS: Final = "grpc-previous-rpc-attempts"
"""How gRPC tells of the attempts before this one: all but those that it knows not to have reached a server."""

_LONGEST_MARGIN = 0.1
"""Seconds before the client's own deadline at which we give up, so that it gets our reason and not its own."""

_LONGEST_DEADLINE = 3600.0
"""Seconds; what a client asks for beyond that is for ever, which AMQP cannot express."""

_LAST_WORD = 5.0
"""Seconds that a client has to take the status of its stream; one that does not read does not take that either."""

_NOT_LET_IN: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)

_Outcome = TypeVar("_Outcome")
_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)


class Reception:
    """Receives calls for handlers.

    Attributes:
        active: How many calls it is busy with, those that send a stream apart.
        watches: How many of those there are.
        refused: How many calls were refused, by the limit that they would have passed.
    """

    def __init__(
        self,
        *,
        max_calls: int,
        max_watches: int,
        default_deadline: float,
        write_patience: float,
        journal: Journal,
        door: Door | None = None,
        quota: Quota | None = None,
        longest_stream: float = float("inf"),
    ) -> None:
        """Prepare to receive; without a *door* everybody may do everything, and nobody has a *quota*.

        A stream is ended after at most *longest_stream* seconds, for its client to take it up on another connection.
        """
        self.active = 0
        self.watches = 0
        self.refused: Counter[str] = Counter()
        self._max_calls = max_calls
        self._max_watches = max_watches
        self._write_patience = write_patience
        self._default_deadline = default_deadline
        self._journal = journal
        self._door = door
        self._identifier = identifiers()
        self._loop = asyncio.get_running_loop()
        self._quotas = Quotas(quota or Quota(), self._loop.time, self.refused)
        self._longest_stream = longest_stream
        self._draining = False
        self._streams: set[asyncio.Timeout] = set()

    @property
    def full(self) -> bool:
        """Whether it is busy with as many calls as it may be."""
        return self.active >= self._max_calls

    def drain(self) -> None:
        """End streams of requests, now and from now on: the client takes them up again elsewhere. Other calls go on."""
        self._draining = True
        for limit in self._streams:
            if not limit.expired():
                limit.reschedule(self._loop.time())

    def method(
        self,
        name: str,
        handler: Handler[_Request, _Response],
        request: type[_Request],
        scope: str,
        refused: Callable[[str], _Response] | None = None,
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        """Return what gRPC needs to serve *handler* as the method *name*.

        Args:
            name: As it is to stand in the log.
            handler: Answers the requests.
            request: Their type.
            scope: What those who call it must be allowed to do.
            refused: Makes a response of a failure's message, for a contract that has no gRPC statuses.
        """
        commands = scope == WRITE

        async def answer(received: _Request | Undecodable, context: "grpc.aio.ServicerContext[Any, Any]") -> _Response:
            call = self._call(context, self._default_deadline)
            if commands and not getattr(received, "request_id", ""):
                call.repeatable = False
            return await self._answer(
                name, call, context, lambda: handler(self._admitted(received, call, context, scope), call), refused
            )

        return grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=decoding(request), response_serializer=_serialized
        )

    def client_stream(
        self, name: str, handler: StreamHandler[_Request, _Response], request: type[_Request], scope: str
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        """Return what gRPC needs to serve *handler*, which reads a stream of requests, as the method *name*."""

        async def answer(
            received: AsyncIterator[_Request | Undecodable], context: "grpc.aio.ServicerContext[Any, Any]"
        ) -> _Response:
            call = self._call(context, float("inf"))
            return await self._answer(
                name, call, context, lambda: self._streamed(handler, received, call, scope, context)
            )

        return grpc.stream_unary_rpc_method_handler(
            answer, request_deserializer=decoding(request), response_serializer=_serialized
        )

    def server_stream(
        self, name: str, streamer: Streamer[_Request], request: type[_Request], scope: str
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        """Return what gRPC needs to serve *streamer*, which sends a stream of responses, as the method *name*.

        A client that does not read for as long as our patience lasts loses its stream: what waits for it would wait
        in our memory.
        """

        async def answer(received: _Request | Undecodable, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
            call = self._call(context, float("inf"))
            self.watches += 1
            try:
                refusal = await self._attempt(name, call, lambda: self._sent(streamer, received, call, scope, context))
            finally:
                self.watches -= 1
                if call.share is not None:
                    self._quotas.give_back(call.share, watch=True)
            if refusal is None:
                return
            try:
                async with asyncio.timeout(_LAST_WORD):
                    await context.abort(refusal.code, refusal.message, (*refusal.trailers, *_identity(call)))
            except TimeoutError as error:
                # Said it is, and gets there if the client ever reads again. We do not wait for that.
                raise grpc.aio.AbortError from error

        return grpc.unary_stream_rpc_method_handler(answer, request_deserializer=decoding(request))

    async def _sent(
        self,
        streamer: Streamer[_Request],
        received: _Request | Undecodable,
        call: Call,
        scope: str,
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> None:
        """Send what *streamer* yields, until what lets the client in has expired, or for long enough."""
        self._let_in(call, context, scope, watch=True)
        left, longest = self._left(call), self._lasting()
        try:
            async with _limit(self._loop.time() + min(left, longest)) as limit:
                await self._send(streamer, received, call, context)
        except TimeoutError as error:
            if not limit.expired():
                raise  # it is not ours
            raise (auth.expired() if left <= longest else errors.stream_ended()) from error

    async def _send(
        self,
        streamer: Streamer[_Request],
        received: _Request | Undecodable,
        call: Call,
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> None:
        """Send what *streamer* yields, as long as the client reads."""
        if self.watches > self._max_watches:
            self.refused["watches"] += 1
            raise errors.overloaded("too many streams at once")
        async with aclosing(streamer(decoded(received), call)) as responses:
            async for response in responses:
                try:
                    async with asyncio.timeout(self._write_patience):
                        await context.write(response)
                except TimeoutError as error:
                    message = f"nothing was read for {self._write_patience:g} s; resume with the last resume token"
                    raise CallFailed("SlowReader", (), message) from error

    async def _answer(  # noqa: RET503 - `abort` does not return
        self,
        name: str,
        call: Call,
        context: "grpc.aio.ServicerContext[Any, Any]",
        handle: Callable[[], Awaitable[_Response]],
        refused: Callable[[str], _Response] | None = None,
    ) -> _Response:
        self.active += 1
        try:
            outcome = await self._attempt(name, call, handle)
        finally:
            self.active -= 1
            if call.share is not None:
                self._quotas.give_back(call.share, watch=False)
        if not isinstance(outcome, errors.Refusal):
            context.set_trailing_metadata(((CORRELATION_ID, call.correlation_id),))
            return outcome
        # That contract has no word for who may not call at all.
        if refused is not None and outcome.code not in _NOT_LET_IN:
            context.set_trailing_metadata(_identity(call))
            return refused(outcome.message)
        # Aborted, not returned: only so the answer is of the kind (trailers only) that clients may retry.
        await context.abort(outcome.code, outcome.message, (*outcome.trailers, *_identity(call)))

    async def _attempt(
        self, name: str, call: Call, work: Callable[[], Awaitable[_Outcome]]
    ) -> "_Outcome | errors.Refusal":
        """Do the *work* of a call, and log how it ended; return what came of it, or what the client is told instead."""
        started = time.perf_counter()
        try:
            outcome = await work()
        except CallFailed as failure:
            refusal = errors.refusal(failure, repeatable=call.repeatable) or self._bug(name, call, failure)
        except asyncio.CancelledError:
            self._journal.ended(name, call, grpc.StatusCode.CANCELLED, started)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, its text must not reach the client
            refusal = self._bug(name, call, error)
        else:
            self._journal.ended(name, call, grpc.StatusCode.OK, started)
            return outcome
        self._journal.ended(name, call, refusal.code, started)
        return refusal

    async def _streamed(
        self,
        handler: StreamHandler[_Request, _Response],
        received: AsyncIterator[_Request | Undecodable],
        call: Call,
        scope: str,
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> _Response:
        """Run *handler* until the call's deadline, until what lets the client in has expired, or until we drain."""
        self._let_in(call, context, scope)
        self._admit()
        now = self._loop.time()
        until, end = now + self._left(call), now + self._lasting()
        deadline = now if self._draining else min(call.deadline, until, end)
        try:
            async with _limit(deadline) as limit:
                self._streams.add(limit)
                try:
                    return await handler((decoded(request) async for request in received), call)
                finally:
                    self._streams.discard(limit)
        except TimeoutError as error:
            if not limit.expired():
                raise  # it is not ours
            if self._draining:
                raise CallFailed("ServiceStopping") from error
            if deadline == end:
                raise errors.stream_ended() from error
            if until < call.deadline:
                raise auth.expired() from error
            raise errors.deadline_passed("") from error

    def _admitted(
        self,
        received: _Request | Undecodable,
        call: Call,
        context: "grpc.aio.ServicerContext[Any, Any]",
        scope: str,
    ) -> _Request:
        if self._door is not None:
            self._let_in(call, context, scope)
        self._admit()
        request = decoded(received)
        if call.again and not call.repeatable:
            raise errors.request_id_missing()
        return request

    def _let_in(
        self, call: Call, context: "grpc.aio.ServicerContext[Any, Any]", scope: str, *, watch: bool = False
    ) -> None:
        if self._door is None:
            return
        try:
            call.identity = self._door.admit(context, scope)
        except CallFailed as failure:
            call.fault = " ".join(failure.arguments)
            raise
        call.share = self._quotas.take(call.identity.name, watch=watch)

    def _left(self, call: Call) -> float:
        """Return for how many seconds more the client is let in."""
        left = None if self._door is None or call.identity is None else self._door.left(call.identity)
        return float("inf") if left is None else left

    def _lasting(self) -> float:
        """Return how many seconds a stream that begins now may last: not all alike, lest all end at once."""
        return self._longest_stream * random.uniform(0.7, 1.0)  # noqa: S311 - not a secret

    def _admit(self) -> None:
        if self.active > self._max_calls:
            self.refused["calls"] += 1
            raise errors.overloaded("too many calls at once")

    def _call(self, context: "grpc.aio.ServicerContext[Any, Any]", default_deadline: float) -> Call:
        correlation_id = traceparent = ""
        again = False
        # gRPC's types promise its own Metadata class; what comes is a plain tuple of pairs, or nothing.
        metadata: Sequence[tuple[str, str | bytes]] = context.invocation_metadata() or ()  # type: ignore[assignment]
        for key, value in metadata:
            if key == CORRELATION_ID and is_acceptable(value):
                correlation_id = str(value)
            elif key == TRACEPARENT and isinstance(value, str) and is_acceptable(known := as_version_00(value)):
                traceparent = known
            elif key == ATTEMPTS:
                again = True
        deadline = self._deadline(context, default_deadline)
        span = self._journal.tracing.enter(traceparent)
        call = Call(correlation_id or self._identifier(), deadline, traceparent, self._default_deadline, span)
        call.again = again
        return call

    def _deadline(self, context: "grpc.aio.ServicerContext[Any, Any]", default: float) -> float:
        remaining: float | None = context.time_remaining()
        if remaining is None:
            remaining = default
        if remaining == float("inf"):
            return remaining
        remaining = min(remaining, _LONGEST_DEADLINE)
        return self._loop.time() + remaining - min(_LONGEST_MARGIN, remaining / 10)

    def _bug(self, name: str, call: Call, error: Exception) -> errors.Refusal:
        error_id = self._identifier()
        self._journal.bug(name, call, error, error_id)
        return errors.internal(error_id)


def _limit(deadline: float) -> asyncio.Timeout:
    return asyncio.timeout_at(None if deadline == float("inf") else deadline)


def _serialized(response: Message) -> bytes:
    return response.SerializeToString()


def _identity(call: Call) -> errors.Trailers:
    correlation = (CORRELATION_ID, call.correlation_id)
    if is_acceptable(call.request_id):
        return (correlation, (REQUEST_ID, call.request_id))
    return (correlation,)
