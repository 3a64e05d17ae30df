"""`beers import`: adds the beers of a file, many at a time, each exactly once however often it is run."""

import itertools
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beers_cli.access import Calling
from beers_cli.failure import Failure
from beers_cli.options import DEFAULT_ADDRESS, Address, AsJson, Timeout, connect, print_json
from beers_cli.progress import Progress
from beers_cli.rows import FORMATS, Refused, Source, guess_format

if TYPE_CHECKING:
    from beers_cli.client import Catalogue
    from beers_cli.importer import Summary

commands = typer.Typer()


@commands.command("import", cls=Calling)
def import_beers(
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to read; - is standard input.")],
    file_format: Annotated[
        str, typer.Option("--format", metavar="csv|jsonl", help="Guessed from the name or the content if not given.")
    ] = "",
    keep_zero: Annotated[
        bool, typer.Option("--keep-zero", help="0 in abv and ibu is a zero; without this it means unknown.")
    ] = False,
    patience: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Give up after so long without any answer.")
    ] = 60.0,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = 10.0,
) -> None:
    """Add the beers of a CSV or JSON Lines file.

    Reads the columns name, brewery, style, abv, ibu and description; the first is required. Empty and 0 in abv and
    ibu mean unknown. Rows that are refused are reported with their line, and the rest goes on.

    Running it again adds nothing twice, also after an interruption and with rows appended, for as long as the
    service remembers requests (7 days unless it is set up otherwise). The exit status is 1 if a row was refused.
    """
    if file_format and file_format not in FORMATS:
        raise typer.BadParameter("--format must be csv or jsonl")
    with _opened(file) as opened, connect(address, timeout) as catalogue:
        start = opened.peek(4096)
        source = Source(opened, file_format or guess_format(file, start), keep_zero=keep_zero)
        summary = _import(source, catalogue, patience, as_json=as_json, size=_size(file))
    if as_json:
        refusals = [refusal.document() for refusal in summary.refusals]
        print_json(
            asdict(summary) | {"refused": len(refusals), "refusals": refusals, "ignored_columns": source.ignored}
        )
    else:
        typer.echo(summary.sentence)
    if summary.refusals:
        raise typer.Exit(1)


def _import(source: Source, catalogue: "Catalogue", patience: float, *, as_json: bool, size: int | None) -> "Summary":
    from beers_cli.importer import Importer, Summary  # noqa: PLC0415 - see options.load_grpc

    summary = Summary()
    rows = source.rows()
    with Progress("imported", size) as progress:
        try:
            first = next(rows, None)  # a file that is none of beers is refused before anything is sent
            if source.ignored:
                progress.say(f"Columns that are not read: {', '.join(source.ignored)}")

            def on_progress(refusal: Refused | None, position: int) -> None:
                if refusal is not None and not as_json:
                    at = f"{refusal.field}: " if refusal.field else ""
                    progress.say(f"{refusal.place}: {at}{refusal.reason}")
                progress.update(summary.done, position)

            remaining = rows if first is None else itertools.chain([first], rows)
            Importer(catalogue, summary, patience, on_progress).run(remaining, source)
        except (Failure, KeyboardInterrupt):
            if summary.read:
                progress.say(f"Not finished. {summary.sentence}")
                progress.say("Run the same command again: what is there already is not added twice.")
            raise
    return summary


def _opened(file: str) -> Any:
    if file == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise Failure(f"Cannot read {file}: {error.strerror}.") from error


def _size(file: str) -> int | None:
    path = Path(file)
    return path.stat().st_size if file != "-" and path.is_file() else None
