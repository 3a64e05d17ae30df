"""Everything that a run needs: processes, connections, disk, stores, each made, started and taken down again."""

import itertools
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from sqlalchemy import Engine, select

from beers_cli import processes
from beers_cli.rabbitmq import RabbitMQNode
from beers_service import admin
from beers_service.store import schema
from beers_service.store.engine import connect, reading
from beers_service.subscriber.inbox import consumers
from chaos import following
from chaos.brokers import described, names, start
from chaos.disk import Disk, FileSizeLimit, SmallDisk
from chaos.parts import NodePart, Part, Program
from chaos.proxy import Link, Proxy
from chaos.schedule import Targets
from tests.haproxy import HAProxy
from tests.nodes import PostgreSQLNode

ROOT = Path(__file__).parents[1]
START_PATIENCE = 60.0
SQLITE_DISK, POSTGRESQL_DISK = 256, 768
"""Size of the small disk, in MiB: room for the longest run, and no more."""

POSTGRESQL_SETTINGS = ("max_wal_size=64MB", "min_wal_size=32MB")
"""So that its own log does not fill the disk."""

_CALLS = 64
"""How many HAProxy lets a bridge be busy with."""

SETTINGS = {"HEARTBEAT": "3", "LOG_FORMAT": "json", "LOG_LEVEL": "INFO"}
"""What is configured otherwise than by default: silent peers are noticed within the shorter faults."""


