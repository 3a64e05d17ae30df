"""What comes over the broker: calls that are none, answers that nobody asked for, events that did not happen."""

import json
import random
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import amqp
import orjson
from kombu import Connection

from beers_service.unreadable import tolerate
from fuzz import judging
from fuzz.calling import Find

CALLS, EVENTS, DEAD_LETTERS = "nameko-rpc", "beers.events", "beers.dead-letters"
METHODS = (
    *("add", "add_many", "import_beers", "rename", "update", "remove", "restore"),
    *("get", "get_many", "list", "history", "events", "execute", "ping", "brew", "__init__", "calls", ""),
)
NAMES = (
    *(
        "name",
        "beer_id",
        "beers",
        "calls",
        "page_size",
        "page_token",
        "query",
        "order_by",
        "types",
        "beer_ids",
        "after",
    ),
    *("limit", "as_of", "abv", "ibu", "request_id", "expected_version", "show_removed", "self", "kwargs", "method"),
    *("deadline", "changes"),
)
NUMBERS = (0, 1, -1, 7, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 1e308, -1e308, 1e-320, 1.5, 1e18, 1e10)
TEXTS = (
    "",
    "Punk",
    "\0",
    "🍺" * 300,
    "x" * 10_001,
    "2026-11-23T12:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "1",
)
LARGE = (["BeerAdded"] * 70_000, list(range(1, 1001)), [{"name": "Punk", "request_id": "r"}] * 1000)
ERRORS_OF_CALLERS = frozenset(
    {
        *("InvalidField", "BeerNotFound", "BeerNotRemoved", "VersionConflict", "RequestIdReused", "PositionOutOfRange"),
        *("DeadlinePassed", "Overloaded", "MalformedRequest", "IncorrectSignature", "MethodNotFound"),
    }
)
"""What an answer to nonsense may be. Anything else is a bug, or says that the store is away."""

PATIENCE = 10.0

CUT_OFF = (amqp.exceptions.AMQPError, ConnectionError)


@dataclass
class Messages:
    """How many messages were sent, and how many of the calls were answered."""

    sent: int = 0
    answered: int = 0
    forged: int = 0
    cut_off: int = 0
    bridges: set[str] = field(default_factory=set)


