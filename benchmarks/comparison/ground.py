"""What the contenders stand on: a RabbitMQ, a PostgreSQL and their own servers, started by whoever needs them first.

All of them go on running until the end. What is not being measured has to be idle, and is looked at: see `settle`.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

from sqlalchemy import make_url, text

from beers_cli import processes
from beers_cli.rabbitmq import RabbitMQNode
from beers_service.store import engine as store
from benchmarks.comparison.load import H2load, MeasuringError
from tests.nodes import PostgreSQLNode

ROOT = Path(__file__).parents[2]
START_PATIENCE = 60.0
STOP_PATIENCE = 15.0
SETTLE_PATIENCE = 120.0
WINDOW = 0.4
"""Seconds over which it is looked whether the servers do anything."""

IDLE = 0.10
"""Of one core: what all the idle servers together may take, with their heartbeats, timers and vacuums."""

BRIDGES = len(os.sched_getaffinity(0))
"""How many bridges a product has: one keeps at most one core busy, as every Python process."""

LOOK_EVERY = 0.05
_SOCKETS = ("/proc/net/tcp", "/proc/net/tcp6")  # gRPC listens on an address of version 4 by one of version 6
Kept = TypeVar("Kept")
_TICKS = os.sysconf("SC_CLK_TCK")


class NotMeasurable(Exception):
    """A contender cannot be run on this machine. The message says why."""


@dataclass(frozen=True, slots=True)
class Product:
    """A service and bridges on a store of their own, as README's "Operating it" starts them.

    Attributes:
        address: Where the bridges listen.
        amqp_uri: Where the service consumes.
        database_url: The store.
        pids: The processes of each kind, by its name.
    """

    address: str
    amqp_uri: str
    database_url: str
    pids: Mapping[str, Sequence[int]]

    def head(self) -> int:
        """Return the position of the last event that the store holds."""
        engine = store.connect(self.database_url)
        try:
            with store.reading(engine) as connection:
                return int(connection.execute(text("SELECT position FROM log_head")).scalar_one())
        finally:
            engine.dispose()

    def peaks(self) -> dict[str, float]:
        """Return how much memory a process of each kind has had at most (VmHWM), in MiB."""
        return {name: max(map(peak, pids)) for name, pids in self.pids.items()}


def peak(pid: int) -> float:
    """Return how much memory a process has had at most, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) / 1024, 1)


@dataclass
class Ground:
    """The servers of one comparison.

    Attributes:
        folder: Where their data and logs lie: on a real disk, since commits wait for it.
        load: What makes the calls.
        say: Takes lines for people.
        busiest: Of one core: the most that the idle servers have taken together.
    """

    folder: Path
    load: H2load
    say: Callable[[str], None]
    busiest: float = 0.0
    _servers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _kept: dict[str, object] = field(default_factory=dict)
    _broker: RabbitMQNode | None = None
    _postgresql: PostgreSQLNode | None = None

    def broker(self, name: str) -> str:
        """Return the URI of a virtual host of the RabbitMQ, by name."""
        if self._broker is None:
            self.say("starting RabbitMQ")
            self._broker = RabbitMQNode(self.folder / "rabbitmq", say=self.say)
            self._broker.start()
            self._servers["RabbitMQ"] = self._broker.process
        return self.once(f"virtual host {name}", lambda: self._node.add_virtual_hosts([name])[0])

    @property
    def _node(self) -> RabbitMQNode:
        if self._broker is None:
            raise RuntimeError("RabbitMQ does not run")
        return self._broker

    def database(self) -> str:
        """Return the URL of an empty database of the PostgreSQL, with its default synchronous_commit=on."""
        if self._postgresql is None:
            self.say("starting PostgreSQL")
            self._postgresql = PostgreSQLNode(self.say)
            self._postgresql.start()
        return self._postgresql.url()

    def once(self, name: str, make: Callable[[], Kept]) -> Kept:
        """Return what *make* made when it was first asked for under this *name*."""
        if name not in self._kept:
            self._kept[name] = make()
        kept: Kept = self._kept[name]  # type: ignore[assignment] # a name always stands for one type
        return kept

    def server(
        self, name: str, module: str, *arguments: str, python: str = sys.executable, **settings: str
    ) -> subprocess.Popen[bytes]:
        """Start a program of ours, whose output goes to a file."""
        self.say(f"starting {name}")
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = processes.start(
                [python, "-m", module, *arguments],
                environment=environment(**settings),
                folder=self.folder,
                output=output,
            )
        self._servers[name] = process
        return process

    def echo(self, name: str, module: str, *arguments: str, python: str = sys.executable) -> None:
        """Start a program that says "ready" once it is."""
        process = self.server(name, module, *arguments, python=python)
        log = self.folder / f"{name}.log"
        deadline = time.monotonic() + START_PATIENCE
        while b"ready\n" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                raise NotMeasurable(f"{name} does not start: {lines[-1] if lines else 'it says nothing'}")
            time.sleep(LOOK_EVERY)

    def product(self, name: str, database_url: str = "", bridges: int = BRIDGES, **settings: str) -> Product:
        """Return the service and the bridges of that *name*, on SQLite unless a database is given."""

        def start() -> Product:
            port = processes.free_port()
            url = database_url or f"sqlite:///{self.folder / f'{name}.db'}"
            uri = self.broker(name)
            chosen = {"AMQP_URI": uri, "DATABASE_URL": url, "PORT": str(port), "REUSE_PORT": "true"}
            # 256 pages of 50 at a time take a slow machine more than the second for which a call may wait by default.
            chosen |= {"MAX_WAIT": "10", **settings}
            if make_url(url).drivername != "sqlite":
                client(["-m", "beers_cli", "admin", "migrate"], settings=chosen)
            service = self.server(f"{name}-service", "beers_service", **chosen)
            several = [self.server(f"{name}-bridge-{number + 1}", "grpc_bridge", **chosen) for number in range(bridges)]
            _await_listeners(port, bridges)
            address = f"127.0.0.1:{port}"
            client(["-m", "beers_cli", "health", "--wait", str(START_PATIENCE), "--address", address])
            pids = {"service": [service.pid], "bridge": [bridge.pid for bridge in several]}
            return Product(address, uri, url, pids)

        return self.once(name, start)

    def settle(self) -> None:
        """Wait until the servers have nothing left to do: events to publish, pages to write.

        Raises:
            MeasuringError: If they go on and on.
        """
        deadline = time.monotonic() + SETTLE_PATIENCE
        while True:
            before = self._cpu()
            time.sleep(WINDOW)
            taken = {name: seconds - before.get(name, 0) for name, seconds in self._cpu().items()}
            share = sum(taken.values()) / WINDOW
            if share <= IDLE:
                self.busiest = max(self.busiest, share)
                return
            if time.monotonic() > deadline:
                worst = max(taken, key=taken.__getitem__)
                raise MeasuringError(f"{worst} does not come to rest: {taken[worst] / WINDOW:.0%} of a core")

    def _cpu(self) -> dict[str, float]:
        """Return the seconds of CPU that each server has used, its children included."""
        parents = {process.pid: name for name, process in self._servers.items()}
        if self._postgresql is not None and self._postgresql.pid is not None:
            parents[self._postgresql.pid] = "PostgreSQL"
        used: dict[str, float] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            pid, parent = int(entry.name), int(fields[1])
            name = parents.get(pid) or parents.get(parent)
            if name is not None:
                used[name] = used.get(name, 0) + (int(fields[11]) + int(fields[12])) / _TICKS
        return used

    def stop(self) -> None:
        """Stop everything."""
        for name, process in reversed(self._servers.items()):
            if name != "RabbitMQ":
                processes.stop(process, STOP_PATIENCE)
        self._servers.clear()
        if self._broker is not None:
            self._broker.stop()
        if self._postgresql is not None:
            self._postgresql.stop()


