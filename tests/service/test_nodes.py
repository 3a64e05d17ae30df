"""A broker of several nodes, some of which are away."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import amqp
import pytest

from beers_cli.rabbitmq import RabbitMQNode
from beers_service.broker import BROKER_ERRORS, Broker, NoNode, refusal
from tests.processes import Process, Start
from tests.wire import Wire

NOBODY = "amqp://me:s3cret@127.0.0.1:1/"


@pytest.fixture
def silent() -> Iterator[str]:
    """A node that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"amqp://me:s3cret@127.0.0.1:{listener.getsockname()[1]}/"


def test_any_node_that_is_there_will_do(amqp_uri: str, silent: str) -> None:
    broker = Broker(f"{NOBODY};{silent};{amqp_uri};{NOBODY}", heartbeat=0, connect_timeout=0.2)
    for _ in range(5):
        broker.connect().close()


def test_the_node_that_was_lost_is_not_the_next_to_be_tried(amqp_uri: str, module_amqp_uri: str) -> None:
    broker = Broker(f"{amqp_uri};{module_amqp_uri}", heartbeat=0)
    connected = []
    for _ in range(4):
        connection = broker.connect()
        connected.append(connection.virtual_host)
        connection.close()
    assert len(set(connected)) == 2
    assert connected[0] != connected[1]
    assert connected[:2] == connected[2:]


def test_where_none_is_there_each_is_named_without_its_password() -> None:
    with pytest.raises(NoNode) as failed:
        Broker(f"{NOBODY};amqp://you:s3cret@127.0.0.1:2/", heartbeat=0).connect()
    assert "amqp://me:***@127.0.0.1:1/: " in str(failed.value)
    assert "amqp://you:***@127.0.0.1:2/: " in str(failed.value)
    assert isinstance(failed.value, BROKER_ERRORS)


def test_a_node_that_does_not_let_us_in_is_believed(amqp_uri: str) -> None:
    wrong = amqp_uri.replace("guest:guest", "guest:wrong")
    with pytest.raises(amqp.exceptions.AccessRefused) as refused:
        Broker(f"{wrong};{NOBODY}", heartbeat=0).connect()
    assert refusal(refused.value).startswith("the broker refuses: 403, ACCESS_REFUSED")
    assert refusal(ConnectionRefusedError()) == ""


def test_a_limit_of_connections_is_told_and_waited_for(
    start: Start, wire: Wire, fresh_amqp_uri: str, rabbitmq_node: RabbitMQNode
) -> None:
    virtual_host = urlsplit(fresh_amqp_uri).path[1:]
    rabbitmq_node.control("set_vhost_limits", "--vhost", virtual_host, '{"max-connections": 1}')  # which `wire` has
    service: Process = start(ready=False)
    service.await_line("broker connection lost", times=2)
    (reason,) = {line["error"] for line in service.lines() if line["event"] == "broker connection lost"}
    assert "connection limit" in reason
    rabbitmq_node.control("clear_vhost_limits", "--vhost", virtual_host)
    service.await_line("consuming")
    assert wire.answer(wire.send({"args": [], "kwargs": {}}))["error"] is None
    assert service.stop() == 0


def test_the_service_finds_the_node_that_is_there(start: Start, wire: Wire, fresh_amqp_uri: str) -> None:
    service: Process = start(amqp=f"{NOBODY};{fresh_amqp_uri}")
    assert wire.answer(wire.send({"args": [], "kwargs": {}}))["error"] is None
    assert service.stop() == 0
    assert "s3cret" not in service.text
