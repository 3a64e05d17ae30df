"""What becomes of the service while there is no broker, or a frozen one."""

import time
from typing import Any

import pytest
from nameko.standalone.rpc import ClusterRpcProxy

from beers_cli.rabbitmq import RabbitMQNode
from tests.processes import PATIENCE, Process, Start
from tests.wire import Wire


class TestWithTheBrokerAway:
    """Starting, stopping and waiting without a broker, and finding it again."""

    @pytest.fixture
    def broker(self, rabbitmq_node: RabbitMQNode) -> Any:
        yield rabbitmq_node
        rabbitmq_node.thaw()
        if not rabbitmq_node.answers():
            rabbitmq_node.start()

    def test_the_service_starts_and_stops_without_a_broker(self, start: Start) -> None:
        service = start(amqp="amqp://127.0.0.1:1/", ready=False)
        service.await_line("service started")
        service.await_line("broker connection lost", times=2)
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < 3

    def test_a_short_absence_of_the_broker_costs_little_more_than_itself(
        self, start: Start, broker: RabbitMQNode, fresh_amqp_uri: str
    ) -> None:
        service = start()
        broker.kill()
        service.await_line("broker connection lost", times=2)
        broker.start()
        back = time.monotonic()
        with ClusterRpcProxy({"AMQP_URI": fresh_amqp_uri}, timeout=PATIENCE) as cluster:
            assert cluster.beers.add("Punk")["id"] == 1
        assert time.monotonic() - back < 5
        assert service.alive()

    def test_events_wait_for_the_broker_and_arrive_in_order(
        self, start: Start, broker: RabbitMQNode, fresh_amqp_uri: str
    ) -> None:
        service = start()
        wire = Wire(fresh_amqp_uri)
        wire.channel.exchange_declare("beers.events", "topic", durable=True, auto_delete=False)
        wire.channel.queue_declare("all", durable=True, auto_delete=False)
        wire.channel.queue_bind("all", "beers.events", "#")
        answers = [wire.call("add", name="x") for _ in range(50)]
        for answer in answers:
            wire.answer(answer)
        wire.close()
        broker.kill()
        broker.start()
        service.await_line("consuming", times=2)
        wire = Wire(fresh_amqp_uri)
        wire.answer(wire.call("add", name="y"))
        positions: list[int] = []
        while not positions or positions[-1] < 51:
            positions.append(wire.get("all").properties["application_headers"]["ce-position"])
        assert list(dict.fromkeys(positions)) == list(range(1, 52))
        wire.close()

    def test_a_frozen_broker_holds_nobody(self, start: Start, broker: RabbitMQNode) -> None:
        service = start(HEARTBEAT="2")
        broker.freeze()
        service.await_line("broker connection lost")
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < 15

    def test_the_service_outlives_a_frozen_broker(
        self, start: Start, broker: RabbitMQNode, fresh_amqp_uri: str
    ) -> None:
        service: Process = start(HEARTBEAT="2")
        broker.freeze()
        service.await_line("broker connection lost")
        broker.thaw()
        service.await_line("consuming", times=2)
        with ClusterRpcProxy({"AMQP_URI": fresh_amqp_uri}, timeout=PATIENCE) as cluster:
            assert cluster.beers.add("Punk")["id"] == 1
