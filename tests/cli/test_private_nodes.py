"""The private RabbitMQ and PostgreSQL: they keep what they were told, and leave nothing behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import amqp
import pytest

from beers_cli import processes
from beers_cli.rabbitmq import RabbitMQError, RabbitMQNode
from tests.nodes import processes_with, wait_for_none_with


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RabbitMQNode]:
    node = RabbitMQNode(tmp_path / "rabbitmq")
    yield node
    node.stop()


def connect(node: RabbitMQNode) -> amqp.Connection:
    connection = amqp.Connection(f"127.0.0.1:{node.port}", confirm_publish=True)
    connection.connect()
    return connection


def test_a_killed_node_comes_back_on_its_port_with_its_messages_and_leaves_no_process(node: RabbitMQNode) -> None:
    node.start()
    uri = node.uri
    with connect(node) as connection:
        channel = connection.channel()
        channel.queue_declare("kept", durable=True, auto_delete=False)
        channel.basic_publish(amqp.Message(b"still here", delivery_mode=2), routing_key="kept")
    node.kill()
    assert not node.answers()
    node.start()
    assert node.uri == uri
    with connect(node) as connection:
        message = connection.channel().basic_get("kept", no_ack=True)
    assert message is not None
    assert message.body in (b"still here", "still here")
    assert len(processes_with(str(node.folder))) > 2
    node.stop()
    assert wait_for_none_with(str(node.folder)) == {}


def test_another_node_on_the_port_is_not_taken_for_this_one(tmp_path: Path, rabbitmq_node: RabbitMQNode) -> None:
    """Two that start at the same moment find the same port free; who loses must not talk to who wins."""
    late = RabbitMQNode(tmp_path / "rabbitmq")
    late.prepare()
    late._ports["amqp"] = rabbitmq_node.port
    assert rabbitmq_node.answers()
    assert not late.answers()


def test_a_node_that_loses_its_port_while_starting_takes_another(
    node: RabbitMQNode, rabbitmq_node: RabbitMQNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = iter([True])
    really = processes.is_free
    monkeypatch.setattr(
        processes, "is_free", lambda port: next(blind, really(port)) if port == rabbitmq_node.port else really(port)
    )
    late = RabbitMQNode(node.folder, port=rabbitmq_node.port)
    try:
        late.start()
        assert late.port != rabbitmq_node.port
        assert late.answers()
    finally:
        late.stop()


def test_a_node_whose_port_was_taken_for_a_moment_only_begins_again(
    node: RabbitMQNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.prepare()
    ports = json.loads((node.folder / "ports.json").read_text())
    really, looks = processes.is_free, dict.fromkeys(ports.values(), 0)
    with contextlib.ExitStack() as taken:
        for name in ("amqp", "distribution"):
            holder = taken.enter_context(socket.socket())
            holder.bind(("127.0.0.1", ports[name]))
            holder.listen()

        def is_free(port: int) -> bool:
            looks[port] = looks.get(port, 0) + 1
            if looks[port] > 1:
                taken.close()
            return port in ports.values() or really(port)

        monkeypatch.setattr(processes, "is_free", is_free)
        node.start()
    assert node.answers()
    assert node.port == ports["amqp"]


def test_a_node_that_a_killed_run_left_behind_is_stopped_by_the_next_one(node: RabbitMQNode) -> None:
    """The kernel's own guard is taken away: what is left then is found by its trace."""
    program = (
        "import sys, pathlib, beers_cli.processes as p, beers_cli.rabbitmq as r\n"
        "p._KILLED_BY_THE_KERNEL = False\n"
        "n = r.RabbitMQNode(pathlib.Path(sys.argv[1])); n.start(); print(n.pid, flush=True); sys.stdin.read()\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program, str(node.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert run.stdin is not None
    assert run.stdout is not None
    with run.stdin, run.stdout:
        left_over = int(run.stdout.readline())
        run.kill()
        run.wait()
        assert processes.Trace.of(left_over).started
        node.start()
        assert processes.Trace.of(left_over).started == ""
        assert node.answers()


def test_a_node_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, beers_cli.rabbitmq as r\n"
        "n = r.RabbitMQNode(pathlib.Path(sys.argv[1])); n.begin(); print('up', flush=True); sys.stdin.read()\n"
    )
    folder = tmp_path / "rabbitmq"
    run = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert run.stdin is not None
    assert run.stdout is not None
    with run.stdin, run.stdout:
        assert run.stdout.readline() == "up\n"
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    assert wait_for_none_with(str(folder)) == {}


def test_without_rabbitmq_the_message_holds_the_commands_that_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("beers_cli.rabbitmq._PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RabbitMQError, match=r"(?s)apt-get install.*brew install.*docker run.*AMQP_URI"):
        RabbitMQNode(tmp_path / "node").start()


def test_each_test_gets_a_fresh_postgresql_database_that_syncs(postgres_url: str) -> None:
    from sqlalchemy import create_engine, text  # noqa: PLC0415 - loaded only where a database is

    engine = create_engine(postgres_url)
    with engine.connect() as connection:
        assert connection.execute(text("SHOW fsync")).scalar() == "on"
        assert connection.execute(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")).scalar() == 0
    engine.dispose()
