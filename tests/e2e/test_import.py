"""A messy file is imported while the service is killed, and a stock Nameko service hears of every beer."""

import csv
import json
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import amqp
import pytest

from beers_cli.rabbitmq import RabbitMQNode
from tests.e2e.running import Product, Running, until
from tests.published import require_valid

ROWS = 3000

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


def heard_of(heard: Path, number: int) -> bool:
    """Tell whether more than *number* beers were heard of."""
    return len(heard.read_text().splitlines()) > number


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


def test_each_row_becomes_one_beer_and_one_event_though_the_service_is_killed(
    product: Product, heard: Path, tmp_path: Path
) -> None:
    good, bad = messy_file(tmp_path / "messy.csv")
    with subprocess.Popen(
        [sys.executable, "-m", "beers_cli", "import", str(tmp_path / "messy.csv"), "--json"],
        env=product.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as importing:
        for share in (0.2, 0.6):
            until(partial(heard_of, heard, int(share * good)), "the import goes on")
            assert importing.poll() is None
            product.kill("service")
        out, err = importing.communicate(timeout=100)
    summary = json.loads(out)
    assert (summary["read"], summary["added"], summary["refused"]) == (ROWS, good, bad), err
    assert len(summary["refusals"]) == bad
    again = product.json("import", str(tmp_path / "messy.csv"), status=1)
    assert (again["added"], again["already_there"], again["refused"]) == (0, good, bad)
    store = sqlite3.connect(product.data / "beers.db")
    added = store.execute("SELECT position FROM events WHERE type = 'BeerAdded' ORDER BY position").fetchall()
    beers = store.execute("SELECT count(*) FROM beers").fetchone()
    store.close()
    assert [position for (position,) in added] == list(range(1, good + 1))
    assert beers == (good,)
    until(lambda: len(heard.read_text().splitlines()) >= good, "the listener heard of all")
    events = [json.loads(line) for line in heard.read_text().splitlines()]
    for event in events:
        require_valid(event)
    told = [event["position"] for event in events]
    # At least once, and in the order of the log: a repeat goes back, but nothing is ever skipped.
    furthest = 0
    for position in told:
        assert position <= furthest + 1
        furthest = max(furthest, position)
    assert furthest == good
    assert "nothing is wrong" in product.beers(
        "admin", "verify", "--database-url", f"sqlite:///{product.data}/beers.db"
    )
