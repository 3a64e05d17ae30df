"""Watchers, each from a place of its own, while commands run and parts are killed: every event once, in order.

BEERS_TEST_COMMANDS in the environment says how many commands; 10,000 take a minute.
"""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.running import ROOT, Product, until

COMMANDS = int(os.environ.get("BEERS_TEST_COMMANDS", "2000"))
WATCHERS = 20
KILLED = ("bridge", "rabbitmq", "bridge", "bridge")


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    product = Product(tmp_path)
    product.start()
    try:
        yield product
    finally:
        product.stop()


def head(product: Product) -> int:
    with closing(sqlite3.connect(product.data / "beers.db", timeout=10)) as store:
        return int(store.execute("SELECT position FROM log_head").fetchone()[0])


@contextmanager
def client(product: Product, action: str, *arguments: object) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-m", "tests.faults.clients", action, product.environment["BEERS_ADDRESS"]]
    with subprocess.Popen(
        [*command, *map(str, arguments)], env=product.environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.timeout(500)
def test_each_watcher_sees_every_event_once_and_in_order_though_bridge_and_broker_are_killed(product: Product) -> None:
    already = COMMANDS // 10
    with client(product, "command", "--number", already, "--label", "before") as commanding:
        commanding.communicate(timeout=100)
    assert head(product) == already
    total = already + COMMANDS
    starts = [already * number // (WATCHERS - 1) for number in range(WATCHERS)]
    with (
        client(product, "watch", "--until", total, "--after", *starts) as watching,
        client(product, "command", "--number", COMMANDS, "--label", "now") as commanding,
    ):
        for share, part in zip((0.2, 0.4, 0.6, 0.8), KILLED, strict=True):
            until(partial(_reached, product, already + int(share * COMMANDS)), f"the log grows before {part} is killed")
            product.kill(part)
        answered, _ = commanding.communicate(timeout=300)
        seen, _ = watching.communicate(timeout=300)
    assert json.loads(answered)["commands"] == COMMANDS
    assert head(product) == total
    watchers = json.loads(seen)
    assert [(one["after"], one["events"]) for one in watchers] == [(start, total - start) for start in starts]
    assert [one["out_of_order"] for one in watchers] == [[]] * WATCHERS
    assert all(len(one["ended_with"]) >= KILLED.count("bridge") for one in watchers)


def _reached(product: Product, position: int) -> bool:
    return head(product) >= position
