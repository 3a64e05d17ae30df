"""A subscriber in a process of its own, beside the real service on a real broker."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import amqp
import pytest
from sqlalchemy import Engine, create_engine, text

from tests.processes import Process, Start, eventually
from tests.wire import Wire

QUEUE = "evt-beers--following.on_event"
"""The queue of `following.Following`."""


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
        arguments = ("-m", "beers_service", "--service", f"tests.subscriber.following:{service}")
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
