"""`beers watch`: tells what happens to the beers, as it happens, and hands it to other programs."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from beers_cli import presentation
from beers_cli.access import Calling
from beers_cli.options import DEFAULT_ADDRESS, INT64, Address, AsJson, connect, not_empty
from beers_cli.place import Place, kept_in
from beers_cli.stopping import Stop

if TYPE_CHECKING:
    from grpc_bridge.proto.beers.v1.beers_pb2 import BeerEvent, WatchBeersRequest, WatchBeersResponse

TYPES = {
    "added": "BeerAdded",
    "renamed": "BeerNameChanged",
    "changed": "BeerDetailsChanged",
    "removed": "BeerRemoved",
    "restored": "BeerRestored",
}
"""The types of events by the words that people use for them."""

_CALL_TIMEOUT = 10.0

commands = typer.Typer()


def _type(value: str) -> str:
    known = TYPES | {name.lower(): name for name in TYPES.values()}
    name = known.get(value.lower())
    if name is None:
        raise typer.BadParameter(f"must be one of {', '.join(TYPES)}; not {value!r}")
    return name


def _types(values: list[str] | None) -> list[str]:
    return [_type(value) for value in values or ()]


def _start(value: str) -> str:
    value = value.strip()
    number = value.isascii() and value.isdigit()
    # A token and an event's id have the log's id in front, and a colon behind that.
    if (number and int(value) > INT64["max"]) or not (number or ":" in value or value.lower() in {"now", "beginning"}):
        raise typer.BadParameter("must be now, beginning, a position such as 42, or a resume token or event id")
    return value


def _patience(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter("must be a number of seconds from 0")
    return value


@commands.command(cls=Calling)
def watch(
    *,
    start: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="now|beginning|POSITION|TOKEN",
            callback=_start,
            help="Where to begin: behind this position, or behind the event with this id.",
        ),
    ] = "now",
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="|".join(TYPES),
            callback=_types,
            help="Only events of this type; can be given several times. BeerAdded and so on will do as well.",
        ),
    ] = None,
    beer_ids: Annotated[
        list[int] | None,
        typer.Option(
            "--beer",
            metavar="ID",
            min=1,
            max=INT64["max"],
            help="Only events of this beer; can be given several times.",
        ),
    ] = None,
    until_caught_up: Annotated[
        bool, typer.Option("--until-caught-up", help="End once everything that was there at the start has been told.")
    ] = False,
    command: Annotated[
        str,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            callback=not_empty,
            help="Run this for each event, one after another, instead of printing it. No shell reads it.",
        ),
    ] = "",
    attempts: Annotated[
        int, typer.Option(metavar="N", min=1, help="How often to try the command with an event before giving up.")
    ] = 5,
    state: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            callback=not_empty,
            help="Keep the place in the log there, and go on from it: it counts more than --from.",
        ),
    ] = "",
    patience: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", callback=_patience, help="Give up after so long without any answer (default: never)."
        ),
    ] = None,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Follow the catalogue: what happens to its beers, as it happens, until Ctrl-C.

    When the service or the network goes away it waits, and goes on where it
    was, without a gap. Only an address where nobody has answered yet ends it
    at once, unless --state or --patience says that it is to wait.

    With --exec the command gets the event as JSON on its standard input, and
    BEERS_EVENT_TYPE, BEERS_EVENT_ID, BEERS_EVENT_POSITION and BEERS_BEER_ID
    in its environment. One that fails is tried again, ever more slowly; no
    event is skipped. With --state the next run begins behind the last event
    whose command ended with 0. It may get one event twice, if it was killed
    between the two: the event's id tells.

    \b
    beers watch
    beers watch --from beginning --type added --until-caught-up
    beers watch --beer 42 --json | jq .data
    beers watch --from beginning --state index.state --exec './index-beer --quiet'
    beers watch --exec 'sh -c "mail -s $BEERS_EVENT_TYPE brewer@example.org"'
    """  # noqa: D301 - \b keeps the lines of the examples apart
    with kept_in(state) as place, Stop() as stop, connect(address, _CALL_TIMEOUT) as catalogue:
        from beers_cli.following import Follower, Patience  # noqa: PLC0415 - see options.load_grpc

        take = _taker(command, attempts, address, place, stop, as_json=as_json)
        request = _request(place.token or start, types or [], beer_ids or [], resume=bool(place.token))
        waits = Patience(patience, at_once=patience is None and not state)
        follower = Follower(
            catalogue, request, waits, stop, lambda line: typer.echo(line, err=True), elsewhere=_elsewhere(place, state)
        )
        for response in follower.responses():
            _note_beginning(place, response)
            if not take(response.events.events):
                break
            place.move(response.resume_token, _position(response))
            if until_caught_up and response.HasField("caught_up"):
                break
    stop.raise_if_interrupted()


def _request(start: str, types: Sequence[str], beer_ids: Sequence[int], *, resume: bool) -> "WatchBeersRequest":
    from grpc_bridge.proto.beers.v1.beers_pb2 import WatchBeersRequest  # noqa: PLC0415 - see options.load_grpc

    request = WatchBeersRequest(types=types, beer_ids=beer_ids)
    if resume:
        request.resume_token = start
    elif start.lower() == "now":
        request.from_now = True
    elif start.lower() == "beginning":
        request.from_beginning = True
    elif start.isascii() and start.isdigit():
        request.after_position = int(start)
    else:
        request.resume_token = start
    return request


def _note_beginning(place: Place, response: "WatchBeersResponse") -> None:
    """Keep the place before the first events: a run that is done with none of them has begun there all the same."""
    events = response.events.events
    if events and not place.token:
        log_id = events[0].id.rpartition(":")[0]
        place.move(f"{log_id}:{events[0].position - 1}", events[0].position - 1)


def _elsewhere(place: Place, state: str) -> str:
    options = "--from beginning, --from now, or --from and a position of this log"
    return f"To begin elsewhere, delete {state} and say {options}." if place.token else f"Begin elsewhere: {options}."


Take = Callable[[Sequence["BeerEvent"]], bool]
"""Does something with events; False if it did not come to the end of them, because an end is wanted."""


def _taker(command: str, attempts: int, address: str, place: Place, stop: Stop, *, as_json: bool) -> Take:
    if not command:
        return _print_json_lines if as_json else _print_lines
    from beers_cli import handing  # noqa: PLC0415 - see options.load_grpc

    handler = handing.Handler(handing.parse(command), attempts, address, stop)

    def hand_over(events: Sequence["BeerEvent"]) -> bool:
        for event in events:
            if stop.wanted or not handler.take(presentation.event_document(event)):
                return False
            place.move(event.id, event.position)
        return True

    return hand_over


def _print_lines(events: Sequence["BeerEvent"]) -> bool:
    if events:
        lines = Text("\n").join(presentation.event_line(event) for event in events)
        presentation.console().print(lines, soft_wrap=True)
        sys.stdout.flush()
    return True


def _print_json_lines(events: Sequence["BeerEvent"]) -> bool:
    if events:
        lines = (json.dumps(presentation.event_document(event), ensure_ascii=False) for event in events)
        typer.echo("\n".join(lines))
        sys.stdout.flush()
    return True


def _position(response: "WatchBeersResponse") -> int | None:
    """Return the position that the resume token of *response* stands for."""
    kind: Any = response.WhichOneof("response")
    if kind == "events":
        return response.events.events[-1].position if response.events.events else None
    return getattr(response, kind).position if kind else None
