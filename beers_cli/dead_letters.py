"""`beers admin dead-letters`: the messages that nobody could do anything with."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from beers_cli.failure import Failure
from beers_cli.options import AmqpUri, AsJson, broker_uri, print_json, queue_name
from beers_cli.progress import Progress
from beers_runtime import configuration

if TYPE_CHECKING:
    from beers_service.dead_letter_queue import DeadLetter, DeadLetterQueue

commands = typer.Typer(no_args_is_help=True, help="Look at dead letters, send them back, or throw them away.")

Queue = Annotated[
    str,
    typer.Option(
        "--queue", metavar="NAME", callback=queue_name, help="The dead-letter queue of a service or a subscriber."
    ),
]
Number = Annotated[
    int | None, typer.Argument(metavar="N", min=1, help="The letter's number, as `list` shows it.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="All of them.")]

_DEFAULT = "beers.dead-letters"


@commands.command("list")
def list_letters(*, queue: Queue = _DEFAULT, amqp_uri: AmqpUri = "", as_json: AsJson = False) -> None:
    """List the letters, oldest first, and leave them where they are."""
    # The queue is let go of before anything is printed: a pager may keep us for long.
    with _opened(queue, amqp_uri) as letters:
        if as_json:
            documents = [_document(letter) for letter in letters.letters()]
        else:
            rows = [_row(letter) for letter in letters.letters()]
    if as_json:
        print_json(documents)
        return
    from rich import box  # noqa: PLC0415 - only where a table is shown
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from beers_cli.presentation import console, printable  # noqa: PLC0415

    if rows:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("N", "ID", "TYPE", "REASON", "ATTEMPTS", "WHEN"):
            right = column in {"N", "ATTEMPTS"}
            table.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=column == "N")
        for cells in rows:
            table.add_row(*(Text(printable(str(cell or "-"))) for cell in cells))
        console().print(table)
    noun = "letter" if len(rows) == 1 else "letters"
    console().print(Text(f"{len(rows) or 'No'} {noun} in {queue}.", style="dim"))


@commands.command()
def show(
    number: Annotated[int, typer.Argument(metavar="N", min=1, help="The letter's number, as `list` shows it.")],
    *,
    queue: Queue = _DEFAULT,
    amqp_uri: AmqpUri = "",
    as_json: AsJson = False,
) -> None:
    """Show a letter, all of it."""
    with _opened(queue, amqp_uri) as letters:
        found = None
        for letter in letters.letters(number):
            found = letter if letter.number == number else None
    if found is None:
        raise Failure(
            f"There is no letter {number} in {queue}.", "`beers admin dead-letters list` shows which there are."
        )
    document = _document(found)
    if as_json:
        print_json(document)
        return
    from beers_cli.presentation import printable  # noqa: PLC0415

    body = document.pop("body")
    for name, value in document.items():
        if value not in ("", {}, None):
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
            typer.echo(f"{name + ':':<13}{printable(text)}")
    typer.echo()
    pretty = body if isinstance(body, str) else orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()
    typer.echo(printable(pretty, lines=True))


@commands.command()
def replay(
    number: Number = None,
    *,
    everything: All = False,
    queue: Queue = _DEFAULT,
    amqp_uri: AmqpUri = "",
    as_json: AsJson = False,
) -> None:
    """Send a letter, or all, back to the queue that it came from, as if it had never been tried."""
    chosen = _chosen(number, everything=everything)
    with _opened(queue, amqp_uri) as letters, Progress("replayed", None) as progress:
        count = letters.replay(chosen, lambda done: progress.update(done, done))
    _report("replayed", count, as_json=as_json)


@commands.command()
def drop(
    number: Number = None,
    *,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    queue: Queue = _DEFAULT,
    amqp_uri: AmqpUri = "",
    as_json: AsJson = False,
) -> None:
    """Throw a letter away, or all."""
    chosen = _chosen(number, everything=everything)
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("nobody is there to be asked: give --yes to throw letters away")
        what = f"letter {number}" if chosen else "all letters"
        typer.confirm(f"Throw away {what} of {queue} for good?", abort=True)
    with _opened(queue, amqp_uri) as letters:
        count = letters.drop(chosen)
    _report("dropped", count, as_json=as_json)


def _chosen(number: int | None, *, everything: bool) -> set[int] | None:
    if everything == (number is not None):
        raise typer.BadParameter("give the number of a letter, or --all")
    return None if number is None else {number}


def _report(verb: str, count: int, *, as_json: bool) -> None:
    if as_json:
        print_json({verb: count})
    else:
        typer.echo(f"{count:,} {'letter' if count == 1 else 'letters'} {verb}.")


@contextmanager
def _opened(queue: str, amqp_uri: str) -> "Iterator[DeadLetterQueue]":
    # Loaded only here: hardly another command needs AMQP.
    from beers_service.dead_letter_queue import DeadLetterQueue, QueueUnusable  # noqa: PLC0415

    uri = broker_uri(amqp_uri)
    try:
        yield DeadLetterQueue(uri, queue)
    except QueueUnusable as error:
        hint = f"The broker is {configuration.without_password(uri)}; --amqp-uri names another, --queue another queue."
        raise Failure(f"{str(error)[0].upper()}{str(error)[1:]}.", hint) from error


def _told(letter: "DeadLetter") -> dict[str, Any]:
    """Return what the event in *letter* is, as far as it is one."""
    body = _json(letter)
    told = body if isinstance(body, dict) else {}
    return {name: told.get(name, "") for name in ("id", "position", "type")}


def _row(letter: "DeadLetter") -> tuple[Any, ...]:
    """Return what the list shows of *letter*, without its body."""
    told = _told(letter)
    return str(letter.number), told["id"], told["type"], letter.reason, str(letter.attempts), letter.time


def _document(letter: "DeadLetter") -> dict[str, Any]:
    body = _json(letter)
    readable = letter.body.decode("utf-8", "backslashreplace") if body is None else body
    return {**asdict(letter), **_told(letter), "body": readable}


def _json(letter: "DeadLetter") -> Any:
    try:
        return orjson.loads(letter.body)
    except orjson.JSONDecodeError:
        return None
