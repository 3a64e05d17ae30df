"""The service is killed at the four points where a guard has to hold, and what was promised holds."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from beers_service import admin
from tests.processes import Start, eventually
from tests.wire import Wire

from .points import AFTER_COMMIT, AFTER_CONFIRM, BEFORE_COMMIT, MID_WINDOW

COMMANDS: list[dict[str, Any]] = [
    {"method": "add", "kwargs": {"name": f"Beer {number}", "request_id": f"r-{number}"}} for number in range(2, 12)
]
EVERYTHING = list(range(1, 12))


class Store:
    """A look into the store, past the service."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url)

    def number(self, query: str) -> int:
        with self._engine.connect() as connection:
            return int(connection.execute(text(query)).scalar_one())

    def events(self) -> int:
        return self.number("SELECT count(*) FROM events")

    def relayed(self) -> int:
        return self.number("SELECT position FROM relay")

    def close(self) -> None:
        self._engine.dispose()


@pytest.mark.parametrize(
    ("point", "kind", "committed", "published"),
    [
        (BEFORE_COMMIT, "sqlite", 1, 1),
        (BEFORE_COMMIT, "postgresql", 1, 1),
        (AFTER_COMMIT, "sqlite", 11, 1),
        (AFTER_COMMIT, "postgresql", 11, 1),
        (MID_WINDOW, "sqlite", 11, 6),
        (AFTER_CONFIRM, "sqlite", 11, 11),
    ],
)
def test_a_crash_leaves_one_event_for_each_request_told_at_least_once_and_the_right_answer(
    start: Start,
    wire: Wire,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    point: str,
    kind: str,
    committed: int,
    published: int,
) -> None:
    url = f"sqlite:///{tmp_path}/beers.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    admin.migrate(url)
    wire.channel.exchange_declare("beers.events", "topic", durable=True, auto_delete=False)
    wire.channel.queue_declare("all", durable=True, auto_delete=False)
    wire.channel.queue_bind("all", "beers.events", "#")
    service = start(DATABASE_URL=url)
    follower = f"sqlite:///{tmp_path}/following.db"
    start(
        "-m", "beers_service", "--service", "tests.subscriber.following:Orderly",
        FOLLOWING_DATABASE_URL=follower, FOLLOWING_FOLDER=str(tmp_path),
    )  # fmt: skip
    store, effects = Store(url), Store(follower)
    assert wire.answer(wire.call("add", name="Beer 1"))["error"] is None
    eventually(lambda: store.relayed() == 1)
    assert service.stop() == 0

    crashing = start("-m", "tests.service.crashing", DATABASE_URL=url, CRASH=point)
    call = wire.call("execute", calls=COMMANDS)
    assert crashing.wait() == -signal.SIGKILL
    # This is where it was.
    assert (store.events(), store.relayed()) == (committed, 1)
    assert wire.channel.queue_declare("all", passive=True).message_count == published

    service = start(DATABASE_URL=url)
    answers = wire.answer(call)["result"]
    assert [(answer["result"]["id"], answer["result"]["version"]) for answer in answers] == [
        (number, 1) for number in EVERYTHING[1:]
    ]
    assert wire.answer(wire.call("execute", calls=COMMANDS))["result"] == answers
    log = wire.answer(wire.call("events", limit=100))["result"]["events"]
    assert [event["position"] for event in log] == EVERYTHING
    assert [event["request_id"] for event in log[1:]] == [command["kwargs"]["request_id"] for command in COMMANDS]
    eventually(lambda: store.relayed() == 11)
    told: list[int] = []
    while wire.channel.queue_declare("all", passive=True).message_count:
        told.append(json.loads(wire.get("all").body)["position"])
    assert list(dict.fromkeys(told)) == EVERYTHING
    # What had been told before the crash is told again, since the cursor stayed behind.
    assert len(told) == len(EVERYTHING) + published - 1
    eventually(lambda: effects.number("SELECT mark FROM beers_inbox_consumers") == 11)
    assert effects.number("SELECT count(*) FROM effects") == 11
    assert effects.number("SELECT count(DISTINCT position) FROM effects") == 11
    assert service.stop() == 0
    store.close()
    effects.close()
