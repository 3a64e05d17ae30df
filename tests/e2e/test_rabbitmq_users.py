"""The product with a user of RabbitMQ each for service, bridge and subscriber: it works, and none may do more."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import amqp
import pytest

from beers_cli import processes
from beers_cli.rabbitmq import RabbitMQNode
from tests.e2e.running import ROOT, Running, until

QUEUE = "evt-beers--granted.on_beer"
OTHERS = "evt-beers--other.on_beer"
SERVICE, BRIDGE, SUBSCRIBER = "beers-service", "beers-bridge", "beers-granted"
SECRET = "pass word; with @ all/sorts"
SECRET_IN_URI = "pass%20word%3B%20with%20%40%20all%2Fsorts"


@dataclass(frozen=True)
class Ground:
    """A virtual host with the users, and the product on it."""

    uri: str
    folder: Path
    environment: dict[str, str]

    def uri_of(self, user: str, password: str = SECRET_IN_URI) -> str:
        return self.uri.replace("guest:guest@", f"{user}:{password}@")

    def run(self, *arguments: str, **more: str) -> Running:
        return Running([sys.executable, "-m", *arguments], self.environment | more, self.folder)

    def beers(self, *arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "beers_cli", *arguments, "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def connect(self, user: str, password: str = SECRET) -> amqp.Connection:
        parts = urlsplit(self.uri)
        connection = amqp.Connection(
            host=f"{parts.hostname}:{parts.port}", userid=user, password=password, virtual_host=parts.path[1:]
        )
        connection.connect()
        return connection


@pytest.fixture(scope="module")
def ground(
    module_amqp_uri: str, rabbitmq_node: RabbitMQNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("users")
    port = processes.free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BEERS_")} | {
        "DATABASE_URL": f"sqlite:///{folder}/beers.db",
        "GRANTED_DATABASE_URL": f"sqlite:///{folder}/granted.db",
        "PORT": str(port),
        "LOG_FORMAT": "json",
        "BEERS_CONFIG": str(ROOT / "config.yaml"),
        "BEERS_ADDRESS": f"127.0.0.1:{port}",
        "PYTHONPATH": str(ROOT),
    }
    ground = Ground(module_amqp_uri, folder, environment)
    passwords = folder / "passwords"
    passwords.mkdir()
    for user in (SERVICE, BRIDGE, SUBSCRIBER):
        (passwords / user).write_text(f"{SECRET}\n")
    virtual_host = urlsplit(module_amqp_uri).path[1:]
    definitions = ground.run(
        *("beers_cli", "admin", "rabbitmq-permissions", "--subscriber", "granted", "--virtual-host", virtual_host),
        *("--format", "definitions", "--passwords", str(passwords)),
    )
    assert definitions.process.wait(20) == 0
    definitions.stop()
    assert SECRET not in "".join(definitions.lines)
    file = folder / "definitions.json"
    file.write_text("\n".join(definitions.lines))
    rabbitmq_node.control("import_definitions", str(file))
    parts = [
        ground.run("beers_service", AMQP_URI=ground.uri_of(SERVICE)),
        ground.run("grpc_bridge", AMQP_URI=ground.uri_of(BRIDGE)),
        ground.run("beers_service", "--service", "tests.e2e.granted:Granted", AMQP_URI=ground.uri_of(SUBSCRIBER)),
    ]
    try:
        parts[2].wait_for("consuming")
        ground.beers("health", "--wait", "30")
        yield ground
    finally:
        ended = [part.stop() for part in parts]
        assert ended == [0, 0, 0], [part.lines[-3:] for part in parts]
        assert not any("ACCESS_REFUSED" in line for part in parts for line in part.lines)


def test_the_whole_product_runs_with_them(ground: Ground) -> None:
    ground.beers("add", "good")
    ground.beers("add", "bad")

    until((ground.folder / "granted.db").exists, "the subscriber has its database")
    dead_letters = ("admin", "dead-letters", "list", "--queue", f"{QUEUE}.dead-letters", "--amqp-uri", ground.uri)
    until(lambda: ground.beers(*dead_letters), "what always fails is a dead letter, behind a retry")
    with sqlite3.connect(ground.folder / "granted.db") as database:
        assert list(database.execute("SELECT name FROM names")) == [("good",)]
    watching = ground.run("beers_cli", "watch", "--from", "0", "--until-caught-up")
    assert watching.process.wait(30) == 0
    watching.stop()
    assert any("good" in line for line in watching.lines)


def test_what_the_subscriber_has_missed_it_may_ask_for(ground: Ground) -> None:
    connection = ground.connect("guest", "guest")
    channel = connection.channel()
    channel.queue_unbind(QUEUE, "beers.events", "#")
    try:
        ground.beers("add", "missed")
    finally:
        channel.queue_bind(QUEUE, "beers.events", "#")
    connection.close()
    ground.beers("add", "seen")

    def names() -> set[str]:
        with sqlite3.connect(ground.folder / "granted.db") as database:
            return {name for (name,) in database.execute("SELECT name FROM names")}

    until(lambda: {"missed", "seen"} <= names(), "the gap is filled by RPC")


Attempt = Callable[[amqp.Channel], object]


def publish(exchange: str, key: str) -> Attempt:
    def attempt(channel: amqp.Channel) -> None:
        channel.basic_publish(amqp.Message(b"", expiration="1"), exchange, key)
        channel.basic_qos(0, 1, False)  # noqa: FBT003 - amqp's own order; the answer tells that nothing was wrong

    return attempt


def consume(queue: str) -> Attempt:
    return lambda channel: channel.basic_get(queue)


def delete(queue: str) -> Attempt:
    return lambda channel: channel.queue_delete(queue, if_unused=True, if_empty=True)


def purge(queue: str) -> Attempt:
    return lambda channel: channel.queue_purge(queue)


def unmake(exchange: str) -> Attempt:
    return lambda channel: channel.exchange_delete(exchange, if_unused=True)


def make(queue: str) -> Attempt:
    return lambda channel: channel.queue_declare(queue, exclusive=True)


def overhear(queue: str, exchange: str, key: str) -> Attempt:
    def attempt(channel: amqp.Channel) -> None:
        channel.queue_declare(queue, exclusive=True)
        channel.queue_bind(queue, exchange, key)

    return attempt


OWN = {BRIDGE: "beers-bridge-feed-x", SUBSCRIBER: "evt-beers--granted.x"}


@pytest.mark.parametrize(
    ("user", "attempt"),
    [
        pytest.param(user, attempt, id=f"{user} may not {what}")
        for user, attempts in {
            SERVICE: {
                "read what a subscriber gets": consume(QUEUE),
                "delete a subscriber's queue": delete(QUEUE),
                "read its dead letters": consume("beers.dead-letters"),
                "make another queue": make("rpc-other"),
                "follow the events": lambda channel: channel.queue_bind("rpc-beers", "beers.events", "#"),
                "make a bridge's reply queue": make("rpc.reply-beers-bridge-x"),
            },
            BRIDGE: {
                "tell of an event": publish("beers.events", "BeerAdded"),
                "call a method that it need not call": publish("nameko-rpc", "beers.add"),
                "write into a queue past the exchanges": publish("", "rpc-beers"),
                "take calls": consume("rpc-beers"),
                "delete the queue of the calls": delete("rpc-beers"),
                "empty the queue of the calls": purge("rpc-beers"),
                "read dead letters": consume("beers.dead-letters"),
                "delete the exchange of the events": unmake("beers.events"),
                "delete the exchange of the calls": unmake("nameko-rpc"),
                "overhear calls": overhear(OWN[BRIDGE], "nameko-rpc", "beers.*"),
                "overhear everything": overhear(OWN[BRIDGE], "nameko-rpc", "#"),
                "read what a subscriber gets": consume(QUEUE),
                "make another queue": make("rpc-other"),
            },
            SUBSCRIBER: {
                "tell of an event": publish("beers.events", "BeerAdded"),
                "write to the catalogue": publish("nameko-rpc", "beers.add"),
                "write many things to the catalogue": publish("nameko-rpc", "beers.execute"),
                "write into a queue past the exchanges": publish("", "rpc-beers"),
                "write into another subscriber's queue": publish("", OTHERS),
                "take calls": consume("rpc-beers"),
                "delete the queue of the calls": delete("rpc-beers"),
                "read the service's dead letters": consume("beers.dead-letters"),
                "delete the exchange of the events": unmake("beers.events"),
                "overhear calls": overhear(OWN[SUBSCRIBER], "nameko-rpc", "beers.*"),
                "overhear everything": overhear(OWN[SUBSCRIBER], "nameko-rpc", "#"),
                "read what another subscriber gets": consume(OTHERS),
                "delete another subscriber's queue": delete(OTHERS),
                "make another subscriber's queue": make(f"{OTHERS}.x"),
                "make a bridge's reply queue": make("rpc.reply-beers-bridge-x"),
            },
        }.items()
        for what, attempt in attempts.items()
    ],
)
def test_none_of_them_may_do_more(ground: Ground, user: str, attempt: Attempt) -> None:
    owner = ground.connect("guest", "guest")
    owner.channel().queue_declare(OTHERS, durable=True, auto_delete=False)
    owner.close()
    connection = ground.connect(user)
    try:
        with pytest.raises(amqp.exceptions.AccessRefused):
            attempt(connection.channel())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("user", "attempt"),
    [
        (SERVICE, publish("beers.events", "Nothing")),
        (SERVICE, publish("nameko-rpc", "an-answer")),
        (BRIDGE, publish("nameko-rpc", "beers.execute")),
        (BRIDGE, overhear(OWN[BRIDGE], "nameko-rpc", "0123abc-1")),
        (BRIDGE, overhear(OWN[BRIDGE], "beers.events", "#")),
        (SUBSCRIBER, publish("nameko-rpc", "beers.events")),
        (SUBSCRIBER, publish("nameko-rpc", "beers.ping")),
        (SUBSCRIBER, overhear(OWN[SUBSCRIBER], "beers.events", "#")),
        (SUBSCRIBER, publish(QUEUE, "nowhere")),
        (SUBSCRIBER, consume(f"{QUEUE}.dead-letters")),
    ],
)
def test_each_of_them_may_do_what_it_does(ground: Ground, user: str, attempt: Attempt) -> None:
    connection = ground.connect(user)
    attempt(connection.channel())
    connection.close()


@pytest.mark.parametrize(
    ("arguments", "user", "lacks"),
    [
        (("beers_service",), BRIDGE, "exchange 'nameko-rpc'"),
        (("grpc_bridge",), SUBSCRIBER, "queue 'rpc.reply-beers-bridge-"),
        (("beers_service", "--service", "tests.e2e.granted:Granted"), BRIDGE, f"exchange '{QUEUE}'"),
    ],
    ids=["the service", "the bridge", "the subscriber"],
)
def test_who_lacks_a_right_stops_with_one_line_that_names_it(
    ground: Ground, tmp_path: Path, arguments: tuple[str, ...], user: str, lacks: str
) -> None:
    own = {"PORT": str(processes.free_port()), "GRANTED_DATABASE_URL": f"sqlite:///{tmp_path}/granted.db"}
    require_refused(ground.run(*arguments, **own, AMQP_URI=ground.uri_of(user)), lacks)


@pytest.mark.parametrize("module", ["beers_service", "grpc_bridge"])
def test_who_has_the_wrong_password_or_no_virtual_host_stops_with_one_line(ground: Ground, module: str) -> None:
    own = {"PORT": str(processes.free_port())}
    require_refused(ground.run(module, **own, AMQP_URI=ground.uri_of(SERVICE, "wr0ng")), "Login was refused")
    elsewhere = ground.uri_of(SERVICE).rpartition("/")[0] + "/"
    require_refused(ground.run(module, **own, AMQP_URI=elsewhere), "access to vhost '/' refused")


def require_refused(process: Running, words: str) -> None:
    """Wait for the end of *process*, which is to stop with one line."""
    try:
        status = process.process.wait(30)
    finally:
        process.stop()
    assert status == 78, process.lines
    told = [line for line in process.lines if not line.startswith("{")]
    assert len(told) == 1, process.lines
    assert words in told[0]
    assert "AMQP_URI" in told[0]
    assert SECRET_IN_URI not in told[0]
    assert "wr0ng" not in told[0]
