"""The commands that read and change the catalogue, one call each."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from beers_cli import presentation
from beers_cli.access import Calling
from beers_cli.failure import Failure
from beers_cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT,
    Abv,
    Address,
    AsJson,
    BeerId,
    ExpectedVersion,
    Ibu,
    RequestId,
    Text,
    Timeout,
    connect,
    moment,
    print_json,
    quantity,
)

if TYPE_CHECKING:
    from beers_cli.client import Details
    from grpc_bridge.proto.beers.v1.beers_pb2 import Beer

_LIMIT = 50

commands = typer.Typer()


def _show(beer: "Beer", title: str, *, as_json: bool) -> None:
    if as_json:
        print_json(presentation.beer_document(beer))
    else:
        presentation.print_beer(beer, title)


@commands.command(cls=Calling)
def add(
    *,
    name: Annotated[str, typer.Argument(help="1 to 200 characters. Two beers may share a name.")],
    brewery: Text = "",
    style: Text = "",
    abv: Abv = None,
    ibu: Ibu = None,
    description: Text = "",
    request_id: RequestId = "",
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Add a beer."""
    details: Details = {
        "name": name,
        "brewery": brewery,
        "style": style,
        "abv": quantity(abv or ""),
        "ibu": quantity(ibu or ""),
        "description": description,
    }
    with connect(address, timeout) as catalogue:
        _show(catalogue.add(details, request_id), "Added.", as_json=as_json)


@commands.command(cls=Calling)
def get(
    *,
    beer_id: BeerId,
    at: Annotated[
        str | None,
        typer.Option(metavar="POSITION|TIME", help="As it was then: 42, 2026-11-01 or 2026-11-01T18:30 (local time)."),
    ] = None,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Show a beer, as it is or as it was."""
    as_of = None if at is None else moment(at)
    with connect(address, timeout) as catalogue:
        try:
            beer = catalogue.get(beer_id, as_of)
        except Failure as failure:
            if as_of is None or failure.facts.get("code") != "NOT_FOUND":
                raise
            hint = f"`beers history {beer_id}` tells when it was added and removed."
            raise Failure(f"Beer {beer_id} was not there at {at}.", hint, **failure.facts) from failure
        _show(beer, f"As of {at}:" if at else "", as_json=as_json)


@commands.command("list", cls=Calling)
def list_beers(
    *,
    query: Annotated[
        str, typer.Option(metavar="TEXT", help="Only those with this text in name, brewery or style.")
    ] = "",
    brewery: Annotated[str, typer.Option(metavar="TEXT", help="Only those of this brewery.")] = "",
    style: Annotated[str, typer.Option(metavar="TEXT", help="Only those of this style.")] = "",
    order_by: Annotated[
        str, typer.Option(metavar="ORDER", help='id, name or abv, or one of them with " desc" for the other way round.')
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = _LIMIT,
    everything: Annotated[bool, typer.Option("--all", help="All of them, whatever --limit says.")] = False,
    show_removed: Annotated[bool, typer.Option("--show-removed", help="Removed ones as well.")] = False,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """List beers. Upper and lower case are alike in what is looked for."""
    with connect(address, timeout) as catalogue:
        found = catalogue.list(
            # One more than is shown tells whether there are more.
            None if everything else limit + 1,
            query=query,
            brewery=brewery,
            style=style,
            order_by=order_by,
            show_removed=show_removed,
        )
        shown = list(found) if everything else list(islice(found, limit + 1))
    more = not everything and len(shown) > limit
    if more:
        del shown[limit:]
    if as_json:
        print_json([presentation.beer_document(beer) for beer in shown])
    else:
        presentation.print_beers(shown, more=more)


@commands.command(cls=Calling)
def rename(
    *,
    beer_id: BeerId,
    name: Annotated[str, typer.Argument(help="The new name.")],
    expected_version: ExpectedVersion = None,
    request_id: RequestId = "",
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Give a beer another name."""
    with connect(address, timeout) as catalogue:
        _show(catalogue.rename(beer_id, name, request_id, expected_version), "Renamed.", as_json=as_json)


@commands.command(cls=Calling)
def update(
    *,
    beer_id: BeerId,
    brewery: Annotated[str | None, typer.Option(metavar="TEXT", help='"" makes it unknown.')] = None,
    style: Annotated[str | None, typer.Option(metavar="TEXT", help='"" makes it unknown.')] = None,
    abv: Abv = None,
    ibu: Ibu = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help='"" makes it unknown.')] = None,
    expected_version: ExpectedVersion = None,
    request_id: RequestId = "",
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Change what is known of a beer, apart from its name. What is not named stays as it is."""
    texts = {"brewery": brewery, "style": style, "description": description}
    quantities = {"abv": abv, "ibu": ibu}
    changes: Details = {name: value for name, value in texts.items() if value is not None}
    changes |= {name: quantity(value) for name, value in quantities.items() if value is not None}
    if not changes:
        raise typer.BadParameter("nothing to change: name at least one of --brewery --style --abv --ibu --description")
    with connect(address, timeout) as catalogue:
        _show(catalogue.update(beer_id, changes, request_id, expected_version), "Updated.", as_json=as_json)


@commands.command(cls=Calling)
def remove(
    *,
    beer_id: BeerId,
    expected_version: ExpectedVersion = None,
    request_id: RequestId = "",
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Remove a beer. Its history stays, and `beers restore` brings it back."""
    with connect(address, timeout) as catalogue:
        _show(catalogue.remove(beer_id, request_id, expected_version), "Removed.", as_json=as_json)


@commands.command(cls=Calling)
def restore(
    *,
    beer_id: BeerId,
    expected_version: ExpectedVersion = None,
    request_id: RequestId = "",
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Bring a removed beer back."""
    with connect(address, timeout) as catalogue:
        _show(catalogue.restore(beer_id, request_id, expected_version), "Restored.", as_json=as_json)


@commands.command(cls=Calling)
def history(
    *,
    beer_id: BeerId,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Long descriptions whole, and the requests that did it.")
    ] = False,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Show what happened to a beer, oldest first, removed or not."""
    with connect(address, timeout) as catalogue:
        events = list(catalogue.history(beer_id))
    if as_json:
        print_json([presentation.event_document(event) for event in events])
    elif events:
        presentation.print_history(beer_id, events, verbose=verbose)
    else:
        raise Failure(f"beer {beer_id} has no history: it never was")
