"""The real service in a process of its own, on a real broker, and raw AMQP to tease it with."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import amqp
import pytest
from kombu import Connection
from nameko.standalone.rpc import ClusterRpcProxy

from beers_service.envelope import EXCHANGE
from tests.published import require_valid_message

PATIENCE = 20
"""Seconds after which a test gives up."""


class Process:
    """A process of the service, its output in a file."""

    def __init__(self, folder: Path, arguments: list[str], environ: dict[str, str]) -> None:
        self.output = folder / f"output-{uuid.uuid4().hex}"
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                env={**os.environ, "LOG_FORMAT": "json", **environ},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    @property
    def pid(self) -> int:
        return self._process.pid

    def lines(self) -> list[dict[str, Any]]:
        """Return what the process logged."""
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]

    def await_line(self, event: str, times: int = 1) -> None:
        def there() -> bool:
            assert self._process.poll() is None or self.text.count(f'"event":"{event}"') >= times, self.text
            return self.text.count(f'"event":"{event}"') >= times

        eventually(there)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def alive(self) -> bool:
        return self._process.poll() is None

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for the end and return the exit status."""
        return self._process.wait(patience)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def eventually(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start a service; ``amqp`` is the fixture's URI unless given, the store is SQLite in the test's folder."""
    started: list[Process] = []

    def begin(*arguments: str, ready: bool = True, **environ: str) -> Process:
        environ.setdefault("AMQP_URI", environ.pop("amqp", "") or request.getfixturevalue("fresh_amqp_uri"))
        environ.setdefault("DATABASE_URL", f"sqlite:///{tmp_path}/beers.db")
        process = Process(tmp_path, list(arguments) or ["-m", "beers_service"], environ)
        started.append(process)
        if ready:
            process.await_line("consuming")
        return process

    yield begin
    for process in started:
        if process.alive():
            process.signal(signal.SIGCONT)
            process.kill()


@pytest.fixture
def beers(fresh_amqp_uri: str) -> Iterator[Any]:
    """What a Python team calls: the service's proxy over a stock client."""
    with ClusterRpcProxy({"AMQP_URI": fresh_amqp_uri}, timeout=PATIENCE) as cluster:
        yield cluster.beers


class Wire:
    """Raw AMQP: sends what no client would, and sees every answer."""

    def __init__(self, uri: str) -> None:
        self._connection = Connection(uri, heartbeat=0)
        self.channel: amqp.Channel = self._connection.default_channel
        self.answers: list[Any] = []
        self.reply_to = str(uuid.uuid4())
        self.channel.exchange_declare("nameko-rpc", "topic", durable=True, auto_delete=False)
        queue = self.channel.queue_declare(exclusive=True).queue
        self.channel.queue_bind(queue, "nameko-rpc", self.reply_to)
        self.channel.basic_consume(queue, no_ack=True, callback=self._take)

    def _take(self, message: Any) -> None:
        self.answers.append((message.properties.get("correlation_id"), json.loads(message.body)))

    def send(self, body: bytes | dict[str, Any], key: str = "beers.ping", **properties: Any) -> str:
        """Send a request and return its correlation id; a property given as None is left out."""
        correlation_id = uuid.uuid4().hex
        given = {
            "content_type": "application/json",
            "reply_to": self.reply_to,
            "correlation_id": correlation_id,
            **properties,
        }
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = amqp.Message(raw, **{name: value for name, value in given.items() if value is not None})
        self.channel.basic_publish(message, "nameko-rpc", key)
        return correlation_id

    def send_raw(self, flags: int, properties: bytes) -> None:
        """Send a request for a ping whose properties are these bytes."""
        message = amqp.Message(b'{"args": [], "kwargs": {}}')
        vars(message)["_serialize_properties"] = lambda: struct.pack(">H", flags) + properties
        self.channel.basic_publish(message, "nameko-rpc", "beers.ping")

    def call(self, method: str, /, **kwargs: Any) -> str:
        return self.send({"args": [], "kwargs": kwargs}, f"beers.{method}")

    def answer(self, correlation_id: str) -> Any:
        """Return the body of the answer to a request."""

        def arrived() -> bool:
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=0.1)
            return any(known == correlation_id for known, _ in self.answers)

        if not any(known == correlation_id for known, _ in self.answers):
            eventually(arrived)
        return next(body for known, body in self.answers if known == correlation_id)

    def get(self, queue: str) -> Any:
        """Take one message from *queue*, waiting for it; an event has to keep the contract."""
        found: list[Any] = []

        def take() -> bool:
            message = self.channel.basic_get(queue, no_ack=True)
            if message is not None:
                found.append(message)
            return message is not None

        eventually(take)
        if found[0].delivery_info["exchange"] == EXCHANGE:
            require_valid_message(found[0])
        return found[0]

    def close(self) -> None:
        self._connection.release()


@pytest.fixture
def wire(fresh_amqp_uri: str) -> Iterator[Wire]:
    wire = Wire(fresh_amqp_uri)
    yield wire
    wire.close()
