"""Servers for the tests, each started by the first test that asks for it and stopped at the end of the run.

Nothing here may import grpc, eventlet or nameko: the tests of the service and those of the bridge run in processes of
their own, and each knows only one of these worlds.
"""

import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from beers_cli.rabbitmq import RabbitMQNode
    from tests.certificates import Authority
    from tests.nodes import PostgreSQLNode
    from tests.processes import Process, Start
    from tests.wire import Wire

_VIRTUAL_HOSTS = 20
"""How many are made at a time; making one takes a second, and so does making all."""

# `pytest` alone does not look for modules where it is started, as `python -m pytest` does.
_ROOT = str(Path(__file__).parents[1])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

# How quick examples are made and run tells of the machine.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Write a line past pytest's capture: of what takes long, such as an installation."""
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")

    def line(text: str) -> None:
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(text)

    return line


@pytest.fixture(scope="session")
def rabbitmq_node(say: Callable[[str], None]) -> "Iterator[RabbitMQNode]":
    """A private RabbitMQ node that a test may freeze, kill and start again; the test leaves it running."""
    from beers_cli.rabbitmq import RabbitMQNode  # noqa: PLC0415 - a run that needs no broker loads none of it

    with tempfile.TemporaryDirectory(prefix="beers-rabbitmq-", ignore_cleanup_errors=True) as folder:
        node = RabbitMQNode(Path(folder), say=say)
        try:
            node.start()
            yield node
        finally:
            node.stop()


@pytest.fixture(scope="session")
def amqp_uri(request: pytest.FixtureRequest) -> str:
    """The URI of a RabbitMQ: $BEERS_TEST_AMQP_URI, else the private node's default virtual host."""
    given = os.environ.get("BEERS_TEST_AMQP_URI")
    if given:
        return given
    node: RabbitMQNode = request.getfixturevalue("rabbitmq_node")
    return node.uri


@pytest.fixture(scope="session")
def virtual_hosts(rabbitmq_node: "RabbitMQNode") -> Iterator[str]:
    """The URIs of virtual hosts of the private node, without end, each as empty as a new broker."""

    def made() -> Iterator[str]:
        while True:
            yield from rabbitmq_node.add_virtual_hosts([f"test-{uuid.uuid4().hex}" for _ in range(_VIRTUAL_HOSTS)])

    return made()


@pytest.fixture(scope="module")
def module_amqp_uri(virtual_hosts: Iterator[str]) -> str:
    """The URI of a virtual host of the test module's own: no queue of others is in there."""
    return next(virtual_hosts)


@pytest.fixture
def fresh_amqp_uri(virtual_hosts: Iterator[str]) -> str:
    """The URI of a virtual host of the test's own: no queue of others is in there."""
    return next(virtual_hosts)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> "Authority":
    """An authority whose certificates are trusted."""
    from tests.certificates import Authority  # noqa: PLC0415

    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> "Authority":
    """An authority that nobody trusts; it calls itself what the other is called."""
    from tests.certificates import Authority  # noqa: PLC0415

    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="session")
def postgres_node(say: Callable[[str], None]) -> "Iterator[PostgreSQLNode]":
    """A private PostgreSQL."""
    from tests.nodes import PostgreSQLNode  # noqa: PLC0415

    node = PostgreSQLNode(say)
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a fresh, empty database: on the server of $BEERS_TEST_POSTGRES_URL, else on the private one."""
    from tests.nodes import fresh_database  # noqa: PLC0415

    given = os.environ.get("BEERS_TEST_POSTGRES_URL")
    if not given:
        yield request.getfixturevalue("postgres_node").url()
        return
    url, drop = fresh_database(given)
    try:
        yield url
    finally:
        drop()


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> "Iterator[Start]":
    """Start a service; ``amqp`` is the fixture's URI unless given, the store is SQLite in the test's folder."""
    from tests.processes import Process  # noqa: PLC0415

    started: list[Process] = []

    def begin(*arguments: str, ready: bool = True, **environ: str) -> "Process":
        environ.setdefault("AMQP_URI", environ.pop("amqp", "") or request.getfixturevalue("fresh_amqp_uri"))
        environ.setdefault("DATABASE_URL", f"sqlite:///{tmp_path}/beers.db")
        process = Process(tmp_path, list(arguments) or ["-m", "beers_service"], environ)
        started.append(process)
        if ready:
            process.await_line("consuming")
        return process

    yield begin
    for process in started:
        if process.alive():
            process.signal(signal.SIGCONT)
            process.kill()


@pytest.fixture
def wire(fresh_amqp_uri: str) -> "Iterator[Wire]":
    """Raw AMQP on the virtual host of the test's own."""
    from tests.wire import Wire  # noqa: PLC0415

    wire = Wire(fresh_amqp_uri)
    yield wire
    wire.close()
