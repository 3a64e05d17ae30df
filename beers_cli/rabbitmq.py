"""A private RabbitMQ node: its own folder, ports, cookie and epmd, on the loopback interface only.

It runs from the server that the distribution installs, as whoever calls, and has nothing to do with a RabbitMQ that
the system runs itself. Nothing of it stays behind: epmd, usually a daemon, is a child here like the server.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from beers_cli import packages, processes

_PLACES = ("/usr/lib/rabbitmq/bin", "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
_LOOK_EVERY = 0.05
_STOP_PATIENCE = 30.0

HOW_TO_INSTALL = """\
RabbitMQ is not installed ({reason}). Install it:
  Debian, Ubuntu:  sudo apt-get update && sudo apt-get install -y rabbitmq-server
  macOS:           brew install rabbitmq
  Docker:          docker run -d --name rabbitmq -p 127.0.0.1:5672:5672 rabbitmq:4
                   and set AMQP_URI=amqp://guest:guest@127.0.0.1:5672/
or set AMQP_URI to a RabbitMQ that runs already, and start again."""


class RabbitMQError(Exception):
    """The node cannot be run. The message says why and what to do, fit to be shown as it is."""


def find_server(say: Callable[[str], None]) -> Path:
    """Return the `rabbitmq-server` of this machine, installing it where that is possible.

    Debian's command of that name insists on being root or rabbitmq and becomes rabbitmq; the script behind it does
    not.

    Raises:
        RabbitMQError: If there is none and it cannot be installed; the message holds the commands that do it.
    """
    found = _find_server()
    if found is None:
        try:
            packages.install("rabbitmq-server", say)
        except packages.NotInstallable as error:
            raise RabbitMQError(HOW_TO_INSTALL.format(reason=error)) from error
        found = _find_server()
    if found is None:
        raise RabbitMQError(HOW_TO_INSTALL.format(reason="its package holds no rabbitmq-server"))
    return found


def _find_server() -> Path | None:
    on_path = shutil.which("rabbitmq-server")
    places = [*_PLACES, *([str(Path(on_path).parent), str(Path(on_path).resolve().parent)] if on_path else [])]
    for place in places:
        script = Path(place) / "rabbitmq-server"
        if script.is_file() and script.resolve().name != "rabbitmq-script-wrapper":
            return script
    return None


class RabbitMQNode:
    """One node and its folder. The same folder is the same node: name, queues and, while it is free, port."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        say: Callable[[str], None] = lambda _line: None,
        more: Sequence[str] = (),
        name: str = "beers@localhost",
        neighbour: "RabbitMQNode | None" = None,
    ) -> None:
        """Describe the node; `start` runs it.

        Args:
            folder: Where everything of it lies. Made if it is missing.
            port: The port to listen on if the folder is new and the port is free.
            say: Takes lines for people, of what takes long.
            more: Lines of its configuration besides ours.
            name: Its name for other nodes. They never meet it, having an epmd of their own each, unless they are
                neighbours.
            neighbour: A node that was prepared, and whose epmd and cookie it shares.
        """
        self.name = name
        self._neighbour = neighbour
        self._more = more
        self.folder = folder.absolute()
        self._wanted_port = port
        self._say = say
        self._server: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._script = Path()
        self._ports: dict[str, int] = {}
        self._started_up = False

    @property
    def port(self) -> int:
        """The port for AMQP; known once the node was started."""
        return self._ports["amqp"]

    @property
    def uri(self) -> str:
        """The AMQP URI of the node's default virtual host."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def epmd_port(self) -> int:
        """The port at which nodes ask for each other; known once the node was prepared."""
        return self._ports["epmd"]

    @property
    def cookie(self) -> str:
        """What nodes have to know to talk to this one; it is there once the node was prepared."""
        return self._cookie.read_text(encoding="ascii")

    @property
    def _cookie(self) -> Path:
        return self.folder / "home" / ".erlang.cookie"

    @property
    def pid(self) -> int | None:
        """The pid of the server, while it runs."""
        return self._server.pid if self._server is not None and self._server.poll() is None else None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server process; only once it was started."""
        if self._server is None:
            raise RabbitMQError("the private RabbitMQ was not started")
        return self._server

    @property
    def log(self) -> Path:
        """The server's own log."""
        return self.folder / "log" / f"{self.name}.log"

    def start(self, patience: float = 90.0) -> None:
        """Start the node and wait until it takes connections; a few seconds.

        A node that an earlier, killed run left in this folder is stopped first.

        Raises:
            RabbitMQError: If there is no RabbitMQ, or it ends, or does not answer within *patience* seconds.
        """
        self.begin()
        deadline = time.monotonic() + patience
        while not self.answers():
            if time.monotonic() > deadline:
                self.stop()
                raise RabbitMQError(f"The private RabbitMQ did not answer within {patience:g} s. Its log: {self.log}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(_LOOK_EVERY)
                if self._lost_a_port():  # another program was quicker: with another one then
                    self.begin()
                    continue
                self.stop()
                raise RabbitMQError(f"The private RabbitMQ ended with status {status}: {self._last_words()}")

    def begin(self) -> None:
        """Start the processes of the node without waiting until it answers.

        Raises:
            RabbitMQError: If there is no RabbitMQ here.
        """
        if self.pid is not None:
            return
        self.prepare()
        environment = self._environment()
        if self._neighbour is None and (self._epmd is None or self._epmd.poll() is not None):
            epmd = shutil.which("epmd") or "epmd"
            self._epmd = processes.start(
                [epmd, "-address", "127.0.0.1", "-port", str(self._ports["epmd"])], environment=environment
            )
            processes.Trace.of(self._epmd.pid).write(self.folder / "epmd.pid")
        with (self.folder / "log" / "console.log").open("wb") as output:
            self._server = processes.start([self._script], environment=environment, folder=self.folder, output=output)
        self._started_up = False
        processes.Trace.of(self._server.pid).write(self.folder / "server.pid")

    def prepare(self) -> None:
        """Do everything that comes before the start: afterwards the URI is known, and starting forks at once.

        A node that an earlier, killed run left in this folder is stopped.

        Raises:
            RabbitMQError: If there is no RabbitMQ here and none can be installed.
        """
        self._script = find_server(self._say)
        self._stop_left_over()
        self._write_files()

    def answers(self) -> bool:
        """Tell whether this very node greets an AMQP client; another one might have been quicker to take the port."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                # The greeting, shorter than this, holds the name of the cluster.
                greeting = connection.recv(4096)
        except OSError:
            return False
        return greeting.startswith(b"\x01") and self.identity().encode() in greeting

    def stop(self) -> None:
        """Stop the server, then epmd; nothing of them remains."""
        if self._server is not None:
            processes.stop(self._server, _STOP_PATIENCE)
        if self._epmd is not None:
            processes.stop(self._epmd, 2.0)
        for name in ("server.pid", "epmd.pid"):
            (self.folder / name).unlink(missing_ok=True)

    def kill(self) -> None:
        """End the server as a crash would; `start` brings it back with its durable queues."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Make the server hang: connections stay open and nothing answers, until `thaw`."""
        self.process.send_signal(signal.SIGSTOP)
        # All of its threads, not only the one that took the signal.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self.process.send_signal(signal.SIGCONT)

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` against the node and return what it printed; takes about a second.

        Raises:
            RabbitMQError: If it fails; with its words.
        """
        if not self._started_up:
            # The port is open a moment before the rest of the server takes orders.
            self._started_up = True
            self.control("await_startup")
        script = self._script.with_name("rabbitmqctl")
        done = subprocess.run(  # noqa: S603
            [script, "--quiet", "--node", self.name, *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RabbitMQError(f"rabbitmqctl {arguments[0]} failed: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def add_virtual_hosts(self, names: Sequence[str]) -> list[str]:
        """Make virtual hosts, empty of exchanges and queues of ours, and return their AMQP URIs.

        Many take hardly longer than one: what takes time is the program that talks to the node.
        """
        everything = {"user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
        definitions = self.folder / "virtual-hosts.json"
        definitions.write_text(
            json.dumps(
                {
                    "vhosts": [{"name": name} for name in names],
                    "permissions": [everything | {"vhost": name} for name in names],
                }
            ),
            encoding="ascii",
        )
        self.control("import_definitions", str(definitions))
        return [self.uri + name for name in names]

    def _stop_left_over(self) -> None:
        for name in ("server.pid", "epmd.pid"):
            trace = processes.Trace.read(self.folder / name)
            ours = {child.pid for child in (self._server, self._epmd) if child is not None}
            if trace is not None and trace.pid not in ours and trace.alive():
                self._say(f"stopping the RabbitMQ that an earlier run left behind (process {trace.pid})")
                trace.stop(_STOP_PATIENCE)

    def _write_files(self) -> None:
        for name in ("home", "log", "data"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._choose_ports()
        if not self._cookie.exists():
            descriptor = os.open(self._cookie, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(self._neighbour.cookie if self._neighbour is not None else secrets.token_hex(20))
        # With the address in it: the variable for that is not heeded by every version.
        (self.folder / "rabbitmq.conf").write_text(
            "\n".join(
                (f"listeners.tcp.1 = 127.0.0.1:{self.port}", f"cluster_name = {self.identity()}", *self._more, "")
            ),
            encoding="ascii",
        )
        (self.folder / "enabled_plugins").write_text("[].\n", encoding="ascii")
        (self.folder / "environment.conf").write_text("", encoding="ascii")

    def identity(self) -> str:
        """Return a name that no other node has, unless they are neighbours; kept with the node's data."""
        if self._neighbour is not None:
            return self._neighbour.identity()
        file = self.folder / "identity"
        if not file.exists():
            file.write_text(f"beers-{secrets.token_hex(8)}", encoding="ascii")
        return file.read_text(encoding="ascii")

    def _choose_ports(self) -> None:
        file = self.folder / "ports.json"
        if not self._ports and file.exists():
            with contextlib.suppress(ValueError):  # cut off when the machine went down: chosen again
                self._ports = {key: int(value) for key, value in json.loads(file.read_text(encoding="ascii")).items()}
        epmd_runs = self._epmd is not None and self._epmd.poll() is None
        for key in ("amqp", "distribution", "epmd"):
            if key == "epmd" and epmd_runs:
                continue
            if key == "epmd" and self._neighbour is not None:
                self._ports[key] = self._neighbour.epmd_port
                continue
            kept = self._ports.get(key) or (self._wanted_port if key == "amqp" else None)
            self._ports[key] = kept if kept and processes.is_free(kept) else processes.free_port()
        file.write_text(json.dumps(self._ports), encoding="ascii")

    def _environment(self) -> dict[str, str]:
        folder = self.folder
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_", "NOTIFY_"))
        }
        return kept | {
            "HOME": str(folder / "home"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._ports["epmd"]),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(self._ports["distribution"]),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "environment.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(folder / "rabbitmq.pid"),
            # One scheduler that sleeps when idle: a guest on a developer's machine. Erlang's own port stays local too.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
            # Makes the start script become the server instead of waiting for it: one process, one pid.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _lost_a_port(self) -> bool:
        """Tell whether it ended since a port was taken, which may be free again: connections that go out take some."""
        told = ("could_not_start_listener", "dist_port_already_used")
        return not processes.is_free(self.port) or any(words in self._console() for words in told)

    def _console(self) -> str:
        return (self.folder / "log" / "console.log").read_text(encoding="utf-8", errors="replace")

    def _last_words(self) -> str:
        lines = [line for line in self._console().splitlines() if line.strip()]
        return f"{lines[-1].strip() if lines else 'it said nothing'} (more in {self.folder / 'log'})"
