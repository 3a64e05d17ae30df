"""What the commands of `beers` have in common: their shared options, and how they report."""

import json
import math
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beers_cli.failure import Failure
from beers_runtime import configuration

if TYPE_CHECKING:
    from beers_cli.client import Catalogue

_PORT = 8000


def not_empty(context: typer.Context, parameter: typer.CallbackParam, value: str) -> str:
    """Return *value* unless it was given and holds nothing, as a variable of a script does that is not set."""
    source = context.get_parameter_source(parameter.name or "")
    if not value.strip() and source is not None and source.name != "DEFAULT":
        raise typer.BadParameter("must not be empty; leave the option out for none")
    return value


def _address(value: str) -> str:
    if not value.strip() or value.startswith(("http://", "https://")):
        raise typer.BadParameter("must be HOST:PORT, such as 127.0.0.1:8000, without http://")
    host, separator, port = value.rpartition(":")
    if not separator or value.endswith("]"):  # no port: a name, or an IPv6 address in brackets
        return f"{value}:{_PORT}"
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:  # noqa: PLR2004 - what a port is
        raise typer.BadParameter("must be HOST:PORT, such as 127.0.0.1:8000")
    return value


def _timeout(value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise typer.BadParameter("must be a number of seconds above 0")
    return value


def queue_name(value: str) -> str:
    """Return *value* if a queue can have that name."""
    if not value:
        raise typer.BadParameter("must name a queue")
    if len(value.encode()) > 255:  # noqa: PLR2004 - AMQP's short strings
        raise typer.BadParameter("must be at most 255 bytes long, as the names of queues are")
    return value


def _quantity(value: str | None) -> str | None:
    if value is not None:
        quantity(value)
    return value


Address = Annotated[
    str,
    typer.Option(envvar="BEERS_ADDRESS", metavar="HOST:PORT", callback=_address, help="Where the service listens."),
]
Timeout = Annotated[
    float, typer.Option(metavar="SECONDS", callback=_timeout, help="How long to wait, tries again included.")
]
AmqpUri = Annotated[
    str,
    typer.Option(
        metavar="URI", envvar="AMQP_URI", help="RabbitMQ; by default that of config.yaml.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of a table.")]
# What the protocol can carry; which of it makes sense, the service says.
INT64 = {"min": -(2**63), "max": 2**63 - 1}

BeerId = Annotated[int, typer.Argument(metavar="ID", help="The beer's id, as `beers list` shows it.", **INT64)]
RequestId = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        callback=not_empty,
        help="Makes the command repeatable: with the same id it is carried out only once.",
    ),
]
ExpectedVersion = Annotated[
    int | None,
    typer.Option(metavar="N", **INT64, help="Refuse unless the beer is at this version: nobody changed it since."),
]
Text = Annotated[str, typer.Option(metavar="TEXT")]
Abv = Annotated[
    str | None,
    typer.Option(metavar="NUMBER|unknown", callback=_quantity, help="Alcohol in percent by volume."),
]
Ibu = Annotated[
    str | None,
    typer.Option(metavar="NUMBER|unknown", callback=_quantity, help="International Bitterness Units."),
]

DEFAULT_ADDRESS = f"127.0.0.1:{_PORT}"
DEFAULT_TIMEOUT = 10.0


def connect(address: str, timeout: float) -> "Catalogue":
    """Return the catalogue at *address*."""
    load_grpc()
    from beers_cli.client import Catalogue  # noqa: PLC0415

    return Catalogue(address, timeout)


def broker_uri(given: str) -> str:
    """Return the AMQP URI that was *given*, else that of the configuration."""
    try:
        return configuration.amqp_uri({"AMQP_URI": given} if given else configuration.load())
    except configuration.ConfigurationError as error:
        raise Failure(f"{error}.", "Name the broker with --amqp-uri or AMQP_URI.") from error


def load_grpc() -> None:
    """Load gRPC, which only commands that call the service do.

    `beers up` forks, and may not have gRPC's threads when it does; and `beers --help` is to be quick.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what goes wrong is told in our words, once
    import grpc  # noqa: F401, PLC0415


def quantity(value: str) -> float | None:
    """Return the number that *value* is; None for ``unknown`` and nothing."""
    text = value.strip()
    if text.lower() in ("", "unknown"):
        return None
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"must be a number such as 5.6, or unknown; not {value!r}") from error


def moment(value: str) -> int | datetime:
    """Return the position in the log or the time that *value* names; a time without a zone is local time."""
    if value.isascii() and value.isdigit() and int(value) <= INT64["max"]:
        return int(value)
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"must be a position such as 42, or a time such as 2026-11-01 or 2026-11-01T18:30; not {value!r}"
        ) from error


def print_json(document: Any) -> None:
    """Print one JSON document on standard output, on one line."""
    typer.echo(json.dumps(document, ensure_ascii=False))


def report(failure: Failure, *, as_json: bool) -> None:
    """Tell of *failure* on standard error."""
    if as_json:
        typer.echo(json.dumps(failure.document(), ensure_ascii=False), err=True)
        return
    colour = False if os.environ.get("NO_COLOR") else None  # None: only on a terminal
    typer.secho("Error: ", err=True, nl=False, bold=True, fg="red", color=colour)
    typer.echo(failure.message, err=True)
    if failure.hint:
        typer.echo(failure.hint, err=True)
