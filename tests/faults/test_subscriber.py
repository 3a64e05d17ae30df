"""A subscriber that fails at random and is killed again and again ends with what the catalogue has, each effect once.

BEERS_TEST_EVENTS and BEERS_TEST_KILLS make it larger.
"""

import json
import os
import random
import signal
import sqlite3
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import amqp
import pytest

from beers_cli.rabbitmq import RabbitMQNode
from tests.e2e.running import ROOT, Product, Running, until

EVENTS = int(os.environ.get("BEERS_TEST_EVENTS", "1000"))
KILLS = int(os.environ.get("BEERS_TEST_KILLS", "3"))
BATCH = 50
PATIENCE = 60 + EVENTS / 20


class Catalogue:
    """The service in a process of its own, and RPC calls to it."""

    def __init__(self, folder: Path, uri: str, port: int) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "AMQP_URI": uri,
            "DATABASE_URL": f"sqlite:///{folder}/beers.db",
            "TAPLIST_DATABASE_URL": f"sqlite:///{folder}/taps.db",
            "SHAKY_DATABASE_URL": f"sqlite:///{folder}/any.db",
            "PYTHONPATH": str(ROOT),
            "BEERS_CONFIG": str(ROOT / "config.yaml"),
            "LOG_FORMAT": "json",
        }
        self.service = self.run()
        self.service.wait_for('"event":"consuming"')
        self.subscriber: Running | None = None
        self._connection = amqp.Connection(f"127.0.0.1:{port}", virtual_host=uri.rpartition("/")[2])
        self._connection.connect()
        self._channel = self._connection.channel()
        self._queue = self._channel.queue_declare(exclusive=True).queue
        self._channel.queue_bind(self._queue, "nameko-rpc", self._queue)

    def run(self, *arguments: str) -> Running:
        return Running([sys.executable, "-m", "beers_service", *arguments], self.environment, self.folder)

    def follow(self) -> Running:
        self.subscriber = self.run("--service", "tests.faults.shaky:Shaky")
        return self.subscriber

    def execute(self, calls: list[dict[str, Any]]) -> None:
        message = amqp.Message(
            json.dumps({"args": [], "kwargs": {"calls": calls}}),
            content_type="application/json",
            reply_to=self._queue,
            correlation_id=uuid.uuid4().hex,
        )
        self._channel.basic_publish(message, "nameko-rpc", "beers.execute")
        answer = until(lambda: self._channel.basic_get(self._queue, no_ack=True), "the service answers")
        assert json.loads(answer.body)["error"] is None

    def select(self, database: str, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.folder / database, timeout=10)) as connection:
            try:
                return connection.execute(query).fetchall()
            except sqlite3.OperationalError:
                return []  # the table is not there yet

    def head(self) -> int:
        return int(self.select("beers.db", "SELECT position FROM log_head")[0][0])

    def counted(self) -> int:
        counted = self.select("any.db", "SELECT count(*) FROM effects")
        return int(counted[0][0]) if counted else 0

    def has_counted(self, more_than: float) -> bool:
        return self.counted() > more_than

    def has_all(self, database: str, head: int) -> bool:
        """Tell whether the inbox has come to *head*, and keeps nothing else."""
        marks = self.select(database, "SELECT mark FROM beers_inbox_consumers")
        return marks == [(head,)] and self.select(database, "SELECT * FROM beers_inbox_events") == []

    def close(self) -> None:
        self._connection.close()
        for running in (self.subscriber, self.service):
            if running is not None:
                running.stop()


@pytest.fixture
def catalogue(tmp_path: Path, fresh_amqp_uri: str, rabbitmq_node: RabbitMQNode) -> Iterator[Catalogue]:
    catalogue = Catalogue(tmp_path, fresh_amqp_uri, rabbitmq_node.port)
    yield catalogue
    catalogue.close()


def commands(dice: random.Random, beers: int) -> list[dict[str, Any]]:
    """Return calls as they come in life: about as many events, on *beers* and on new ones."""
    calls: list[dict[str, Any]] = []
    for number in range(BATCH):
        beer_id = dice.randint(1, max(beers, 1))
        method, arguments = dice.choice(
            [
                ("add", {"name": f"beer {number}", "brewery": "x", "abv": 5.5}),
                ("add", {"name": f"ale {number}", "style": "Ale"}),
                ("rename", {"beer_id": beer_id, "name": f"name {dice.random()}"}),
                ("update", {"beer_id": beer_id, "abv": round(dice.random() * 10, 2)}),
                ("remove", {"beer_id": beer_id}),
                ("restore", {"beer_id": beer_id}),
            ]
        )
        calls.append({"method": method, "kwargs": arguments})
    return calls


@pytest.mark.timeout(300 + EVENTS / 5)
def test_each_event_has_its_effect_once_though_the_handler_fails_and_the_process_is_killed(
    catalogue: Catalogue, capsys: pytest.CaptureFixture[str]
) -> None:
    dice = random.Random(20261124)  # noqa: S311 - any number will do
    began = time.monotonic()
    subscriber = catalogue.follow()
    for kill in range(KILLS + 1):
        while catalogue.head() < EVENTS * (kill + 1) / (KILLS + 1):
            beers = catalogue.select("beers.db", "SELECT max(id) FROM beers")[0][0] or 0
            catalogue.execute(commands(dice, beers))
        if kill < KILLS:
            # In the middle of it: some events of this round have had their effects, and some have not.
            before = catalogue.counted()
            share = (catalogue.head() - before) * dice.uniform(0.2, 0.8)
            until(partial(catalogue.has_counted, before + share), "events are handled", PATIENCE)
            subscriber.stop(signal.SIGKILL)
            subscriber = catalogue.follow()
    head = catalogue.head()
    for database in ("taps.db", "any.db"):
        until(partial(catalogue.has_all, database, head), f"{database} is complete", PATIENCE)
    counted = catalogue.select("any.db", "SELECT position FROM effects")
    assert sorted(position for (position,) in counted) == list(range(1, head + 1))
    # A change of every column, and their number: an effect that came twice or too early would show.
    columns = "id, name, brewery, style, abv"
    expected = catalogue.select("beers.db", f"SELECT {columns}, removed_at IS NULL, version FROM beers ORDER BY id")  # noqa: S608
    assert catalogue.select("taps.db", f"SELECT {columns}, on_tap, changes FROM taps ORDER BY id") == expected  # noqa: S608
    failures = sum('"event failed"' in line for line in subscriber.lines)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{head} events, {KILLS} kills, {failures} failures since the last kill, "
            f"{time.monotonic() - began:.1f} s: each effect once\n"
        )
    assert failures or EVENTS < 100


def test_the_tap_list_of_the_examples_runs_beside_the_product(tmp_path: Path, fresh_amqp_uri: str) -> None:
    product = Product(tmp_path, AMQP_URI=fresh_amqp_uri, TAPLIST_DATABASE_URL=f"sqlite:///{tmp_path}/taps.db")
    product.start("--with", "examples.taplist:TapList")
    try:
        product.beers("add", "Punk IPA", "--abv", "5.6")
        product.running.wait_for("subscriber born")
        database = tmp_path / "taps.db"

        def taps() -> list[Any]:
            with closing(sqlite3.connect(database, timeout=10)) as connection:
                return connection.execute("SELECT name, abv, on_tap FROM taps").fetchall()

        until(lambda: taps() == [("Punk IPA", 5.6, 1)], "the beer is on tap")
        product.kill("taplist")
        product.beers("remove", "1")
        until(lambda: taps() == [("Punk IPA", 5.6, 0)], "the beer is not on tap any more")
    finally:
        assert product.stop() == 0
