"""`beers export`: writes what `beers import` reads."""

import csv
import io
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import orjson
import typer

from beers_cli.access import Calling
from beers_cli.failure import Failure
from beers_cli.options import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, Address, Timeout, connect
from beers_cli.presentation import beer_document, number
from beers_cli.progress import Progress
from beers_cli.rows import COLUMNS, FORMATS

if TYPE_CHECKING:
    from grpc_bridge.proto.beers.v1.beers_pb2 import Beer

commands = typer.Typer()


@commands.command("export", cls=Calling)
def export_beers(
    *,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Written when all is read; - is standard output.")
    ] = "-",
    file_format: Annotated[
        str, typer.Option("--format", metavar="csv|jsonl", help="By default as the file's name says, else csv.")
    ] = "",
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Write the catalogue, as `beers import` reads it: what is there now, without ids, history and removed beers."""
    chosen = file_format or ("jsonl" if output.endswith((".jsonl", ".ndjson", ".json")) else "csv")
    if chosen not in FORMATS:
        raise typer.BadParameter("--format must be csv or jsonl")
    represent = _csv_line if chosen == "csv" else _json_line
    with connect(address, timeout) as catalogue, _destination(output) as write:
        # One page before the file is begun: a service that does not answer leaves none.
        count, zeros = _write(catalogue.list(order_by="id"), represent, write, header=chosen == "csv")
    if output != "-":
        typer.echo(f"{count:,} beers written to {output}.", err=True)
    if zeros:
        typer.echo(f"{zeros:,} of them have a known 0 in abv or ibu: import them with --keep-zero.", err=True)


def _write(
    beers: "Iterator[Beer]", represent: "Callable[[Beer], bytes]", write: Callable[[bytes], object], *, header: bool
) -> tuple[int, int]:
    if header:
        write((",".join(COLUMNS) + "\n").encode())
    count = zeros = 0
    with Progress("exported", None) as progress:
        for count, beer in enumerate(beers, start=1):
            write(represent(beer))
            zeros += (beer.HasField("abv") and not beer.abv) or (beer.HasField("ibu") and not beer.ibu)
            progress.update(count, count)
    return count, zeros


def _csv_line(beer: "Beer") -> bytes:
    line = io.StringIO()
    document = beer_document(beer)
    values = [number(value) if isinstance(value := document[name], float) else value for name in COLUMNS]
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue().encode()


def _json_line(beer: "Beer") -> bytes:
    document = beer_document(beer)
    return orjson.dumps({name: document[name] for name in COLUMNS}, option=orjson.OPT_APPEND_NEWLINE)


@contextmanager
def _destination(output: str) -> Iterator[Callable[[bytes], object]]:
    if output == "-":
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    try:
        with _complete(output) if _can_be_replaced(output) else Path(output).open("wb") as file:
            yield file.write
    except OSError as error:
        raise Failure(f"Cannot write {output}: {error.strerror}.") from error


def _can_be_replaced(output: str) -> bool:
    """Tell whether *output* is a file, or nothing yet, and no device, pipe or folder."""
    try:
        return stat.S_ISREG(Path(output).stat().st_mode)
    except FileNotFoundError:
        return True


@contextmanager
def _complete(output: str) -> Iterator[BinaryIO]:
    """Open a file that becomes *output* once it is complete; an interrupted export leaves that of before alone.

    A link stays one: what it points to is written.
    """
    path = Path(os.path.realpath(output))  # unlike `Path.resolve` it leaves a circle of links to whoever opens it
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}.unfinished")
    with unfinished.open("xb") as file:
        try:
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
