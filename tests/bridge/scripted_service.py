"""A stand-in for the Nameko service: the same queue, the same messages, answers from a script."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import aiormq
import orjson
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

EXCHANGE = "nameko-rpc"
EVENTS = "beers.events"
QUEUE = "rpc-beers"
TIME = "2026-11-23T21:40:22.123456Z"


class Refused(Exception):
    """What a scripted method raises to answer with an error: its name, arguments and message."""

    def __init__(self, name: str, arguments: list[str], value: str = "said the service") -> None:
        super().__init__(name, arguments, value)
        self.error = {"exc_type": name, "exc_path": f"beers_service.{name}", "exc_args": arguments, "value": value}


def beer(beer_id: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "id": beer_id,
        "name": "Jever",
        "brewery": "",
        "style": "",
        "abv": None,
        "ibu": None,
        "description": "",
        "version": 1,
        "added_at": TIME,
        "changed_at": TIME,
        "removed_at": None,
    } | fields


class Log:
    """A log of events, and the bus that tells of them.

    Attributes:
        log_id: Tells it from other logs.
        events: The envelopes, the first at position 1.
        pages: The arguments of every page that was read.
    """

    def __init__(self) -> None:
        self.log_id = "log"
        self.events: list[dict[str, Any]] = []
        self.pages: list[dict[str, Any]] = []

    def append(self, kind: str = "BeerRemoved", beer_id: int = 1, **data: Any) -> dict[str, Any]:
        """Let something happen; nobody is told."""
        position = len(self.events) + 1
        self.events.append(
            {
                "id": f"{self.log_id}:{position}",
                "type": kind,
                "position": position,
                "beer_id": beer_id,
                "version": position,
                "time": TIME,
                "request_id": f"request-{position}",
                "correlation_id": "conversation",
                "data": data,
                "schema": 1,
            }
        )
        return self.events[-1]

    def page(self, after: int, limit: int, types: list[str], beer_ids: list[int]) -> dict[str, Any]:
        """Return what the service's `events` returns, looking at five times *limit* positions at most."""
        self.pages.append({"after": after, "limit": limit, "types": types, "beer_ids": beer_ids})
        seen = self.events[after : after + 5 * limit]
        found = [
            event
            for event in seen
            if (not types or event["type"] in types) and (not beer_ids or event["beer_id"] in beer_ids)
        ][:limit]
        through = found[-1]["position"] if len(found) == limit else after + len(seen)
        return {"events": found, "through": through, "head": len(self.events), "log_id": self.log_id}

    def head(self) -> dict[str, Any]:
        """Return what the service's `ping` returns."""
        return {"log_id": self.log_id, "head": len(self.events), "version": "1"}


class ScriptedService:
    """Answers `execute` and `ping`.

    Attributes:
        methods: What answers a call, by the call's method; called with its kwargs. The default is `beer`.
        calls: Every call received, in order.
        batches: How many calls each message held.
        messages: Every message received.
        runs: How often each request id has run; a repeated one is answered, not run.
        silent: While set, messages are taken and not answered.
        log: What `events` and `ping` tell of.
    """

    def __init__(self, uri: str) -> None:
        self.log = Log()
        self.methods: dict[str, Callable[..., Any]] = {"events": self.log.page, "ping": self.log.head}
        self.calls: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self.messages: list[DeliveredMessage] = []
        self.runs: Counter[str] = Counter()
        self.silent = False
        self.store_away = False
        self.reply_instead: bytes | None = None
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self._uri = uri
        self._connection: aiormq.Connection | None = None

    async def start(self) -> Self:
        self._connection = aiormq.Connection(self._uri)
        await self._connection.connect()
        channel = await self._connection.channel()
        await channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
        await channel.queue_declare(QUEUE, durable=True)
        await channel.queue_bind(QUEUE, EXCHANGE, "beers.*")
        await channel.basic_consume(QUEUE, self._on_message)
        self._bus = await self._connection.channel()
        await self._bus.exchange_declare(EVENTS, exchange_type="topic", durable=True)
        return self

    async def tell(self, *envelopes: dict[str, Any]) -> None:
        """Publish *envelopes* to those who follow the log."""
        for envelope in envelopes:
            await self.publish(orjson.dumps(envelope), envelope["type"])

    async def publish(self, body: bytes, key: str) -> None:
        await self._bus.basic_publish(body, exchange=EVENTS, routing_key=key)

    async def happen(self, number: int = 1, **event: Any) -> None:
        """Let *number* events happen and be told."""
        await self.tell(*[self.log.append(**event) for _ in range(number)])

    async def stop(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def until(self, count: int) -> None:
        """Wait until that many calls have arrived."""
        while len(self.calls) < count:
            self.arrived.clear()
            await self.arrived.wait()

    async def _on_message(self, message: DeliveredMessage) -> None:
        channel = message.channel
        self.messages.append(message)
        if message.routing_key == "beers.ping":
            if not self.silent:
                await self._reply(channel, message, self._pong())
        elif message.routing_key == "beers.execute":
            calls = orjson.loads(message.body)["kwargs"]["calls"]
            self.batches.append(len(calls))
            self.calls += calls
            self.arrived.set()
            await self.gate.wait()
            if not self.silent:
                await self._reply(channel, message, {"result": [self._answer(call) for call in calls], "error": None})
        await channel.basic_ack(message.delivery_tag or 0)

    def _pong(self) -> dict[str, Any]:
        if self.store_away:
            return {"result": None, "error": Refused("StoreUnavailable", ["disk on fire"]).error}
        return {"result": self.log.head(), "error": None}

    def _answer(self, call: dict[str, Any]) -> dict[str, Any]:
        method, kwargs = call["method"], call["kwargs"]
        request_id = kwargs.get("request_id")
        if request_id:
            if request_id in self.runs:
                return {"result": beer(name="answered before"), "error": None}
            self.runs[request_id] += 1
        run: Callable[..., Any] = self.methods.get(method, _any_beer)
        try:
            return {"result": run(**kwargs), "error": None}
        except Refused as refused:
            return {"result": None, "error": refused.error}

    async def _reply(self, channel: AbstractChannel, message: DeliveredMessage, reply: dict[str, Any]) -> None:
        body = orjson.dumps(reply) if self.reply_instead is None else self.reply_instead
        properties = Basic.Properties(
            content_type="application/json", correlation_id=message.header.properties.correlation_id
        )
        await channel.basic_publish(
            body,
            exchange=EXCHANGE,
            routing_key=message.header.properties.reply_to or "",
            properties=properties,
        )


@asynccontextmanager
async def scripted_service(uri: str) -> AsyncIterator[ScriptedService]:
    """A running service on a queue that nothing waits in; both are gone afterwards."""
    await forget_queue(uri)
    service = await ScriptedService(uri).start()
    try:
        yield service
    finally:
        service.gate.set()
        await service.stop()
        await forget_queue(uri)


async def forget_queue(uri: str) -> None:
    """Delete the service's queue, as if it had never been started."""
    async with aiormq.connect(uri) as connection:
        channel = await connection.channel()
        await channel.queue_delete(QUEUE)


def _any_beer(**kwargs: Any) -> dict[str, Any]:
    return beer(kwargs.get("beer_id", 1), name=kwargs.get("name", "Jever"))
