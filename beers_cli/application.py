"""All commands of `beers` under one name."""

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from beers_cli import admin, commands, exporting, health, importing, running, top, up, watching

application = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A catalogue of beers that keeps its whole history. Begin with `beers up`.",
)

# In the order in which they are needed.
for module in (up, commands, watching, importing, exporting, health, top, running):
    application.add_typer(module.commands)
application.add_typer(admin.commands, name="admin")


@application.callback()
def _options(
    *,
    _show_version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=lambda wanted: _print_version(wanted=wanted), help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def _print_version(*, wanted: bool) -> None:
    if not wanted:
        return
    try:
        typer.echo(f"beers {version('beers')}")
    except PackageNotFoundError:
        typer.echo("beers, from a checkout")
    raise typer.Exit
