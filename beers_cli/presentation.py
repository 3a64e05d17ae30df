"""Beers and events for people, as tables, and for machines, as JSON."""

import sys
import textwrap
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from grpc_bridge.proto.beers.v1.beers_pb2 import Beer, BeerEvent

_UNKNOWN = "\N{EN DASH}"
_WIDE = 1000
"""Columns of what is no terminal: nothing is cut off there."""
_TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""The kinds of characters that set a direction by force, of which Hebrew and Arabic themselves are none."""
_GIST = 60
"""Characters of a description in a sentence."""


def console() -> Console:
    """Return the console on standard output; colours only on a terminal, and none with NO_COLOR."""
    return Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False, markup=False, emoji=False)


def beer_document(beer: "Beer") -> dict[str, Any]:
    """Return *beer* as JSON, in the form of the Nameko interface."""
    return {
        "id": beer.id,
        "name": beer.name,
        "brewery": beer.brewery,
        "style": beer.style,
        "abv": beer.abv if beer.HasField("abv") else None,
        "ibu": beer.ibu if beer.HasField("ibu") else None,
        "description": beer.description,
        "version": beer.version,
        "added_at": _represented(beer.added_at),
        "changed_at": _represented(beer.changed_at),
        "removed_at": _represented(beer.removed_at) if beer.HasField("removed_at") else None,
    }


def event_document(event: "BeerEvent") -> dict[str, Any]:
    """Return *event* as JSON, with the names of the envelope on the bus; like there, it may have no actor."""
    kind = event.WhichOneof("data") or ""
    return {
        "id": event.id,
        "type": "".join(word.capitalize() for word in kind.split("_")),
        "position": event.position,
        "beer_id": event.beer_id,
        "version": event.version,
        "time": _represented(event.time),
        "request_id": event.request_id,
        "correlation_id": event.correlation_id,
        **({"actor": event.actor} if event.actor else {}),
        "data": _event_data(event, kind),
    }


def print_beer(beer: "Beer", title: str = "") -> None:
    """Print one beer with everything that is known of it, under *title*."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    rows = {
        "id": str(beer.id),
        "name": beer.name,
        "brewery": beer.brewery,
        "style": beer.style,
        "abv": f"{number(beer.abv)} %" if beer.HasField("abv") else "",
        "ibu": number(beer.ibu) if beer.HasField("ibu") else "",
        "description": beer.description,
        "version": str(beer.version),
        "added": _local(beer.added_at),
        "changed": _local(beer.changed_at),
        "removed": _local(beer.removed_at) if beer.HasField("removed_at") else "",
    }
    for name, value in rows.items():
        if value or name not in ("description", "removed"):
            table.add_row(name, Text(printable(value, lines=True) or _UNKNOWN))
    shown = console()
    if title:
        shown.print(Text(title, style="bold"))
    shown.print(table)


