"""The service's RPC, over the broker: calls in batches, deadlines, re-sending, pings.

Only two methods of the service are ever called: `execute`, which takes a batch, and `ping`. A batch that is on its way
when the connection breaks is sent again over the next one, as long as a caller waits; since every command has a request
id, the service runs none of them twice.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson
from pamqp.common import FieldTable
from structlog.typing import FilteringBoundLogger

from beers_runtime.configuration import ConfigurationError, broker_nodes, without_password
from beers_runtime.topology import BRIDGE_REPLIES, RPC_QUEUE, SERVICE
from beers_runtime.tracing import OFF, Tracing
from grpc_bridge import spans
from grpc_bridge.availability import Absence, Availability
from grpc_bridge.batching import Batch, Batcher, Call, Limits, Measure
from grpc_bridge.errors import CallFailed, deadline_passed
from grpc_bridge.identifiers import identifiers
from grpc_bridge.link import Link, LinkLost, LinkRefused, NoQueue, OnRefusal, Refused, open_link

_SHORTEST_BACKOFF = 0.1  # seconds
_LONGEST_BACKOFF = 2.0
_STEADY = 5.0  # seconds after which a connection counts as good, and the next backoff starts anew
_REFUSED = 10.0  # seconds until a bridge whose rights were taken away looks again
_GOODBYE = 1.0  # seconds for a polite close


class Caller(Protocol):
    """Whoever can call the service."""

    async def call(
        self,
        method: str,
        kwargs: dict[str, Any],
        *,
        deadline: float,
        correlation_id: str,
        traceparent: str = "",
        request_id: str = "",
        actor: str = "",
        rows: int = 1,
    ) -> Any:
        """Call *method* and return its result, or raise `CallFailed`. See `Bus.call`."""


class Bus:
    """A Nameko RPC client for one service. `run` keeps it connected; calls may come before that, and wait.

    Of several nodes of the broker any will do. The one that is lost is not the next one that is tried: it may be
    frozen, and to find that out takes our patience.

    Attributes:
        connected: Set while there is a connection.
        connections: How many there have been.
        batcher: What gathers the calls.
        refused: How many calls failed at once, since what is missing has been so for a while.
    """

    def __init__(
        self,
        uri: str,
        *,
        availability: Availability,
        logger: FilteringBoundLogger,
        limits: Limits,
        heartbeat: int,
        broker_patience: float,
        measure: Measure | None = None,
        tracing: Tracing = OFF,
    ) -> None:
        self._tracing = tracing
        self._nodes = broker_nodes(uri)
        # So that bridges spread over the nodes: one that goes away takes the connections of few along.
        self._turn = random.randrange(len(self._nodes))  # noqa: S311 - no secret
        self._heard = False  # of the service, at any time: then our rights have been good enough
        self._availability = availability
        self._logger = logger
        self._heartbeat = heartbeat
        self._broker_patience = broker_patience
        self._loop = asyncio.get_running_loop()
        self._measure = measure
        self.batcher = Batcher(self._send, limits, self._loop)
        self.connections = self.refused = 0
        self._identifier = identifiers()
        self._reply_to = self._identifier()
        self._pings: dict[str, asyncio.Future[object]] = {}
        self._link: Link | None = None
        self._on_pong: list[Callable[[Mapping[str, Any], float], None]] = []
        self.connected = asyncio.Event()
        availability.on_change(self._give_up_if_hopeless)

    async def call(
        self,
        method: str,
        kwargs: dict[str, Any],
        *,
        deadline: float,
        correlation_id: str,
        traceparent: str = "",
        request_id: str = "",
        actor: str = "",
        rows: int = 1,
    ) -> Any:
        """Call *method* of the service and return its result.

        Args:
            method: Its name.
            kwargs: Its arguments, of what JSON can express.
            deadline: When to give up, in the time of the event loop.
            correlation_id: The conversation that this call is part of.
            traceparent: The trace that it is part of, as W3C Trace Context writes it; empty if there is none.
            request_id: That of a command; a call without one is taken for a read.
            actor: Whose command it is; empty if nobody is known.
            rows: How many beers or events the answer may hold.

        Raises:
            CallFailed: With the service's error, or why there is no answer.
        """
        if self._availability.refusing:
            self.refused += 1
            raise self._availability.failure()
        loop = self._loop
        if deadline <= loop.time():
            raise deadline_passed(request_id)
        span = self._tracing.join(traceparent, local=True)
        content = {
            "method": method,
            "kwargs": kwargs,
            "deadline": time.time() + deadline - loop.time(),
            "correlation_id": correlation_id,
            "traceparent": (span.traceparent if span else traceparent) or None,
        }
        if actor:
            content["user_id"] = actor  # as Nameko calls it
        call = Call(
            orjson.dumps(content),
            reads=not request_id,
            rows=rows,
            deadline=deadline,
            request_id=request_id,
            answer=loop.create_future(),
            span=span,
        )
        self.batcher.add(call)
        timer = loop.call_at(deadline, self._expire, call)
        try:
            answer = await call.answer
        finally:
            timer.cancel()
        return _result(answer)

    def on_pong(self, listener: Callable[[Mapping[str, Any], float], None]) -> None:
        """Call *listener* with the answer to each ping that went well, and the loop's time when it was sent."""
        self._on_pong.append(listener)

    async def linked(self) -> Link:
        """Wait for a connection to the broker, and return it."""
        while True:
            await self.connected.wait()
            if self._link is not None and not self._link.closed.done():
                return self._link
            await asyncio.sleep(0)  # `run` is about to notice that it is closed

    async def ping(self, patience: float) -> None:
        """Ask any instance of the service for a sign of life, and note the answer, if one comes within *patience*."""
        link = self._link
        if link is None:
            return
        number = f"ping-{self._identifier()}"
        asked_at = self._loop.time()
        answer = self._pings[number] = self._loop.create_future()

        def refused(reason: NoQueue | Refused) -> None:
            if not answer.done():
                answer.set_exception(reason)

        try:
            async with asyncio.timeout(patience):
                self._publish(link, "ping", b'{"args":[],"kwargs":{}}', number, patience, refused)
                reply = await answer
        except (LinkLost, NoQueue, Refused, TimeoutError):
            return  # silence is noticed by the clock
        finally:
            del self._pings[number]
        try:
            pong = _result(reply)
        except CallFailed as failure:
            if self._availability.absence is not Absence.STORE:
                self._logger.warning("the service answered a ping with an error", error=failure.name)
            self._availability.answered_ping(self._loop.time(), store=False)
        else:
            self._availability.answered_ping(self._loop.time(), store=True)
            for listener in self._on_pong:
                listener(pong, asked_at)

    async def count_instances(self) -> int | None:
        """Return how many service instances listen; None without a connection to the broker."""
        if self._link is None:
            return None
        try:
            return await self._link.consumers(RPC_QUEUE)
        except LinkLost:
            return None

    async def run(self) -> None:
        """Connect to the broker, and again whenever the connection is lost, until cancelled.

        Raises:
            ConfigurationError: If the broker does not let us do what we need, and never has.
        """
        failures = 0  # of nodes in a row, a connection that did not last included
        while True:
            uri = self._nodes[self._turn]
            self._turn = (self._turn + 1) % len(self._nodes)
            try:
                link = await open_link(
                    uri,
                    self._heartbeat,
                    self._broker_patience,
                    f"{BRIDGE_REPLIES}{self._identifier()}",
                    self._reply_to,
                    self._on_reply,
                )
            except LinkRefused as error:
                await self._refused(uri, str(error))
            except LinkLost as error:
                if failures < len(self._nodes):
                    self._logger.warning(
                        "the broker cannot be reached; trying on", node=without_password(uri), reason=str(error)
                    )
            else:
                opened_at = self._loop.time()
                reason = await self._use(link, uri)
                if link.refused:
                    await self._refused(uri, reason)
                if self._loop.time() - opened_at > _STEADY:
                    failures = 0
            failures += 1
            rounds, nodes_left = divmod(failures, len(self._nodes))
            if not nodes_left:
                await asyncio.sleep(backoff(rounds - 1))

    def crowded(self, busy: int) -> bool:
        """Tell whether further calls would only be refused; *busy* calls were let in before and have not ended."""
        return self.batcher.crowded(busy)

    def fail_all(self, failure: CallFailed) -> None:
        """Fail every call that has no answer yet."""
        self.batcher.fail_all(failure)

    async def close(self) -> None:
        """Leave the broker; what is still waiting fails. `run` is to be cancelled before."""
        self.fail_all(CallFailed("ServiceStopping"))
        if self._link is not None:
            await self._link.close(_GOODBYE)
            self._link = None

    async def _refused(self, uri: str, reason: str) -> None:
        """Say what we lack; if it has never been there, give up, else wait until somebody may have mended it."""
        if not self._heard:
            raise ConfigurationError(
                f"AMQP_URI {without_password(uri)}: {reason}"
                " (`beers admin rabbitmq-permissions` tells who needs which rights)"
            )
        self._logger.error("the broker refuses", node=without_password(uri), reason=reason, retry_in=_REFUSED)
        await asyncio.sleep(_REFUSED)

    async def _use(self, link: Link, uri: str) -> str:
        """Use *link* as long as it lasts, and return why it ended."""
        self._link = link
        self.connections += 1
        self.connected.set()
        self._logger.info("connected to the broker", node=without_password(uri))
        self._availability.connected(self._loop.time())
        for batch in self.batcher.on_the_way():
            if batch.wanted:
                self._send(batch)
            else:
                self.batcher.take(batch.number)
        self.batcher.resume()
        # Shielded: whoever cancels `run` still wants to say goodbye.
        reason = await asyncio.shield(link.closed)
        self._link = None
        self.connected.clear()
        self.batcher.hold()
        self._logger.warning("lost the connection to the broker", reason=reason)
        self._availability.disconnected(self._loop.time())
        return reason

    def _send(self, batch: Batch) -> None:
        link = self._link
        if link is None:
            return

        def refused(reason: NoQueue | Refused) -> None:
            if isinstance(reason, NoQueue):
                failure = CallFailed("ServiceUnavailable", (), "the service has never been started; try again")
            else:
                failure = CallFailed("BrokerUnavailable", (), "the message broker refused the call; try again")
            self._fail(batch, failure)

        try:
            expires_in = batch.deadline - self._loop.time()
            self._publish(link, "execute", batch.body(), str(batch.number), expires_in, refused)
        except LinkLost:
            return  # sent again over the next one
        for call in batch.calls:
            if call.span is not None:
                spans.sent(self._tracing, call.span, len(batch.calls))
                call.span = None

    def _publish(
        self, link: Link, method: str, body: bytes, number: str, expires_in: float, on_refusal: OnRefusal
    ) -> None:
        now = time.time()
        headers: FieldTable = {
            "nameko.call_id_stack": [f"beers-bridge.{method}.{number}"],
            "nameko.correlation_id": number,
            # Whole seconds, rounded up: pamqp's floats are off by minutes. Each call of a batch has its own, exact.
            "nameko.deadline": math.ceil(now + expires_in),
            "nameko.sent_at_ms": int(now * 1000),
        }
        link.publish(
            f"{SERVICE}.{method}",
            body,
            reply_to=self._reply_to,
            number=number,
            expires_in=expires_in,
            headers=headers,
            on_refusal=on_refusal,
        )

    def _on_reply(self, number: str, body: bytes) -> None:
        ping = self._pings.get(number)
        batch = self.batcher.take(int(number)) if number.isdecimal() else None
        if ping is None and batch is None:
            return  # nobody waits any more, or it is the second answer to what was sent again
        self._heard = True
        try:
            reply: object = orjson.loads(body)
        except orjson.JSONDecodeError:
            reply = None
        if ping is not None:
            if not ping.done():
                ping.set_result(reply)
            return
        if batch is not None:
            now = self._loop.time()
            self._availability.answered(now)
            if self._measure is not None:
                self._measure(len(batch.calls), now - batch.left_at)
            try:
                answers = _result(reply)
                if not isinstance(answers, list) or len(answers) != len(batch.calls):
                    raise _malformed("an answer for each call", answers)
            except CallFailed as failure:
                batch.fail(failure)
            else:
                batch.resolve(answers)

    def _fail(self, batch: Batch, failure: CallFailed) -> None:
        taken = self.batcher.take(batch.number)
        if taken is not None:
            taken.fail(failure)

    def _expire(self, call: Call) -> None:
        if call.answer.done():
            return
        known_away = self._availability.absence not in (None, Absence.STORE)
        failure = self._availability.failure() if known_away else deadline_passed(call.request_id)
        call.answer.set_exception(failure)

    def _give_up_if_hopeless(self) -> None:
        if self._availability.refusing:
            self.fail_all(self._availability.failure())


def backoff(attempts: int) -> float:
    """Return the seconds to wait after that many failed *attempts*; a restart of the broker takes a few."""
    longest = min(_LONGEST_BACKOFF, _SHORTEST_BACKOFF * 2.0 ** min(attempts, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret


def _result(answer: object) -> Any:
    """Return the result in Nameko's *answer*, or raise the error in it."""
    if not isinstance(answer, dict):
        raise _malformed("an answer", answer)
    error = answer.get("error")
    if error is None:
        return answer.get("result")
    if not isinstance(error, dict):
        raise _malformed("an error", error)
    arguments = error.get("exc_args")
    raise CallFailed(
        str(error.get("exc_type")),
        [str(argument) for argument in arguments] if isinstance(arguments, list) else [],
        str(error.get("value")),
    )


def _malformed(expected: str, got: object) -> CallFailed:
    return CallFailed("MalformedReply", (), f"expected {expected}, got {type(got).__name__}")
