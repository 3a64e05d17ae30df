"""`beers up`: the whole product on one machine, in one command."""

import asyncio
import os
import shlex
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Annotated

import typer

from beers_cli import processes
from beers_cli.failure import Failure
from beers_cli.options import DEFAULT_ADDRESS
from beers_cli.output import Output
from beers_cli.parts import Broker, Part, Program
from beers_cli.rabbitmq import RabbitMQError, RabbitMQNode
from beers_cli.supervisor import Supervisor
from beers_runtime import configuration
from beers_runtime.configuration import Address

_AMQP_DEFAULT = "amqp://guest:guest@127.0.0.1:5672/"
_AMQP_PORT = 5672
_DATABASE_DEFAULT = "sqlite:///var/beers.db"
_ANSWER_WITHIN = 5.0
_SLACK = 5.0
"""Seconds on top of GRACE before a part that was told to stop is killed."""

_MOST = 64
"""Processes of one kind. A machine for more of them has better ways to run them."""

_SERVICE, _BRIDGE = "service", "bridge"

Programs = dict[str, list[str]]
"""By their names: modules that are programs, with their arguments."""

commands = typer.Typer()


@commands.command()
def up(
    *,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where to listen.", envvar="PORT", show_default="8000")
    ] = None,
    data: Annotated[Path, typer.Option(help="The folder for everything that is kept.", file_okay=False)] = Path("var"),
    beside: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="MODULE:CLASS",
            help="Another Nameko service to run beside it, such as examples.taplist:TapList; may be given again.",
        ),
    ] = None,
    services: Annotated[
        int,
        typer.Option(
            min=1,
            max=_MOST,
            metavar="N",
            envvar="BEERS_SERVICES",
            help="Service processes, which share the store and the calls. One writes at a time, and with SQLite the"
            " others wait for it; PostgreSQL scales better.",
        ),
    ] = 1,
    bridges: Annotated[
        int,
        typer.Option(
            min=1,
            max=_MOST,
            metavar="N",
            envvar="BEERS_BRIDGES",
            help="Bridge processes, which share the port: the kernel deals out the connections, not the calls.",
        ),
    ] = 1,
) -> None:
    """Run beers on this machine: RabbitMQ, the service and the gRPC bridge, until Ctrl-C.

    AMQP_URI names a RabbitMQ that runs already, DATABASE_URL a store; without them both are private and lie under
    the data folder, where the next run finds them again.
    """
    from beers_runtime import logs  # noqa: PLC0415 - the other commands need no structlog

    programs = [
        numbered(_SERVICE, ["beers_service"], services),
        numbered(_BRIDGE, ["grpc_bridge"], bridges),
        _beside(beside or []),
    ]
    names = [name for group in programs for name in group]
    environment = processes.finding_us(os.environ) | ({"PORT": str(port)} if port else {})
    if bridges > 1:
        environment["REUSE_PORT"] = "true"
    try:
        config = configuration.load(environ=environment)
        host = configuration.text(config, "HOST")
        port = configuration.integer(config, "PORT", 1, 65535)
        grace = configuration.number(config, "GRACE", 0, 3600)
        given_broker = _given(config, "AMQP_URI", _AMQP_DEFAULT, environment)
        given_store = _given(config, "DATABASE_URL", _DATABASE_DEFAULT, environment)
        # What the parts would refuse is refused before RabbitMQ is started for them.
        configuration.kind_of_store(given_store or _DATABASE_DEFAULT)
        configuration.choice(config, "LOG_LEVEL", logs.LEVELS)
        configuration.choice(config, "LOG_FORMAT", logs.STYLES)
        if bridges > 1:
            _require_shared_port(config)
        metrics = metrics_ports(config, names)
        if metrics:
            _require_own_ports(environment)
    except configuration.ConfigurationError as error:
        raise Failure(f"{error}.", "Correct it in the environment or in config.yaml.") from error
    folder = data.absolute()
    plain = environment.get("LOG_FORMAT") == "json"
    environment |= {"PORT": str(port), "PYTHONUNBUFFERED": "1"}
    environment.setdefault("LOG_FORMAT", "console")
    environment["DATABASE_URL"] = given_store or f"sqlite:///{folder / 'beers.db'}"
    with _locked(folder), Output(plain=plain, width=max(map(len, [*names, Broker.name]))) as output:
        _stop_left_over(folder, output.say)
        _check_port(host, port)
        _check_metrics_ports(metrics)
        foundation: list[Part] = []
        if given_broker:
            check_broker(given_broker)
            environment["AMQP_URI"] = given_broker
        else:
            node = _private_broker(folder, output.say)
            foundation.append(Broker(node, on_uri=lambda uri: environment.update(AMQP_URI=uri)))
        parts = [
            [
                Program(
                    name,
                    [sys.executable, "-m", *arguments],
                    # A view, not a copy: where the private broker is, is known only once it runs.
                    ChainMap({"BEERS_PART": name} | _metrics_setting(metrics, name), environment),
                    patience=grace + _SLACK,
                    trace=folder / f"{name}.pid",
                    on_line=output.line,
                )
                for name, arguments in group.items()
            ]
            for group in programs
        ]
        address = reachable(host, port)
        supervisor = Supervisor(
            foundation,
            parts,
            address=address,
            environment=environment,
            say=output.say,
            on_serving=lambda: say_what_next(address, environment["AMQP_URI"], metrics, output.say),
        )
        asyncio.run(supervisor.run())


