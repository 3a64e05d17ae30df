"""A bare queue on the exchange of the events: what the bus tells those who use nothing of ours."""

import json

import amqp

from beers_service.broker import Broker
from beers_service.envelope import EXCHANGE
from chaos.verdict import Told

QUEUE = "chaos.tap"


def open_tap(uri: str, queue_type: str = "classic") -> None:
    """Declare the queue, of that type, before the first event."""
    channel = _connect(uri).channel()
    channel.exchange_declare(EXCHANGE, "topic", durable=True, auto_delete=False)
    channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments={"x-queue-type": queue_type})
    channel.queue_bind(QUEUE, EXCHANGE, "#")
    channel.connection.close()


def drain(uri: str) -> list[Told]:
    """Return everything that has come, in that order."""
    connection = _connect(uri)
    channel = connection.channel()
    told: list[Told] = []
    while (message := channel.basic_get(QUEUE, no_ack=True)) is not None:
        event = json.loads(message.body)
        told.append((event["position"], event["request_id"]))
    connection.close()
    return told


def _connect(uri: str) -> amqp.Connection:
    return Broker(uri, heartbeat=0).connect()
