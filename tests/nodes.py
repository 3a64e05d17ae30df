"""For the tests: a private PostgreSQL, beside the RabbitMQ of `beers_cli.rabbitmq`, and who is still running."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from beers_cli import packages, processes

_START_PATIENCE = 60.0


class PostgreSQLNode:
    """A private PostgreSQL: a cluster in a folder of its own, trusting whoever connects from this machine.

    PostgreSQL refuses to be root, so root runs it as the user `postgres` that its package makes. fsync stays on: what
    the tests see is what users get.

    Args:
        say: Takes lines for people, of what takes long.
        folder: An empty folder for the cluster; without it a temporary one, which `stop` throws away.
        settings: More of the server's settings, as name=value.
    """

    def __init__(
        self,
        say: Callable[[str], None] = lambda _line: None,
        *,
        folder: Path | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        self._say = say
        self._given = folder
        self._settings = settings
        self._server: subprocess.Popen[bytes] | None = None
        self._folder = Path()
        self._programs = Path()
        self._databases = 0
        self.port = 0

    @property
    def pid(self) -> int | None:
        """The pid of the server, the parent of all its processes, while it runs."""
        return self._server.pid if self._server is not None and self._server.poll() is None else None

    @property
    def programs(self) -> Path:
        """The folder with PostgreSQL's programs, once it was started."""
        return self._programs

    @property
    def log(self) -> Path:
        """The server's own log."""
        return self._folder / "server.log"

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The server process; only once it was started."""
        if self._server is None:
            raise RuntimeError("the private PostgreSQL was not started")
        return self._server

    def start(self) -> None:
        """Make the cluster, start the server and wait until it takes connections; about three seconds."""
        self._programs = _programs(self._say)
        root = os.geteuid() == 0
        # Root's own temporary folder may be closed to the user postgres.
        self._folder = self._given or Path(
            tempfile.mkdtemp(prefix="beers-postgres-", dir="/tmp" if root else None)  # noqa: S108
        )
        if root:
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        data = self._folder / "data"
        # Only a crash of the machine could lose what this does not sync, and with the machine goes the test.
        self._run("initdb", "-D", str(data), "-U", "beers", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.port = processes.free_port()
        self._wait(self.begin())

    def begin(self) -> "subprocess.Popen[bytes]":
        """Start the server on the cluster that is there, without waiting until it takes connections."""
        settings = (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=100",
            *self._settings,
        )
        arguments = [argument for setting in settings for argument in ("-c", setting)]
        with self.log.open("ab") as output:
            self._server = processes.start(
                _as_owner(self._programs / "postgres", "-D", str(self._folder / "data"), *arguments),
                environment=dict(os.environ),
                folder=self._folder,
                output=output,
            )
        return self._server

    def url(self) -> str:
        """Make a fresh database and return its URL for SQLAlchemy."""
        self._databases += 1
        name = f"test_{os.getpid()}_{self._databases}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "beers", name)
        return f"postgresql+psycopg2://beers@127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        """Stop the server without waiting for its clients, and throw the cluster away."""
        if self._server is not None:
            if self._server.poll() is None:
                self._server.send_signal(signal.SIGINT)  # SIGTERM would wait for the last client
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._server.wait(20)
            processes.stop(self._server, 5)
        if self._given is None and self._folder != Path():
            shutil.rmtree(self._folder)

    def _wait(self, server: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + _START_PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(0.05)
                raise RuntimeError(self.log.read_text())
            if time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL does not listen")
        # It listens before it takes clients; this one is let in when it does.
        while subprocess.run(self._ready(), check=False).returncode != 0:
            if time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL takes no clients")

    def _ready(self) -> list[str | Path]:
        return [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1"]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            _as_owner(self._programs / program, *arguments),
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}")


def processes_with(marker: str) -> dict[int, str]:
    """Return the running processes, zombies excepted, that have *marker* in their environment: pid and command."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile, or is somebody else's
                if marker.encode() in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
    return found


def wait_for_none_with(marker: str, patience: float = 10.0) -> dict[int, str]:
    """Wait until no process has *marker* in its environment; return those that still have."""
    deadline = time.monotonic() + patience
    while (left := processes_with(marker)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def fresh_database(server_url: str) -> tuple[str, Callable[[], None]]:
    """Make a database on a server that somebody else runs; return its URL and what drops it."""
    from sqlalchemy import create_engine, make_url, text  # noqa: PLC0415 - only where such a server is given

    url = make_url(server_url)
    name = f"beers_test_{os.getpid()}_{time.monotonic_ns()}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))

    def drop() -> None:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()

    return url.set(database=name).render_as_string(hide_password=False), drop


def _programs(say: Callable[[str], None]) -> Path:
    found = _find_programs()
    if found is None:
        packages.install("postgresql", say)
        found = _find_programs()
    if found is None:
        raise RuntimeError("the tests need PostgreSQL's initdb: install postgresql, or set BEERS_TEST_POSTGRES_URL")
    return found


def _find_programs() -> Path | None:
    def version(path: Path) -> float:
        return float(path.parents[1].name)

    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=version)
    if installed:
        return installed[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def _as_owner(*command: str | Path) -> list[str | Path]:
    if os.geteuid() != 0:
        return list(command)
    # setpriv becomes the command, where su or runuser would stand in between as a parent that hides its pid. The
    # kernel forgets what to do at our death when the user changes: said again.
    return [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "--reuid",
        "postgres",
        "--regid",
        "postgres",
        "--clear-groups",
        "--",
        *command,
    ]
