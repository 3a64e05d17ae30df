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
from sqlalchemy import Engine, create_engine, text

from beers_service.envelope import EXCHANGE
from tests.published import require_valid_message

PATIENCE = 20
"""Seconds after which a test gives up."""

QUEUE = "evt-beers--following.on_event"
"""The queue of `following.Following`."""


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


class Followed:
    """A subscriber in a process of its own, and the table that it writes."""

    def __init__(self, start: Start, wire: Wire, folder: Path, url: str) -> None:
        self.start_process = start
        self.wire = wire
        self.folder = folder
        self.url = url
        self.engine: Engine = create_engine(url)

    def start(self, service: str = "Following", *, ready: bool = True, **environ: str) -> Process:
        given = {"FOLLOWING_DATABASE_URL": self.url, "FOLLOWING_FOLDER": str(self.folder), **environ}
        arguments = ("-m", "beers_service", "--service", f"tests.service.following:{service}")
        process = self.start_process(*arguments, ready=False, **given)
        if ready:
            process.await_line("consuming")
        return process

    def call(self, method: str, /, **arguments: Any) -> Any:
        answer = self.wire.answer(self.wire.call(method, **arguments))
        assert answer["error"] is None, answer
        return answer["result"]

    def add(self, count: int) -> None:
        for _ in range(count):
            self.call("add", name="Punk")

    def effects(self) -> list[int]:
        """Return the positions that had an effect, in the order of their effects."""
        with self.engine.connect() as connection:
            if not connection.dialect.has_table(connection, "effects"):
                return []
            order = "rowid" if connection.dialect.name == "sqlite" else "ctid"
            return list(connection.execute(text(f"SELECT position FROM effects ORDER BY {order}")).scalars())  # noqa: S608

    def await_effects(self, *positions: int) -> None:
        eventually(lambda: sorted(self.effects()) == sorted(positions) or len(self.effects()) > len(positions))
        assert sorted(self.effects()) == sorted(positions)

    def tries(self, position: int) -> int:
        file = self.folder / "tries"
        return file.read_text().split().count(str(position)) if file.exists() else 0

    def tell(self, what: str, content: str = "") -> None:
        (self.folder / what).write_text(content)

    def envelope(self, position: int) -> dict[str, Any]:
        events: list[dict[str, Any]] = self.call("events", after=position - 1, limit=1)["events"]
        return events[0]

    def publish(self, body: bytes | dict[str, Any], queue: str = QUEUE, **properties: Any) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = amqp.Message(raw, **({"content_type": "application/json"} | properties))
        self.wire.channel.basic_publish(message, "", queue)

    def inbox(self) -> list[tuple[int, str]]:
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT position, state FROM beers_inbox_events ORDER BY position"))
            return [(row.position, row.state) for row in rows]

    def mark(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(text("SELECT mark FROM beers_inbox_consumers")).scalar_one())


@pytest.fixture
def followed(start: Start, wire: Wire, tmp_path: Path) -> Iterator[Followed]:
    followed = Followed(start, wire, tmp_path, f"sqlite:///{tmp_path}/following.db")
    yield followed
    followed.engine.dispose()


@pytest.fixture
def followed_on_postgresql(start: Start, wire: Wire, tmp_path: Path, postgres_url: str) -> Iterator[Followed]:
    followed = Followed(start, wire, tmp_path, postgres_url)
    yield followed
    followed.engine.dispose()