def print_beers(beers: Iterable["Beer"], *, more: bool) -> None:
    """Print a table of beers; *more* says that there are others which are not in it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("ID", justify="right", no_wrap=True)
    table.add_column("NAME", style="bold")
    table.add_column("BREWERY")
    table.add_column("STYLE")
    table.add_column("ABV", justify="right", no_wrap=True)
    table.add_column("IBU", justify="right", no_wrap=True)
    count = 0
    for beer in beers:
        count += 1
        removed = beer.HasField("removed_at")
        name = Text(printable(beer.name))
        table.add_row(
            str(beer.id),
            name + Text(" (removed)", style="red") if removed else name,
            Text(printable(beer.brewery) or _UNKNOWN),
            Text(printable(beer.style) or _UNKNOWN),
            number(beer.abv) if beer.HasField("abv") else _UNKNOWN,
            number(beer.ibu) if beer.HasField("ibu") else _UNKNOWN,
            style="dim" if removed else "",
        )
    shown = console()
    if count:
        shown.print(table)
    noun = "beer" if count == 1 else "beers"
    rest = "; there are more: --all shows them, --limit so many" if more else ""
    shown.print(Text(f"{count or 'No'} {noun}{rest}.", style="dim"))


def event_line(event: "BeerEvent") -> Text:
    """Return what *event* says, on one line."""
    place = f"{_local(event.time)}  {event.position:>6}  beer {event.beer_id:<4}  "
    return Text.assemble((place, "dim"), _sentence(event))


def print_history(beer_id: int, events: list["BeerEvent"], *, verbose: bool) -> None:
    """Print what happened to a beer, oldest first; *verbose* tells long texts whole, and which requests did it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"Beer {beer_id}", title_justify="left")
    table.add_column("WHEN", no_wrap=True)
    table.add_column("POSITION", justify="right", no_wrap=True)
    table.add_column("VERSION", justify="right", no_wrap=True)
    # Last, it has all the room that is left.
    table.add_column("WHAT HAPPENED", overflow="fold")
    for event in events:
        what = _sentence(event, whole=verbose)
        if verbose:
            causes = {"request": event.request_id, "conversation": event.correlation_id}
            told = "".join(f"\n{name} {printable(value)}" for name, value in causes.items() if value)
            what = Text.assemble(what, (told, "dim"))
        table.add_row(_local(event.time), str(event.position), str(event.version), what)
    console().print(table)


def number(value: float) -> str:
    """Return *value* with at most two decimals, and none that are zero."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def printable(text: str, *, lines: bool = False) -> str:
    """Return *text* without what could command the terminal; *lines* lets line breaks and tabs through."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if _commands(char) and not (lines and char in "\n\t") else char
        for char in text.replace("\r\n", "\n")
    )


def _commands(char: str) -> bool:
    """Tell whether *char* is a control character, or turns round what stands behind it."""
    return unicodedata.category(char) == "Cc" or unicodedata.bidirectional(char) in _TURNS


def _sentence(event: "BeerEvent", *, whole: bool = False) -> Text:
    """Return who did what, as far as it is known who."""
    what = _deed(event, event.WhichOneof("data") or "", whole=whole)
    # Who comes first: behind it the name of a beer could pretend to be somebody.
    return Text.assemble((printable(event.actor), "bold"), " ", what) if event.actor else what


def _deed(event: "BeerEvent", kind: str, *, whole: bool) -> Text:
    data = _event_data(event, kind)
    if not whole and data.get("description"):
        data["description"] = textwrap.shorten(data["description"], _GIST, placeholder=" …")
    match kind:
        case "beer_added":
            known = ", ".join(_detail(name, value) for name, value in data.items() if name != "name" and value)
            return Text.assemble(("added", "green"), f" {printable(data['name'])}", f" ({known})" if known else "")
        case "beer_name_changed":
            names = f" {printable(data['previous_name'])} → {printable(data['name'])}"
            return Text.assemble(("renamed", "yellow"), names)
        case "beer_details_changed":
            return Text.assemble(("changed", "yellow"), " ", ", ".join(_detail(*item) for item in data.items()))
        case "beer_removed":
            return Text("removed", style="red")
        case "beer_restored":
            return Text("restored", style="green")
    return Text("something that this version of beers does not know")


def _detail(name: str, value: str | float | None) -> str:
    if value is None or value == "":
        return f"{name} unknown"
    return f"{name} {number(value)}" if isinstance(value, float) else f"{name} {printable(value)}"


def _event_data(event: "BeerEvent", kind: str) -> dict[str, Any]:
    if not kind:
        return {}
    data = getattr(event, kind)
    names = [field.name for field in data.DESCRIPTOR.fields]
    if kind == "beer_details_changed":
        names = [name for name in names if name in data.changed.paths]
    return {name: None if name in ("abv", "ibu") and not data.HasField(name) else getattr(data, name) for name in names}


def _represented(time: "Timestamp") -> str:
    return time.ToDatetime(tzinfo=UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _local(time: "Timestamp") -> str:
    moment: datetime = time.ToDatetime(tzinfo=UTC).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S")
