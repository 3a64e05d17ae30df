"""Calls a Nameko service past Nameko's own client: kombu's transport alone, one channel, for each call a message.

    python -m benchmarks.clients.lean_calls AMQP-URI SERVICE OUTSTANDING WARM-UP SECONDS

It shows what of a stock call is the service's and what the client's. Prints one line of JSON. An answer that is an
error ends it.
"""

import sys
import time
import uuid
from urllib.parse import urlsplit

import orjson
from amqp import Connection
from amqp.basic_message import Message

from benchmarks import payload
from benchmarks.clients.timing import Clock

PATIENCE = 30.0


class Caller:
    """One channel with its reply queue."""

    def __init__(self, connection: Connection, service: str, clock: Clock) -> None:
        self._connection = connection
        self._channel = connection.channel()
        self._method = f"{service}.add"
        self._clock = clock
        self._queue = f"lean-{uuid.uuid4()}"
        self._body = orjson.dumps({"args": [], "kwargs": payload.BEER})
        self._made = 0
        self.started: dict[str, float] = {}
        self._channel.queue_declare(self._queue, exclusive=True, auto_delete=True)
        self._channel.queue_bind(self._queue, "nameko-rpc", self._queue)
        self._channel.basic_consume(self._queue, no_ack=True, callback=self._take)

    def call(self) -> None:
        """Send a call."""
        self._made += 1
        correlation = str(self._made)
        message = Message(
            self._body,
            content_type="application/json",
            content_encoding="utf-8",
            reply_to=self._queue,
            correlation_id=correlation,
            application_headers={"nameko.call_id_stack": [correlation]},
        )
        self.started[correlation] = time.perf_counter()
        self._channel.basic_publish(message, "nameko-rpc", self._method)

    def wait(self) -> None:
        """Take in what has come, at least one frame."""
        self._connection.drain_events(timeout=PATIENCE)

    def _take(self, message: Message) -> None:
        error = orjson.loads(message.body)["error"]
        if error is not None:
            raise RuntimeError(f"the service answered with {error}")
        self._clock.answered(self.started.pop(message.properties["correlation_id"]))


def main(amqp_uri: str, service: str, outstanding: int, warm_up: float, seconds: float) -> None:
    """Call until the time is up, then wait for what is outstanding."""
    parts = urlsplit(amqp_uri)
    connection = Connection(f"{parts.hostname}:{parts.port}", virtual_host=parts.path.removeprefix("/") or "/")
    connection.connect()
    clock = Clock(warm_up, seconds)
    caller = Caller(connection, service, clock)
    while clock.runs():
        while len(caller.started) < outstanding:
            caller.call()
        caller.wait()
    while caller.started:
        caller.wait()
    connection.close()
    clock.tell()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