@dataclass(frozen=True, slots=True)
class Cast:
    """What a run is made with.

    Attributes:
        store: ``sqlite`` or ``postgresql``.
        services: How many processes of the service.
        bridges: How many bridges.
        subscriber: Whether there is one.
        proxied: Whether connections pass through the proxy, which takes a part of the machine.
        settings: What is configured otherwise than by default.
        brokers: How many nodes of RabbitMQ; several are a cluster, with quorum queues, and no proxy before it.
        one_port: Whether the bridges share a port, so that the kernel deals out connections.
        fronted: Whether HAProxy stands before the bridges; it knows one port of them.
    """

    store: str
    services: int
    bridges: int
    _: KW_ONLY
    subscriber: bool = True
    proxied: bool = True
    settings: Mapping[str, str] = field(default_factory=lambda: SETTINGS)
    brokers: int = 1
    one_port: bool = False
    fronted: bool = False

    @property
    def queue_type(self) -> str:
        """Return the QUEUE_TYPE of the product."""
        return "classic" if self.brokers == 1 else "quorum"

    def roles(self) -> dict[str, tuple[str, ...]]:
        """Return the names of the parts, by role."""
        return {
            "service": tuple(f"service-{number}" for number in range(1, self.services + 1)),
            "bridge": tuple(f"bridge-{number}" for number in range(1, self.bridges + 1)),
            "rabbitmq": ("rabbitmq",) if self.brokers == 1 else names(self.brokers),
            **({"subscriber": ("subscriber",)} if self.subscriber else {}),
            **({"postgresql": ("postgresql",)} if self.store == "postgresql" else {}),
        }


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands while a run lasts.

    Attributes:
        parts: The processes, by name.
        links: The connections that pass through the proxy, by name.
        disk: The disk of the store; None if it cannot be filled, for a reason that was said.
        addresses: Where the bridges listen, or what stands before them.
        nodes: Those of the broker, by name.
        amqp_uri: The broker, not through the proxy.
        database_url: The store, not through the proxy.
        store: The same, as an engine.
        follower: The database of the subscriber, likewise.
        targets: What faults can be done to.
    """

    parts: dict[str, Part]
    links: dict[str, Link]
    disk: Disk | None
    addresses: tuple[str, ...]
    nodes: dict[str, RabbitMQNode]
    amqp_uri: str
    database_url: str
    store: Engine
    follower: Engine
    targets: Targets

    def head(self) -> int:
        """Return the position of the last event."""
        with reading(self.store) as connection:
            return int(connection.execute(select(schema.log_head.c.position)).scalar_one())

    def is_quiet(self) -> bool:
        """Tell whether the bus has all events, and the subscriber has had their effects."""
        head = self.head()
        with reading(self.store) as connection:
            relayed = int(connection.execute(select(schema.relay.c.position)).scalar_one())
        with reading(self.follower) as connection:
            marks = list(connection.execute(select(consumers.c.mark)).scalars())
        return relayed == head and marks == [head, head]


@contextmanager
def staged(cast: Cast, folder: Path, say: Callable[[str], None]) -> Iterator[Stage]:
    """Start everything; logs go to *folder*, all other files away at the end.

    Raises:
        RabbitMQError: If there is no RabbitMQ here.
        RuntimeError: If a part does not start.
    """
    with ExitStack() as stack:
        # PostgreSQL runs as a user of its own, who cannot enter everybody's folders.
        scratch = Path(tempfile.mkdtemp(prefix="beers-chaos-", dir="/tmp"))
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        scratch.chmod(0o711)
        proxy = Proxy()
        stack.callback(proxy.close)
        say("starting RabbitMQ")
        nodes, links = _brokers(cast, scratch, folder, proxy, stack, say)
        disk_folder = scratch / "store"
        disk_folder.mkdir()
        disk: Disk | None = SmallDisk.mount(disk_folder, POSTGRESQL_DISK if cast.store == "postgresql" else SQLITE_DISK)
        if disk is not None:
            stack.callback(disk.close)
        found: dict[str, Part] = {name: NodePart("rabbitmq", node, name) for name, node in nodes.items()}
        direct, through, follower_url = _stores(cast, disk_folder, scratch, found, links, proxy, stack, say)
        if disk is None:
            disk = _limits(cast, found, say)
        say("making the store")
        admin.migrate(direct)
        ports = [processes.free_port() for _ in range(1 if cast.one_port else cast.bridges)]
        environment = _environment(cast, folder) | {"QUEUE_TYPE": cast.queue_type}
        if cast.one_port:
            environment["REUSE_PORT"] = "true"
        uri = ";".join(node.uri for node in nodes.values())
        roles = cast.roles()
        for name in roles["service"]:
            own = {"DATABASE_URL": through, "AMQP_URI": _through(uri, links.get("service to rabbitmq"))}
            found[name] = Program("service", name, ["beers_service"], environment | own, folder)
        for name, port in zip(roles["bridge"], itertools.cycle(ports), strict=False):
            own = {"PORT": str(port), "AMQP_URI": _through(uri, links.get("bridge to rabbitmq"))}
            found[name] = Program("bridge", name, ["grpc_bridge"], environment | own, folder)
        if cast.subscriber:
            own = {
                following.DATABASE: follower_url,
                "AMQP_URI": _through(uri, links.get("subscriber to rabbitmq")),
            }
            found["subscriber"] = Program(
                "subscriber",
                "subscriber",
                ["beers_service", "--service", "chaos.following:Follower"],
                environment | own,
                folder,
            )
        follower = connect(follower_url)
        stack.callback(follower.dispose)
        following.prepare(follower)
        store = connect(direct)
        stack.callback(store.dispose)
        if cast.store == "sqlite":
            stack.callback(_keep, disk_folder, folder / "store")
        for name in (*roles["bridge"], *roles["service"], *roles.get("subscriber", ())):
            say(f"starting {name}")
            stack.callback(found[name].stop)
            found[name].begin()
        addresses = tuple(f"127.0.0.1:{port}" for port in ports)
        if cast.fronted:
            addresses = (_front(cast, folder, addresses[0], stack, say),)
        yield Stage(
            parts=found,
            links=links,
            disk=disk,
            addresses=addresses,
            nodes=nodes,
            amqp_uri=uri,
            database_url=direct,
            store=store,
            follower=follower,
            targets=Targets(
                roles if cast.brokers == 1 else {"rabbitmq": roles["rabbitmq"]}, tuple(links), disk is not None
            ),
        )


def _brokers(
    cast: Cast, scratch: Path, folder: Path, proxy: Proxy, stack: ExitStack, say: Callable[[str], None]
) -> tuple[dict[str, RabbitMQNode], dict[str, Link]]:
    """Start RabbitMQ; return its nodes, by name, and the connections to it that pass through the proxy."""
    name = cast.roles()["rabbitmq"][0]
    node = RabbitMQNode(scratch / name, say=say)
    nodes = {name: node} if cast.brokers == 1 else described(scratch, cast.brokers, say)
    for name, each in nodes.items():
        stack.callback(_keep, scratch / name / "log", folder / f"{name}-log")
        stack.callback(each.stop)
    start(nodes)
    if cast.brokers > 1 or not cast.proxied:
        return nodes, {}
    linked = [role for role in ("service", "bridge", "subscriber") if role in cast.roles()]
    return nodes, {f"{role} to rabbitmq": proxy.link(lambda: node.port) for role in linked}


def _stores(
    cast: Cast,
    disk_folder: Path,
    scratch: Path,
    found: dict[str, Part],
    links: dict[str, Link],
    proxy: Proxy,
    stack: ExitStack,
    say: Callable[[str], None],
) -> tuple[str, str, str]:
    """Return the URLs of the store, directly and as the service reaches it, and that of the subscriber's database."""
    if cast.store == "sqlite":
        url = f"sqlite:///{disk_folder / 'beers.db'}"
        return url, url, f"sqlite:///{scratch / 'follower.db'}"
    say("starting PostgreSQL")
    cluster = disk_folder / "cluster"
    cluster.mkdir()
    node = PostgreSQLNode(say, folder=cluster, settings=POSTGRESQL_SETTINGS)
    stack.callback(node.stop)
    node.start()
    found["postgresql"] = NodePart("postgresql", node)
    links["service to postgresql"] = link = proxy.link(lambda: node.port)
    direct = node.url()
    return (
        direct,
        direct.replace(f":{node.port}/", f":{link.port}/"),
        node.url().replace(f":{node.port}/", f":{link.port}/"),
    )


