"""`beers top`: what the processes do, as they do it."""

import sys
from contextlib import nullcontext
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer
from rich.live import Live

from beers_cli.failure import Failure
from beers_cli.figures import Figures, figures
from beers_cli.options import AsJson, print_json
from beers_cli.presentation import console
from beers_cli.scraping import Endpoints
from beers_cli.screen import screen
from beers_cli.stopping import Stop
from beers_cli.up import reachable
from beers_runtime import configuration

FIRST_PORT = 9464
"""That of the first process under `METRICS_PORT=9464 beers up`, and of every pod."""

commands = typer.Typer()


def _endpoints(values: list[str] | None) -> list[str]:
    for value in values or ():
        host, _, port = value.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:  # noqa: PLR2004 - a port
            raise typer.BadParameter(f"must be HOST:PORT, such as 127.0.0.1:{FIRST_PORT}; not {value!r}")
    return values or []


@commands.command()
def top(
    *,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            envvar="BEERS_METRICS",
            metavar="HOST:PORT",
            callback=_endpoints,
            help="Where a process tells its metrics; may be given again. By default those that `beers up` runs.",
            show_default=False,
        ),
    ] = None,
    interval: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, max=3600, help="How often to look.")] = 1.0,
    once: Annotated[
        bool, typer.Option("--once", help="Look twice, so that there are rates, print that, and end.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what bridges, service processes and subscribers do: rates, latencies, errors, lags, until Ctrl-C.

    They tell it at METRICS_PORT, which is off by default: METRICS_PORT=9464 beers up.
    One that is away is shown as away; with --once the exit status is 1 if all of them are.

    On a terminal the picture is drawn anew each time; elsewhere one follows another, and with --json each is a line.

    \b
    METRICS_PORT=9464 beers up
    beers top
    beers top --metrics bridge-1:9464 --metrics service-1:9464
    beers top --once --json | jq .calls
    """  # noqa: D301 - \b keeps the lines of the examples apart
    endpoints = Endpoints(metrics or _of_beers_up(), discover=not metrics)
    shown = console()
    live = sys.stdout.isatty() and not (once or as_json)
    with Stop() as stop, Live(console=shown, screen=True, auto_refresh=False) if live else nullcontext() as picture:
        endpoints.read()  # rates need something to compare with
        while not stop.wait(interval):
            now = figures(endpoints.read())
            if as_json:
                print_json(_document(now))
            elif picture is not None:
                picture.update(screen(now, _title(interval)), refresh=True)
            else:
                shown.print(screen(now, _title(interval)))
            sys.stdout.flush()
            if once:
                if all(process.away for process in now.processes):
                    raise typer.Exit(1)
                break
    stop.raise_if_interrupted()


def _of_beers_up() -> list[str]:
    """Return where `beers up` has service and bridge tell their metrics; what else it runs is found behind them."""
    try:
        address = configuration.metrics_address(configuration.load())
    except configuration.ConfigurationError as error:
        raise Failure(
            f"{error}.", "Correct it, or say with --metrics where the processes tell their metrics."
        ) from error
    host, first = address or ("127.0.0.1", FIRST_PORT)
    return [reachable(host, first), reachable(host, first + 1)]


def _title(interval: float) -> str:
    return f"beers, {datetime.now().astimezone():%H:%M:%S}, every {interval:g} s"


def _document(now: Figures) -> dict[str, object]:
    return {"time": datetime.now().astimezone().isoformat(timespec="milliseconds"), **asdict(now)}
