"""Builds the image and tries what is promised of it: one line that begins with PASS or FAIL for each check.

    python -m scripts.image_test

It needs root, since that is who may run containers without having been prepared for it, and Docker or a Debian.
Service and bridge run out of the image on a private RabbitMQ and PostgreSQL, on the loopback interface alone. The exit
status is 0 only if all is as promised. What it keeps is under build/image; the rest is gone afterwards.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from beers_cli import packages, processes
from beers_cli.rabbitmq import RabbitMQError, RabbitMQNode
from scripts.image_engine import Engine, Failed, arguments_of, find, run
from tests.nodes import PostgreSQLNode

ROOT: Final = Path(__file__).resolve().parent.parent
TAG: Final = "localhost/beers:image-test"
USER: Final = "10001"
GRACE: Final = 10
"""Seconds that a process has to end: config.yaml's default."""

HEALTHY_SECONDS: Final = 90
COMPILERS: Final = "cc gcc g++ c++ cpp clang tcc ld as make cmake cargo rustc go"

HARDENED: Final = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "host")
"""As the manifests for Kubernetes have it. There is no /tmp that could be written either."""


class Checks:
    """What was found, told line by line."""

    def __init__(self) -> None:
        self.failed = 0
        self.passed = 0

    def tell(self, what: str, *, well: bool, found: object = "") -> None:
        """Tell whether *what* is true, and of a failure what was *found* instead."""
        self.passed += well
        self.failed += not well
        print(f"PASS {what}" if well else f"FAIL {what}: {found}", flush=True)

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Count it as a failure of *what* if the body cannot be carried out."""
        try:
            yield
        except (Failed, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            self.tell(what, well=False, found=f"{error} {getattr(error, 'stderr', None) or ''}")


def main() -> int:
    """Build, try, tell; return the exit status."""
    if os.geteuid() != 0:
        print("It needs root: sudo make image-test", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # what was started is stopped then too
    checks = Checks()
    with ExitStack() as stack:
        try:
            engine = find(ROOT / "build" / "image", _say)
            stack.callback(engine.close)
            version = built(engine, checks)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="beers-image-")))
            broker = RabbitMQNode(folder / "rabbitmq", say=_say)
            stack.callback(broker.stop)
            database = PostgreSQLNode(_say)
            stack.callback(database.stop)
            contents(engine, checks, version)
            _say("Starting a private RabbitMQ and PostgreSQL …")
            broker.start()
            database.start()
        except (Failed, packages.NotInstallable, RabbitMQError, RuntimeError) as error:
            print(f"FAIL {error}", flush=True)
            return 1
        running(engine, checks, stack, amqp_uri=broker.uri, database_url=database.url())
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


def _say(line: str) -> None:
    print(line, flush=True)


def built(engine: Engine, checks: Checks) -> str:
    """Build the image, from the beginning but for the base, and return the version of Python in it."""
    arguments = arguments_of(ROOT / "Dockerfile")
    wanted = arguments["PYTHON_VERSION"]
    version = engine.base(f"python:{wanted}-slim-bookworm", wanted)
    revision = run(["git", "-C", ROOT, "rev-parse", "HEAD"]).strip()
    _say(f"Building with {engine.name}, on python:{version}-slim-bookworm …")
    began = time.monotonic()
    engine.build(ROOT, TAG, {"PYTHON_VERSION": version, "REVISION": revision})
    checks.tell(f"it builds ({time.monotonic() - began:.0f} s)", well=True)
    (image,) = json.loads(engine.call("image", "inspect", TAG))
    (base,) = json.loads(engine.call("image", "inspect", f"python:{version}-slim-bookworm"))
    added = (image["Size"] - base["Size"]) / 1e6
    _say(
        f"     {image['Size'] / 1e6:.0f} MB, of which the base has {base['Size'] / 1e6:.0f} MB and beers {added:.0f} MB"
    )
    labels = image["Config"]["Labels"]
    expected = {"version": arguments["VERSION"], "revision": revision}
    told = {name: labels.get(f"org.opencontainers.image.{name}") for name in expected}
    checks.tell("its labels tell version and revision", well=told == expected, found=told)
    user = image["Config"]["User"]
    checks.tell("its user is a number, and not that of root", well=user == f"{USER}:{USER}", found=user)
    return version


def contents(engine: Engine, checks: Checks, version: str) -> None:
    """Look at what is in the image, without running anything of ours."""

    def shell(script: str) -> str:
        done = engine.try_in(TAG, "-c", script, options=["--network", "none", "--entrypoint", "sh"])
        if done.returncode:
            raise Failed(f"{script}: status {done.returncode} {done.stderr}")
        return done.stdout.strip()

    with checks.of("it runs a shell"):
        checks.tell("a process in it is not root's", well=(found := shell("id -u")) == USER, found=found)
        found = shell(f"for name in {COMPILERS}; do command -v $name; done; true")
        checks.tell("no compiler is in it", well=not found, found=found)
        found = shell(r"find / -xdev \( -type f -o -type d \) -writable 2>/dev/null | grep -v ^/proc | sort; true")
        free = {"/tmp", "/var/tmp", "/var/lib/beers", "/run/lock", "/dev/shm", "/dev/mqueue"}  # noqa: S108
        others = set(found.split()) - free
        checks.tell("its user can change none of its files", well=not others, found=others)
        packages_of_it = f"/opt/beers/lib/python{version}/site-packages"
        source = shell(f"find {packages_of_it}/beers_* {packages_of_it}/grpc_bridge -name '*.py' | wc -l")
        compiled = shell(f"find {packages_of_it}/beers_* {packages_of_it}/grpc_bridge -name '*.pyc' | wc -l")
        checks.tell("it brings its bytecode", well=source == compiled != "0", found=f"{compiled} of {source}")


def running(engine: Engine, checks: Checks, stack: ExitStack, *, amqp_uri: str, database_url: str) -> None:
    """Run migration, service and bridge out of the image, and use them as a client does."""
    port = str(processes.free_port())
    address = f"127.0.0.1:{port}"
    bridge, service = (f"beers-image-test-{os.getpid()}-{part}" for part in ("bridge", "service"))
    stack.callback(engine.remove, bridge)
    stack.callback(engine.remove, service)

    refused = engine.try_in(TAG, "bridge", options=[*HARDENED, "--env", "HOST=0.0.0.0", "--env", f"PORT={port}"])
    well = refused.returncode == 78 and "HOST" in refused.stderr  # noqa: PLR2004 - EX_CONFIG
    checks.tell("a bridge at an open port without protection ends with 78", well=well, found=refused)

    migrated = engine.try_in(TAG, "admin", "migrate", options=[*HARDENED, "--env", f"DATABASE_URL={database_url}"])
    well = migrated.returncode == 0 and "it is now at" in migrated.stdout
    checks.tell("`beers admin migrate` makes the schema", well=well, found=migrated)

    given = [f"--env=AMQP_URI={amqp_uri}", f"--env=DATABASE_URL={database_url}", f"--env=PORT={port}"]
    starts(engine, checks, service, "service", given)
    starts(engine, checks, bridge, "bridge", given)

    with checks.of("a client gets through"):
        health = _beers(address, "health", "--wait", "60")["services"]
        checks.tell("health says SERVING", well=set(health.values()) == {"SERVING"}, found=health)
        added = _beers(address, "add", "Image Porter", "--abv", "5.2")
        read = _beers(address, "get", str(added["id"]))
        well = (read["name"], read["abv"]) == ("Image Porter", 5.2)
        checks.tell("a beer that was added at the bridge's port is read there", well=well, found=read)

    stops(engine, checks, bridge, "bridge")
    stops(engine, checks, service, "service")


def starts(engine: Engine, checks: Checks, name: str, command: str, given: Sequence[str]) -> None:
    """Start `beers COMMAND` in the container *name*, and look at it from inside."""
    with checks.of(f"the {command} starts"):
        began = time.monotonic()
        engine.start(name, TAG, command, options=[*HARDENED, *given, "--health-interval", "1s"])
        well = _until(lambda: engine.is_healthy(name), HEALTHY_SECONDS)
        took = f"{time.monotonic() - began:.1f} s"
        checks.tell(f"the HEALTHCHECK of the {command} turns healthy ({took})", well=well, found=engine.logs(name))
        status = dict(line.split(":\t", 1) for line in engine.call("exec", name, "cat", "/proc/1/status").splitlines())
        rights = {kind: status[kind] for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")}
        well = rights.pop("NoNewPrivs") == "1" and not any(int(value, 16) for value in rights.values())
        checks.tell(f"the {command} has no capabilities and gets none", well=well, found=rights)
        mounts = [line.split() for line in engine.call("exec", name, "cat", "/proc/mounts").splitlines()]
        options = [mount[3].split(",") for mount in mounts if mount[1] == "/"]
        checks.tell(f"the root of the {command} is read-only", well="ro" in options[-1], found=options)


def stops(engine: Engine, checks: Checks, name: str, command: str) -> None:
    """Tell the container *name*, which runs `beers COMMAND`, to stop, and look at how it ends and what it said."""
    with checks.of(f"the {command} stops"):
        began = time.monotonic()
        engine.call("stop", "--time", str(3 * GRACE), name)
        took = time.monotonic() - began
        code = engine.call("inspect", "--format", "{{.State.ExitCode}}", name).strip()
        lines = engine.logs(name)
        what = f"SIGTERM ends the {command} with 0 within {GRACE} s ({took:.1f} s)"
        checks.tell(what, well=code == "0" and took < GRACE, found=f"status {code}, {lines}")
        odd = [line for line in lines if not line.startswith("{")]
        checks.tell(f"each line of the {command} is JSON", well=bool(lines) and not odd, found=odd)


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (well := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return well


def _beers(address: str, *arguments: str) -> Any:
    """Run `beers` of this environment against the bridge at *address*; return the document that it prints."""
    command = [sys.executable, "-m", "beers_cli", *arguments, "--json", "--address", address]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=HEALTHY_SECONDS)
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
