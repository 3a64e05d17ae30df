"""A messy file is imported while parts are killed, and a stock Nameko service hears of every beer."""

import csv
import json
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import amqp
import pytest

from beers_cli.rabbitmq import RabbitMQNode
from tests.e2e.running import Product, Running, until
from tests.published import require_valid

ROWS = 6000

LISTENER = """
    import json, os
    from nameko.events import event_handler

    class Listener:
        name = "listener"

        @event_handler("beers", "BeerAdded")
        def on_added(self, event):
            with open(os.environ["HEARD"], "a") as file:
                file.write(json.dumps(event) + "\\n")
"""


@pytest.fixture
def product(tmp_path: Path, fresh_amqp_uri: str) -> Iterator[Product]:
    product = Product(tmp_path, AMQP_URI=fresh_amqp_uri)
    product.start()
    try:
        yield product
    finally:
        product.stop()


@pytest.fixture
def heard(tmp_path: Path, fresh_amqp_uri: str, rabbitmq_node: RabbitMQNode) -> Iterator[Path]:
    """A file with a line for each event that a stock Nameko service, in a process of its own, was told of."""
    (tmp_path / "listener.py").write_text(textwrap.dedent(LISTENER))
    path = tmp_path / "heard"
    path.touch()
    listener = Running(
        [str(Path(sys.executable).with_name("nameko")), "run", "--broker", fresh_amqp_uri, "listener"],
        os.environ | {"PYTHONPATH": str(tmp_path), "HEARD": str(path)},
        tmp_path,
    )
    host = fresh_amqp_uri.rpartition("/")[2]

    def listens() -> bool:
        try:
            with amqp.Connection(f"127.0.0.1:{rabbitmq_node.port}", virtual_host=host) as connection:
                queue = connection.channel().queue_declare("evt-beers-BeerAdded--listener.on_added", passive=True)
                return bool(queue.consumer_count)
        except amqp.exceptions.NotFound:
            return False

    try:
        until(listens, "the listener listens")
        yield path
    finally:
        listener.stop()


def stored(product: Product, number: int) -> bool:
    """Tell whether the store holds more than *number* events."""
    with closing(sqlite3.connect(f"file:{product.data}/beers.db?mode=ro", uri=True, timeout=10)) as store:
        (position,) = store.execute("SELECT position FROM log_head").fetchone()
    return bool(position > number)


def events(heard: Path) -> list[dict[str, Any]]:
    """Return the events that were heard of, in that order."""
    return [json.loads(line) for line in heard.read_text().splitlines(keepends=True) if line.endswith("\n")]


def positions(heard: Path) -> list[int]:
    """Return the positions of the events that were heard of, in that order."""
    return [event["position"] for event in events(heard)]


def messy_file(path: Path) -> tuple[int, int]:
    """Write a file such as people have; return how many of its rows are beers, and how many are not."""
    dice = random.Random(7)  # noqa: S311 - the same mess every time
    good = bad = 0
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        rows = csv.writer(file)
        rows.writerow(["Name", "Origin", "ABV", "ibu", "brewery", "description"])
        for number in range(ROWS):
            name, abv, ibu = (
                f"Bière n° {number % 2500}",
                dice.choice(["", "0", "5.6", "4.5%"]),
                dice.choice(["0", "40"]),
            )
            wrong = number % 97 == 0
            if wrong:
                name, abv = dice.choice([("", "5"), ("x" * 201, "5"), ("Strong", "strong"), ("Stronger", "100.01")])
            good, bad = good + (not wrong), bad + wrong
            rows.writerow([name, "Köln", abv, ibu, 'Brewery, "Sons"', dice.choice(["", "one\ntwo", "caf\u0065\u0301"])])
    return good, bad


def test_each_row_becomes_one_beer_and_one_event_though_service_and_bridge_are_killed(
    product: Product, heard: Path, tmp_path: Path
) -> None:
    good, bad = messy_file(tmp_path / "messy.csv")
    content = (tmp_path / "messy.csv").read_bytes()
    with subprocess.Popen(
        [sys.executable, "-m", "beers_cli", "import", "-", "--json"],
        env=product.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as importing:
        assert importing.stdin is not None
        # Fast as it is, it cannot be over before the last part of the file is there, which comes after the kills.
        most = int(0.95 * len(content))
        feeding = threading.Thread(target=importing.stdin.write, args=[content[:most]])
        feeding.start()
        for number, part in ((0, "service"), (1000, "bridge"), (2000, "service")):
            until(partial(stored, product, number), "the import goes on")
            assert importing.poll() is None
            product.kill(part)
        feeding.join(60)
        importing.stdin.write(content[most:])
        out, err = importing.communicate(timeout=100)
    summary = json.loads(out)
    # What was added by a call that was killed before it could answer is there already when it is sent again.
    assert summary["added"] + summary["already_there"] == good, err
    assert summary["added"] < good, "nothing was killed in the middle of a call"
    assert (summary["read"], summary["refused"]) == (ROWS, bad)
    assert len(summary["refusals"]) == bad
    again = product.json("import", str(tmp_path / "messy.csv"), status=1)
    assert (again["added"], again["already_there"], again["refused"]) == (0, good, bad)
    store = sqlite3.connect(product.data / "beers.db")
    added = store.execute("SELECT position FROM events WHERE type = 'BeerAdded' ORDER BY position").fetchall()
    beers = store.execute("SELECT count(*) FROM beers").fetchone()
    store.close()
    assert [position for (position,) in added] == list(range(1, good + 1))
    assert beers == (good,)
    until(lambda: good in positions(heard), "the listener heard of all")
    for event in events(heard):
        require_valid(event)
    told = positions(heard)
    # At least once, and in the order of the log: a repeat goes back, but nothing is ever skipped.
    furthest = 0
    for position in told:
        assert position <= furthest + 1
        furthest = max(furthest, position)
    assert furthest == good
    assert "nothing is wrong" in product.beers(
        "admin", "verify", "--database-url", f"sqlite:///{product.data}/beers.db"
    )