class Sender:
    """Sends messages that no client would, and looks at every answer.

    Args:
        uri: The broker.
        seed: Decides what is sent.
        find: Takes what was found.
    """

    def __init__(self, uri: str, seed: int, find: Find) -> None:
        self.messages = Messages()
        self._chance = random.Random(seed)
        self._find = find
        tolerate()  # we overhear what we have sent
        self._uri = uri
        self._reply_to = f"fuzz-{seed}"
        self._asked: dict[str, object] = {}
        self._connect()
        self._log_id = self._probe()["log_id"]

    def _part(self) -> None:
        try:
            self._connection.release()
        except (*CUT_OFF, OSError):
            return  # the broker has parted from us already

    def _connect(self) -> None:
        self._connection = Connection(self._uri, heartbeat=0)
        self._channel: Any = self._connection.default_channel
        self._channel.exchange_declare(
            EVENTS, "topic", durable=True, auto_delete=False
        )  # before the first event there is none
        queue = self._channel.queue_declare(exclusive=True).queue
        self._channel.queue_bind(queue, CALLS, self._reply_to)
        self._channel.basic_consume(queue, no_ack=True, callback=self._take)
        # Bridges name their queue in every call: whoever may read the exchange learns where answers go.
        overheard = self._channel.queue_declare(exclusive=True, arguments={"x-max-length": 100}).queue
        self._channel.queue_bind(overheard, CALLS, "beers.execute")
        self._overheard = overheard

    def send(self, number: int) -> None:
        """Send that many messages."""
        kinds: Sequence[Callable[[], None]] = (
            self._call,
            self._call,
            self._call,
            self._raw,
            self._forge,
            self._event,
            self._letter,
        )
        for index in range(number):
            self._go_on(self._chance.choice(kinds))
            self.messages.sent += 1
            if index % 50 == 49 or index == number - 1:
                while not self._go_on(self._probe):
                    pass  # each time is bounded, and what the broker parts from us for is sent once

    def _go_on(self, doing: Callable[[], object]) -> bool:
        """Do something; tell whether the broker is still with us afterwards, and connect anew if it is not."""
        try:
            doing()
        except CUT_OFF:
            # Of some properties the broker itself will have nothing, and says so. Nobody else has seen them.
            self.messages.cut_off += 1
            self._part()
            self._connect()
            return False
        return True

    def close(self) -> None:
        """Part from the broker."""
        self._part()

    def _probe(self) -> Any:
        """Ask properly whether the service is there, and wait for the answer."""
        self._overhear()
        correlation_id = f"probe-{self.messages.sent}-{self._chance.random()}"
        found: list[Any] = []
        self._asked[correlation_id] = found.append
        self._publish(
            CALLS,
            "beers.ping",
            b'{"args": [], "kwargs": {}}',
            reply_to=self._reply_to,
            correlation_id=correlation_id,
        )
        deadline = time.monotonic() + PATIENCE
        while not found and time.monotonic() < deadline:
            try:
                self._connection.drain_events(timeout=0.5)
            except TimeoutError:
                continue
        if not found:
            raise TimeoutError(f"the service does not answer within {PATIENCE:g} s")
        return found[0]["result"]

    def _call(self) -> None:
        chance = self._chance
        method = chance.choice(METHODS)
        kwargs = self._arguments()
        if method == "execute" and chance.random() < 0.8:
            kwargs = {"calls": [self._one() for _ in range(chance.choice((1, 3, 30)))]}
            if chance.random() < 0.05:
                kwargs = {"calls": [{"method": "ping"}] * chance.choice((1000, 1001))}
        body = self._spoiled(orjson.dumps({"args": [], "kwargs": kwargs}))
        properties: dict[str, Any] = {"reply_to": self._reply_to, "correlation_id": f"call-{self.messages.sent}"}
        if chance.random() < 0.3:
            properties |= chance.choice(
                (
                    {"reply_to": None},
                    {"reply_to": "\ud800"},
                    {"reply_to": "nobody"},
                    {"content_type": None},
                    {"content_type": "application/x-python-serialize"},
                    {"content_encoding": "punycode"},
                    {"correlation_id": ""},
                    {"correlation_id": "\ud800" * 20},
                    {"expiration": "1"},
                    {"application_headers": {"nameko.call_id_stack": chance.choice((7, [{}], "x", ["x"] * 5000))}},
                    {"application_headers": {"nameko.deadline": chance.choice((True, "x", 1e300, -1e300, 2**62, 0))}},
                    {
                        "application_headers": {
                            "traceparent": "x" * 300,
                            "nameko.traceparent": 5,
                            "nameko.": 1,
                            "nameko.call_id": 3,
                        }
                    },
                    {"application_headers": {"x-death": [{"count": "x"}], "x-attempts": -1}},
                )
            )
        correlation_id = properties["correlation_id"]
        if correlation_id and properties["reply_to"] == self._reply_to:
            self._asked[correlation_id] = {
                "method": method,
                "body": body[:2000].decode("latin-1"),
                "properties": repr(properties)[:500],
            }
        self._publish(CALLS, f"beers.{method}", body, **properties)

    def _one(self) -> Any:
        chance = self._chance
        found: dict[str, Any] = {"method": chance.choice(METHODS), "kwargs": self._arguments()}
        if chance.random() < 0.1:
            found["deadline"] = chance.choice((*NUMBERS, None, "x", True))
        if chance.random() < 0.05:
            found |= chance.choice(({"method": 7}, {"kwargs": []}, {"correlation_id": "\0"}, {"traceparent": 1}))
        return found if chance.random() < 0.98 else chance.choice((None, [], "x"))

    def _arguments(self) -> dict[str, Any]:
        chance = self._chance
        return {chance.choice(NAMES): self._value(0) for _ in range(chance.randrange(4))}

    def _value(self, depth: int) -> Any:
        chance = self._chance
        kinds: list[Callable[[], Any]] = [
            lambda: chance.choice(NUMBERS),
            lambda: chance.choice(TEXTS),
            lambda: chance.choice((None, True, False)),
            lambda: chance.randrange(1, 50),
            lambda: chance.choice(LARGE),
        ]
        if depth < 3:
            kinds += [
                lambda: [self._value(depth + 1) for _ in range(chance.choice((0, 1, 3)))],
                lambda: {chance.choice(NAMES): self._value(depth + 1) for _ in range(3)},
            ]
        return chance.choices(kinds, (4, 4, 2, 2, 1, 2, 2)[: len(kinds)])[0]()

    def _spoiled(self, body: bytes) -> bytes:
        chance = self._chance
        if chance.random() < 0.8:
            return body
        place = chance.randrange(len(body) + 1)
        return chance.choice(
            (
                body[:place],
                body[:place] + chance.randbytes(3) + body[place:],
                b'{"args": [' + b"[" * 50_000,
                b'{"a":' * 50_000,
                b'{"args": [' + b"9" * 5000 + b'], "kwargs": {}}',
                b'{"args": [1e999], "kwargs": {}}',
                b'{"args": ["\\ud800"], "kwargs": {}}',
                b"[]",
                b"",
                b"\xff\xfe",
                body + b"\0",
            )
        )

    def _raw(self) -> None:
        """Send properties that are no AMQP, or such as hardly anybody reads."""
        chance = self._chance
        table = b"\x01x" + chance.choice(
            (
                b"T" + struct.pack(">Q", 2**62),
                b"d" + b"\xff" * 8,
                b"?",
                b"x\xff\xff\xff\xff",
                b"S\0\0\0\2\xff\xfe",
                b"D\xff\0\0\0\1",
            )
        )
        for _ in range(chance.choice((0, 1, 1500))):
            table = b"\x01x" + b"F" + struct.pack(">I", len(table)) + table
        flags, properties = chance.choice(
            (
                (0x2000, struct.pack(">I", len(table)) + table),
                (0x8000, b"\x02\xff\xfe"),
                (0x0200, b"\x02\xff\xfe"),
                (0x0400, b"\x03\xed\xa0\x80"),
                (0x0040, struct.pack(">Q", 2**64 - 1)),
            )
        )
        message = amqp.Message(b'{"args": [], "kwargs": {}}')
        vars(message)["_serialize_properties"] = lambda: struct.pack(">H", flags) + properties
        exchange, key = chance.choice(
            ((CALLS, "beers.ping"), (CALLS, "beers.execute"), (EVENTS, "BeerAdded"), (CALLS, self._bridge()))
        )
        self._channel.basic_publish(message, exchange, key)

    def _forge(self) -> None:
        """Answer a bridge what it did not ask; numbers of calls that are on their way are left alone."""
        number = self._chance.choice(
            ("", "x", "-1", "99999999999", "9" * 250, "²", "٣" * 20, "\ud800", f"{10**15 + self.messages.sent}")
        )
        body = self._spoiled(orjson.dumps({"result": self._value(0), "error": self._value(0)}))
        self._publish(CALLS, self._bridge(), body, correlation_id=number)
        self.messages.forged += 1

    def _event(self) -> None:
        """Tell of an event that did not happen, and that nobody may take for one that did."""
        chance = self._chance
        position = chance.choice((0, -1, 2**63, 2**64 - 1, 1.5, "1", None, True, [1]))
        log_id = chance.choice((self._log_id, self._log_id, "another", "", None, 5))
        document = {
            "id": chance.choice((f"{log_id}:{position}", "", 5, None, ":", "x")),
            "type": chance.choice(("BeerAdded", "BeerDrunk", 5, None)),
            "position": position,
            "beer_id": chance.choice(NUMBERS),
            "version": chance.choice(NUMBERS),
            "time": chance.choice(TEXTS),
            "data": self._value(0),
            "schema": chance.choice(NUMBERS),
        }
        for name in chance.sample(sorted(document), chance.choice((0, 0, 1, 4))):
            del document[name]
        body = self._spoiled(json.dumps(document).encode())
        headers = (
            {"x-attempts": chance.choice((-1, 2**40, "x", 1.5)), "ce-position": "x"} if chance.random() < 0.3 else {}
        )
        content_type = chance.choice(("application/json", "application/json", "application/json", "text/plain", None))
        self._publish(
            EVENTS, chance.choice(("BeerAdded", "x", "")), body, content_type=content_type, application_headers=headers
        )

    def _letter(self) -> None:
        """Put something into the dead letters."""
        headers = {
            name: self._chance.choice((1, "x", [1], None, {"a": 1}))
            for name in ("x-reason", "x-time", "x-queue", "x-attempts")
        }
        self._publish("", DEAD_LETTERS, self._chance.randbytes(30), application_headers=headers)

    def _bridge(self) -> str:
        return self._chance.choice(sorted(self.messages.bridges) or ["nobody"])

    def _publish(self, exchange: str, key: str, body: bytes, **properties: Any) -> None:
        given = {"content_type": "application/json", **properties}
        message = amqp.Message(body, **{name: value for name, value in given.items() if value is not None})
        self._channel.basic_publish(message, exchange, key)

    def _overhear(self) -> None:
        message = self._channel.basic_get(self._overheard, no_ack=True)
        if (
            message is not None
            and isinstance(reply_to := message.properties.get("reply_to"), str)
            and reply_to
            not in (
                self._reply_to,
                "nobody",
                "\ud800",
            )
        ):
            self.messages.bridges.add(reply_to)

    def _take(self, message: Any) -> None:
        asked = self._asked.pop(message.properties.get("correlation_id", ""), None)
        body = bytes(message.body) if isinstance(message.body, bytes) else message.body.encode()
        self.messages.answered += 1
        answer = orjson.loads(body)
        if callable(asked):
            asked(answer)
            return
        answers = [answer, *(answer["result"] if isinstance(answer["result"], list) else ())]
        for one in answers:
            error = one.get("error") if isinstance(one, dict) else None
            if error is None:
                continue
            if error["exc_type"] not in ERRORS_OF_CALLERS:
                self._find(f"the service answers {error['exc_type']}: {error['value']}"[:500], asked)
            elif found := judging.leak(error["value"].encode(errors="replace")):
                self._find(f"the service tells of the inside: {found}", asked)