def _front(cast: Cast, folder: Path, bridges: str, stack: ExitStack, say: Callable[[str], None]) -> str:
    """Start HAProxy before the *bridges*; return where it listens."""
    say("starting HAProxy")
    calls = str(_CALLS * cast.bridges)  # they are one address to it
    front = HAProxy({"BRIDGES": bridges, "CALLS": calls}, folder / "haproxy.log", say)
    stack.callback(front.stop)
    front.start()
    return front.address


def _limits(cast: Cast, found: dict[str, Part], say: Callable[[str], None]) -> Disk | None:
    if cast.store != "sqlite" or not FileSizeLimit.possible():
        say("no full disk: a small disk cannot be mounted here, which takes root, and nothing else will do")
        return None
    say("no small disk can be mounted here, which takes root: the service's files may not grow instead")
    return FileSizeLimit(lambda: [pid for part in found.values() if part.role == "service" for pid in part.pids()])


def _environment(cast: Cast, folder: Path) -> dict[str, str]:
    """Return our environment without what would configure the product otherwise than the *cast* says."""
    names = set(re.findall(r"\$\{(\w+)", (ROOT / "config.yaml").read_text(encoding="utf-8")))
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return (
        kept
        | dict(cast.settings)
        | {
            "PYTHONPATH": str(ROOT),
            "BEERS_CONFIG": str(ROOT / "config.yaml"),
            "BEERS_CHAOS_RUN": folder.name,
        }
    )


def _through(uri: str, link: Link | None) -> str:
    return uri if link is None else re.sub(r":\d+/", f":{link.port}/", uri)


def _keep(source: Path, target: Path) -> None:
    """Copy what a run has left, for whoever wants to look into it."""
    if source.exists():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("ballast", "cluster"))


def now() -> float:
    """Return the time of this run's clock, which its processes share."""
    return time.monotonic()
