"""Every store, one after another."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from beers_service.domain.commands import Command
from beers_service.ports import BeerReader, EventLog, RelayCursor
from beers_service.store import migrations
from beers_service.store.engine import connect
from beers_service.store.event_log import SqlEventLog
from beers_service.store.memory import MemoryStore
from beers_service.store.reader import SqlReader
from beers_service.store.relay_cursor import SqlRelayCursor
from beers_service.writer import Outcome, Request, Writer


@dataclass
class Store:
    """A store under test.

    Attributes:
        log: Where events are appended.
        reader: Reads of it.
        cursor: Returns another process's view of the relay's cursor.
        url: How other processes reach it; None if they cannot.
        engine: The engine behind it; None if there is none.
    """

    log: EventLog
    reader: BeerReader
    cursor: Callable[[], RelayCursor]
    url: str | None = None
    engine: Engine | None = None
    now: datetime = datetime(2026, 11, 23, 12, tzinfo=UTC)
    requests: int = 0
    committed: list[None] = field(default_factory=list)

    def writer(self) -> Writer:
        return Writer(self.log, self.reader, lambda: self.now, lambda: self.committed.append(None))

    def request(
        self,
        *commands: Command,
        request_id: str | None = None,
        expected_version: int | None = None,
        actor: str | None = None,
    ) -> Request:
        self.requests += 1
        return Request(
            commands=commands,
            request_id=request_id or f"request-{self.requests}",
            correlation_id="conversation",
            expected_version=expected_version,
            actor=actor,
        )

    def run(
        self,
        *commands: Command,
        request_id: str | None = None,
        expected_version: int | None = None,
        actor: str | None = None,
    ) -> Outcome:
        """Carry out one request."""
        request = self.request(*commands, request_id=request_id, expected_version=expected_version, actor=actor)
        return self.writer().submit([request])[0]


def sql_store(url: str) -> Store:
    engine = connect(url)
    migrations.migrate(engine)
    return Store(SqlEventLog(engine), SqlReader(engine), lambda: SqlRelayCursor(engine), url, engine)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        memory = MemoryStore()
        yield Store(memory, memory, lambda: memory)
        return
    url = f"sqlite:///{tmp_path}/beers.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    store = sql_store(url)
    yield store
    if store.engine is not None:
        store.engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/beers.db"
    given: str = request.getfixturevalue("postgres_url")
    return given


@pytest.fixture
def sql(url: str) -> Iterator[Store]:
    store = sql_store(url)
    assert store.engine is not None
    yield store
    store.engine.dispose()
