"""A service that does nothing: it answers each call with the same beer, in a loop over the socket, without threads.

    python -m benchmarks.contenders.idle_service AMQP-URI

What was read together is answered in one write and acknowledged with one frame. It stores nothing and checks nothing:
what it takes of the time is about the least that a service in Python can.
"""

import sys
from urllib.parse import urlsplit

import orjson
from amqp import Connection
from amqp.basic_message import Message

from beers_service.frames import Answer
from beers_service.inflow import Inflow
from benchmarks import payload

PREFETCH = 64
NAME = "idle"
EXCHANGE = "nameko-rpc"
ANSWER = orjson.dumps({"result": {"id": 1, **payload.BEER}, "error": None})


def main(amqp_uri: str) -> None:
    """Answer until the process is stopped."""
    parts = urlsplit(amqp_uri)
    connection = Connection(f"{parts.hostname}:{parts.port}", virtual_host=parts.path.removeprefix("/") or "/")
    connection.connect()
    channel = connection.channel()
    frames: list[bytes] = []
    last = 0

    def take(message: Message) -> None:
        nonlocal last
        given = message.properties
        answer = Answer(ANSWER, given["reply_to"], given["correlation_id"], given["delivery_mode"])
        frames.append(answer.frames(EXCHANGE, channel.channel_id, connection.frame_max))
        last = message.delivery_tag

    channel.exchange_declare(EXCHANGE, "topic", durable=True, auto_delete=False)
    channel.queue_declare(f"rpc-{NAME}", durable=True, auto_delete=False)
    channel.queue_bind(f"rpc-{NAME}", EXCHANGE, f"{NAME}.*")
    channel.basic_qos(0, PREFETCH, a_global=False)
    channel.basic_consume(f"rpc-{NAME}", callback=take)
    inflow = Inflow(connection)
    print("ready", flush=True)
    while True:
        inflow.drain()
        if frames:
            connection.transport.write(b"".join(frames))
            channel.basic_ack(last, multiple=True)
            frames.clear()


if __name__ == "__main__":
    main(sys.argv[1])