def numbered(kind: str, arguments: list[str], count: int) -> Programs:
    """Return *count* programs of one *kind*, with numbers in their names if it is not the only one."""
    return {kind if count == 1 else f"{kind}-{number}": arguments for number in range(1, count + 1)}


def _beside(services: Sequence[str]) -> Programs:
    """Return the programs of the Nameko *services* that run beside our own."""
    programs: Programs = {}
    for service in services:
        module, separator, attribute = service.partition(":")
        if not (separator and module and attribute.isidentifier()):
            raise typer.BadParameter(f"--with must be MODULE:CLASS, such as examples.taplist:TapList; not {service!r}")
        name = attribute.lower()
        if name in programs or name in (_SERVICE, _BRIDGE, Broker.name):
            raise typer.BadParameter(f"--with {service}: there is a part called {name} already")
        programs[name] = ["beers_service", "--service", service]
    return programs


def _require_shared_port(config: Mapping[str, object]) -> None:
    # A file that fixes it would have every bridge but one refuse to start.
    if config.get("REUSE_PORT") is not True:
        raise configuration.ConfigurationError("REUSE_PORT must be ${REUSE_PORT:false} for several bridges")


def metrics_ports(config: Mapping[str, object], names: Sequence[str]) -> dict[str, Address]:
    """Return where each of the parts called *names* is to tell its metrics; nothing if none is to."""
    first = configuration.metrics_address(config)
    if first is None:
        return {}
    last = configuration.integer({"METRICS_PORT": first.port + len(names) - 1}, "METRICS_PORT", 0, 65535)
    return {name: Address(first.host, port) for name, port in zip(names, range(first.port, last + 1), strict=True)}


def _require_own_ports(environment: Mapping[str, str]) -> None:
    # A file that fixes it would have every part but one refuse to start.
    if configuration.load(environ={**environment, "METRICS_PORT": "1"}).get("METRICS_PORT") != 1:
        raise configuration.ConfigurationError("METRICS_PORT must be ${METRICS_PORT:} for several processes")


def _metrics_setting(metrics: Mapping[str, Address], name: str) -> dict[str, str]:
    return {"METRICS_PORT": str(metrics[name].port)} if name in metrics else {}


def _check_metrics_ports(metrics: Mapping[str, Address]) -> None:
    for name, (host, port) in metrics.items():
        try:
            free = processes.is_free(port, host)
        except OSError as error:
            raise Failure(f"Cannot listen on {host}:{port}: {error.strerror}.", "Correct METRICS_HOST.") from error
        if not free:
            raise Failure(
                f"Port {port} of {host}, for the metrics of {name}, is taken.", "Choose another METRICS_PORT."
            )


def _given(config: Mapping[str, object], name: str, default: str, environment: Mapping[str, str]) -> str | None:
    """Return the value that somebody chose, in the environment or in the file; None for the file's own default."""
    value = configuration.text(config, name)
    return value if environment.get(name) or value != default else None


