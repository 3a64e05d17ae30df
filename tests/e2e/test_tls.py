"""Everything over TLS: from the command line to the bridge, and from there through RabbitMQ to the service."""

import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from beers_cli.failure import Failure
from beers_cli.processes import free_port
from beers_cli.rabbitmq import RabbitMQNode
from beers_cli.up import check_broker
from beers_service.broker import Broker
from tests.certificates import Authority
from tests.e2e.running import ROOT, Running


@pytest.fixture(scope="module")
def broker_port(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port at which a RabbitMQ of its own speaks TLS."""
    certificate, key = authority.issue("rabbitmq")
    port = free_port()
    node = RabbitMQNode(
        tmp_path_factory.mktemp("rabbitmq"),
        more=[
            f"listeners.ssl.1 = 127.0.0.1:{port}",
            f"ssl_options.cacertfile = {authority.file}",
            f"ssl_options.certfile = {certificate}",
            f"ssl_options.keyfile = {key}",
        ],
    )
    try:
        node.start()
        yield port
    finally:
        node.stop()


def test_a_beer_gets_from_the_command_line_to_the_store_without_a_byte_in_the_clear(
    broker_port: int, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.issue("bridge")
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BEERS_")} | {
        "AMQP_URI": f"amqps://guest:guest@127.0.0.1:{broker_port}/?cafile={authority.file}",
        "DATABASE_URL": f"sqlite:///{tmp_path}/beers.db",
        "PORT": str(port),
        "TLS_CERTIFICATE": str(certificate),
        "TLS_KEY": str(key),
        "LOG_FORMAT": "json",
        "BEERS_CONFIG": str(ROOT / "config.yaml"),
        "BEERS_ADDRESS": f"127.0.0.1:{port}",
        "BEERS_TLS_CA": str(authority.file),
        "PYTHONPATH": str(ROOT),
    }
    parts = [
        Running([sys.executable, "-m", module], environment, tmp_path) for module in ("beers_service", "grpc_bridge")
    ]
    try:
        for arguments in (["health", "--wait", "30"], ["add", "Jever"], ["watch", "--from", "0", "--until-caught-up"]):
            command = Running([sys.executable, "-m", "beers_cli", *arguments], environment, tmp_path)
            assert command.process.wait(40) == 0, command.lines
            command.stop()
        assert any("Jever" in line for line in command.lines)
    finally:
        ended = [part.stop() for part in parts]
    assert ended == [0, 0]


def test_the_look_at_the_broker_before_everything_is_started_trusts_the_same_authority(
    broker_port: int, authority: Authority, stranger: Authority
) -> None:
    uri = f"amqps://guest:guest@127.0.0.1:{broker_port}/?cafile="
    check_broker(f"{uri}{authority.file}")
    with pytest.raises(Failure, match=r"does not answer.*certificate verify failed"):
        check_broker(f"{uri}{stranger.file}")


def test_the_service_talks_to_no_broker_but_the_one_it_was_told_to_trust(
    broker_port: int, authority: Authority, stranger: Authority
) -> None:
    def connect(host: str, query: str) -> None:
        connection = Broker(f"amqps://guest:guest@{host}:{broker_port}/{query}", heartbeat=0).connect()
        connection.close()

    connect("127.0.0.1", f"?cafile={authority.file}")
    for host, query, words in (
        ("127.0.0.1", "", "self-signed|unable to get"),
        ("127.0.0.1", f"?cafile={stranger.file}", "certificate verify failed"),
        ("localhost", f"?cafile={authority.file}", "Hostname mismatch"),
    ):
        with pytest.raises(ssl.SSLCertVerificationError, match=words):
            connect(host, query)
