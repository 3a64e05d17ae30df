"""Asks the service ``beers`` for what a subscriber lacks: Nameko's RPC, with an end to every wait."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from beers_runtime.topology import RPC_EXCHANGE as EXCHANGE
from beers_service.broker import BROKER_ERRORS, Broker, drop, refusal, require_exchange, send
from beers_service.subscriber.arrivals import Event, Malformed, event_told

PATIENCE = 5.0
"""Seconds that an answer may take."""

PAGE = 500
"""How many events are asked for at a time."""


class CatalogueAway(Exception):
    """The service does not answer, or not with what was asked for. Args: what happened."""


class CatalogueRefused(CatalogueAway):
    """The broker does not let us ask the service. Args: its words."""


@dataclass(frozen=True, slots=True)
class Page:
    """Events that follow each other in the log, and where that ends.

    Attributes:
        log_id: The log.
        head: The position of its last event.
        events: The events; none if only the head was asked for.
        former_logs: The ids that it had before, each with the position of the last event that is of that log too; only
            if the head was asked for.
    """

    log_id: str
    head: int
    events: list[Event]
    former_logs: Mapping[str, int]


class Catalogue:
    """The service, asked over a connection of each question's own: questions are rare.

    Args:
        broker: Where the service is.
        reply_queues: How the names of the queues begin that take the answers.
    """

    def __init__(self, broker: Broker, reply_queues: str) -> None:
        self._broker = broker
        self._reply_queues = reply_queues

    def head(self) -> Page:
        """Return where the log ends, without events; raises `CatalogueAway`."""
        answer = self._ask("ping", {})
        return self._page(answer, [])

    def events(self, after: int) -> Page:
        """Return the events after a position, oldest first, at most `PAGE`; raises `CatalogueAway`."""
        answer = self._ask("events", {"after": after, "limit": PAGE})
        return self._page(answer, answer.get("events"))

    def _page(self, answer: dict[str, Any], events: Any) -> Page:
        try:
            told = [event_told(event) for event in events]
            former_logs = {str(log_id): int(last) for log_id, last in answer.get("former_logs", {}).items()}
            return Page(str(answer["log_id"]), int(answer["head"]), told, former_logs)
        except (AttributeError, KeyError, TypeError, ValueError, Malformed) as error:
            raise CatalogueAway(f"the service beers gave an answer that is none: {error}") from error

    def _ask(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = orjson.loads(self._call(method, arguments))
        except BROKER_ERRORS as broken:
            if refused := refusal(broken):
                raise CatalogueRefused(refused) from broken
            raise CatalogueAway(f"the service beers does not answer: {broken or type(broken).__name__}") from broken
        except orjson.JSONDecodeError as unreadable:
            raise CatalogueAway("the service beers gave an answer that is no JSON") from unreadable
        error = answer.get("error") if isinstance(answer, dict) else "no object"
        if error is not None or not isinstance(answer.get("result"), dict):
            raise CatalogueAway(f"the service beers refused: {error}")
        result: dict[str, Any] = answer["result"]
        return result

    def _call(self, method: str, arguments: dict[str, Any]) -> bytes:
        deadline = time.monotonic() + PATIENCE
        connection = self._broker.connect()
        answers: list[Any] = []
        returned: list[object] = []
        try:
            channel = connection.channel()
            require_exchange(channel, EXCHANGE)
            reply_to = str(uuid.uuid4())
            queue = channel.queue_declare(f"{self._reply_queues}{reply_to}", exclusive=True).queue
            channel.queue_bind(queue, EXCHANGE, reply_to)
            channel.basic_consume(queue, no_ack=True, callback=answers.append)
            channel.events.setdefault("basic_return", set()).add(lambda *_: returned.append(None))
            send(
                channel,
                orjson.dumps({"args": [], "kwargs": arguments}),
                EXCHANGE,
                f"beers.{method}",
                mandatory=True,
                content_type="application/json",
                reply_to=reply_to,
                correlation_id=str(uuid.uuid4()),
                # Nobody is to answer it when nobody waits any more.
                expiration=str(int(PATIENCE * 1000)),
                application_headers={"nameko.deadline": time.time() + PATIENCE},
            )
            while not answers:
                if returned:
                    raise CatalogueAway("there is no service beers on this broker")
                connection.drain_events(timeout=max(deadline - time.monotonic(), 0.001))
        finally:
            drop(connection)
        body = answers[0].body
        return body if isinstance(body, bytes) else body.encode()