def _locked(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return processes.lock(folder / "up.lock")
    except processes.Held as held:
        raise Failure(
            f"beers is running on {folder} already (process {held}).",
            "Stop that one first, or choose another folder with --data and another port with --port.",
        ) from held
    except OSError as error:
        raise Failure(
            f"Cannot keep data in {folder}: {error.strerror}.", "Choose another folder with --data."
        ) from error


def _stop_left_over(folder: Path, say: Callable[[str], None]) -> None:
    for file in sorted(folder.glob("*.pid")):
        trace = processes.Trace.read(file)
        if trace is not None and trace.alive():
            say(f"stopping the {file.stem} that an earlier run left behind (process {trace.pid})")
            trace.stop(_SLACK)


def _check_port(host: str, port: int) -> None:
    """Make sure that nobody listens there, also nobody who would share the port with our bridges without a word.

    Bridges that share it cannot tell: to them a program of the same user that shares it as well is one of them.
    """
    try:
        free = processes.is_free(port, host)
    except OSError as error:
        raise Failure(f"Cannot listen on {host}:{port}: {error.strerror}.", "Correct HOST or PORT.") from error
    if not free:
        raise Failure(
            f"Port {port} of {host} is taken: another program listens there.",
            "Stop that one, or choose another port: --port 8001 (with `make`: make run PORT=8001).",
        )


def check_broker(uri: str) -> None:
    """Make sure that the RabbitMQ at *uri* lets us in; of the nodes of a cluster one is enough.

    Raises:
        Failure: If it does not; without the password that *uri* may hold.
    """
    from beers_service.broker import BROKER_ERRORS, Broker, refusal  # noqa: PLC0415 - the other commands need no AMQP

    hint = "Correct AMQP_URI, or leave it out: `beers up` then runs a private RabbitMQ."
    try:
        configuration.amqp_uri({"AMQP_URI": uri})
    except configuration.ConfigurationError as error:
        raise Failure(f"{error}.", hint) from error
    failures = []
    for node in configuration.broker_nodes(uri):
        shown = configuration.without_password(node)
        try:
            connection = Broker(node, heartbeat=0, connect_timeout=_ANSWER_WITHIN).connect()
            connection.close()
        except BROKER_ERRORS as error:
            if refusal(error) or not isinstance(error, OSError):
                raise Failure(
                    f"RabbitMQ at {shown} refuses: {getattr(error, 'reply_text', '') or error}", hint
                ) from error
            failures.append(f"RabbitMQ does not answer at {shown}: {_why(error)}.")
        else:
            return
    raise Failure(" ".join(failures), hint)


def _why(error: OSError) -> str:
    return error.strerror or str(error) or "it closed the connection"


def _private_broker(folder: Path, say: Callable[[str], None]) -> RabbitMQNode:
    node = RabbitMQNode(folder / "rabbitmq", port=_AMQP_PORT, say=say)
    try:
        node.prepare()
    except RabbitMQError as error:
        raise Failure(str(error)) from error
    return node


def reachable(host: str, port: int) -> str:
    """Return the address by which this machine reaches a server that listens on *host*."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - not bound here
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _without_secret(broker: str) -> str:
    # guest is no secret: RabbitMQ takes it from this machine only.
    nodes = configuration.broker_nodes(broker)
    return broker if all("guest:guest@" in node for node in nodes) else configuration.without_password(broker)


def say_what_next(address: str, broker: str, metrics: Mapping[str, Address], say: Callable[[str], None]) -> None:
    """Say where everything is, and what to try, with commands that work as they stand."""
    for name, (host, port) in metrics.items():
        say(f"metrics of {name} on http://{reachable(host, port)}/metrics")
    here = "" if address == DEFAULT_ADDRESS else f"BEERS_ADDRESS={address} "
    beers = shlex.quote(sys.argv[0]) if processes.in_one_file() else "beers"
    bus = "" if broker == _AMQP_DEFAULT else f"AMQP_URI={shlex.quote(_without_secret(broker))} "
    say(f"serving on {address}. Try next, in another terminal:")
    say(f'  {here}{beers} add "Punk IPA" --brewery BrewDog --style IPA --abv 5.6')
    say(f"  {here}{beers} list")
    if metrics:
        # The first of them: `beers top` finds the others behind it.
        host, port = next(iter(metrics.values()))
        where = "" if host == "127.0.0.1" else f"METRICS_HOST={host} "
        say(f"  {where}METRICS_PORT={port} {beers} top")
    if processes.in_one_file():
        return  # Nameko's own program is not to be had there
    if Path("config.yaml").exists():
        say(f"  {bus}nameko shell --config config.yaml")
    else:
        say(f"  nameko shell --broker {shlex.quote(_without_secret(broker))}")