def _await_listeners(port: int, number: int) -> None:
    """Wait until so many sockets listen on *port*: health asks one of those that share it, and not which."""
    deadline = time.monotonic() + START_PATIENCE
    listening = re.compile(rf"^ *\d+: [0-9A-F]+:{port:04X} [0-9A-F]+:0000 0A ", re.MULTILINE)
    while sum(len(listening.findall(Path(name).read_text(encoding="ascii"))) for name in _SOCKETS) < number:
        if time.monotonic() > deadline:
            raise NotMeasurable(f"not all of {number} bridges listen on port {port}")
        time.sleep(LOOK_EVERY)


def client(arguments: list[str], settings: Mapping[str, str] | None = None, patience: float = 600.0) -> str:
    """Run a program of ours to its end and return what it printed.

    Raises:
        MeasuringError: If it fails.
    """
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=environment(**(settings or {})),
            capture_output=True,
            text=True,
            check=False,
            timeout=patience,
        )
    except subprocess.TimeoutExpired as error:
        raise MeasuringError(f"{' '.join(arguments[:2])} was not done within {patience:g} s") from error
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise MeasuringError(f"{' '.join(arguments[:2])} failed: {words[-1] if words else 'it says nothing'}")
    return done.stdout


@cache
def _inherited() -> dict[str, str]:
    """Return our environment without what would configure the product otherwise than by default."""
    names = set(re.findall(r"\$\{(\w+)", (ROOT / "config.yaml").read_text(encoding="utf-8")))
    return {name: value for name, value in os.environ.items() if name not in names}


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of a program: the product's defaults, and *settings*."""
    return _inherited() | {"PYTHONPATH": str(ROOT), "BEERS_CONFIG": str(ROOT / "config.yaml"), **settings}


def nameko_grpc(say: Callable[[str], None]) -> str:
    """Return the Python of the environment that holds nameko-grpc, making it if need be.

    Raises:
        NotMeasurable: If it cannot be made.
    """
    folder, lock = ROOT / "build" / "nameko-grpc", ROOT / "requirements" / "nameko-grpc.txt"
    python, stamp = folder / "bin" / "python", folder / "stamp"
    if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
        return str(python)
    say("making an environment for nameko-grpc (half a minute)")
    shutil.rmtree(folder, ignore_errors=True)
    pip: list[str | Path] = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    make: list[str | Path] = [sys.executable, "-m", "venv", folder]
    for command in (make, [*pip, "--require-hashes", "-r", lock]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines()
            raise NotMeasurable(f"nameko-grpc cannot be installed: {words[-1] if words else 'pip says nothing'}")
    stamp.write_bytes(lock.read_bytes())
    return str(python)
