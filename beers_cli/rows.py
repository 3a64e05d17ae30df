"""Rows of beers in files: CSV and JSON Lines, read with the line on which each starts.

What cannot be read as a beer becomes a `Refused`, and reading goes on behind it.
"""

import csv
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import orjson

from beers_cli.failure import Failure

COLUMNS = ("name", "brewery", "style", "abv", "ibu", "description")
FORMATS = ("csv", "jsonl")

_QUANTITIES = ("abv", "ibu")
_DELIMITERS = (",", ";", "\t")
_LONGEST_FIELD = 64 * 2**20
_LONGEST_LINE = 64 * 2**20
_UNCLOSED = "the quote that opens here is never closed"

Lines = tuple[int, int]
"""The first and the last of a row's lines."""


@dataclass(frozen=True, slots=True)
class Row:
    """A beer to be added.

    Attributes:
        lines: The lines of the file on which it starts and ends, from 1.
        details: Its fields by name; None for an unknown number.
        request_id: Made from the content, and the how-manieth row with just this content it is.
    """

    lines: Lines
    details: Mapping[str, str | float | None]
    request_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that will not become a beer: its lines, the field at fault if it is one, and why."""

    lines: Lines
    field: str
    reason: str

    @property
    def place(self) -> str:
        """Where it is, in words. A stray quote makes one row of all lines up to the next: none goes untold."""
        first, last = self.lines
        return f"line {first}" if first == last else f"lines {first} to {last}"

    def document(self) -> dict[str, Any]:
        """Return the refusal as JSON."""
        first, last = self.lines
        return {"line": first, "last_line": last, "field": self.field, "reason": self.reason}


@dataclass(slots=True)
class Source:
    """A file of beers, read once from start to end.

    Attributes:
        format: csv or jsonl.
        ignored: The columns that the file has beyond ours; known as reading goes on.
        read: Bytes read so far.
    """

    file: BinaryIO
    format: str
    keep_zero: bool = False
    ignored: list[str] = field(default_factory=list)
    read: int = 0
    _seen: Counter[bytes] = field(default_factory=Counter)

    def rows(self) -> Iterator[Row | Refused]:
        """Yield the rows in order.

        Raises:
            Failure: If the file as a whole cannot be one of beers: no column called name, no text.
        """
        return self._csv() if self.format == "csv" else self._json_lines()

    def _lines(self) -> Iterator[bytes]:
        for number, line in enumerate(iter(lambda: self.file.readline(_LONGEST_LINE), b"")):
            self.read += len(line)
            if len(line) == _LONGEST_LINE:
                reason = f"Line {number + 1} of the file is longer than {_LONGEST_LINE >> 20} MB."
                raise Failure(reason, "A beer takes less; is this a file of beers?")
            if number == 0:
                if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise Failure("The file is in UTF-16.", "Convert it to UTF-8 first: iconv -f UTF-16 -t UTF-8")
                yield line.removeprefix(b"\xef\xbb\xbf")
            else:
                yield line

    def _csv(self) -> Iterator[Row | Refused]:
        csv.field_size_limit(_LONGEST_FIELD)
        text = (line.decode("utf-8", "surrogateescape") for line in self._lines())
        first = next(text, "")
        delimiter = next((mark for mark in _DELIMITERS if "name" in _header([first], mark)), ",")
        reader = csv.reader(_chained(first, text), delimiter=delimiter, strict=True)
        try:
            header = [name.strip().lower() for name in next(reader, [])]
        except csv.Error as error:
            raise Failure(f"The first line is no CSV header: {error}.") from error
        self._check(header)
        while True:
            start = reader.line_num + 1
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                reason = _UNCLOSED if "unexpected end" in str(error) else f"this is not CSV: {error}"
                yield Refused((start, reader.line_num), "", reason)
                continue
            if not values:
                continue  # an empty line
            lines = (start, reader.line_num)
            if len(values) != len(header):
                yield Refused(lines, "", f"it has {len(values)} columns, the header has {len(header)}")
                continue
            yield self._row(lines, dict(zip(header, values, strict=True)), _quantity_in_text)

    def _json_lines(self) -> Iterator[Row | Refused]:
        for number, raw in enumerate(self._lines(), start=1):
            if not raw.strip():
                continue
            lines = (number, number)
            try:
                document = orjson.loads(raw)
            except orjson.JSONDecodeError as error:
                yield Refused(lines, "", f"this is not JSON: {error}")
                continue
            if not isinstance(document, dict):
                yield Refused(lines, "", 'this is JSON, but no object such as {"name": "Punk IPA"}')
                continue
            self._note(document)
            wrong = next((name for name in COLUMNS if not _has_type(name, document.get(name))), None)
            if wrong is not None:
                kind = "a number" if wrong in _QUANTITIES else "text"
                yield Refused(lines, wrong, f"must be {kind}, not {orjson.dumps(document[wrong]).decode()[:40]}")
                continue
            yield self._row(lines, document, _quantity_in_json)

    def _check(self, header: list[str]) -> None:
        if "name" not in header:
            found = ", ".join(repr(name) for name in header[:10]) or "nothing"
            raise Failure(
                f"The file has no column called name; its first line holds {found}.",
                f"The first line must name the columns, of which these are read: {', '.join(COLUMNS)}",
            )
        twice = [name for name, count in Counter(header).items() if count > 1 and name in COLUMNS]
        if twice:
            raise Failure(f"The file has more than one column called {twice[0]}.")
        self._note(header)

    def _note(self, names: Iterable[str]) -> None:
        self.ignored += [name for name in names if name not in COLUMNS and name not in self.ignored]

    def _row(
        self, lines: Lines, values: Mapping[str, Any], quantity: Callable[[str, Any], float | None]
    ) -> Row | Refused:
        details: dict[str, str | float | None] = {}
        for name in COLUMNS:
            value = values.get(name)
            if name in _QUANTITIES:
                try:
                    details[name] = quantity(name, value)
                except ValueError as error:
                    return Refused(lines, name, str(error))
                if details[name] == 0 and not self.keep_zero:
                    details[name] = None
            else:
                text = value.strip() if value else ""
                if any("\ud800" <= char <= "\udfff" for char in text):
                    return Refused(lines, name, "must be UTF-8")
                details[name] = text
        return Row(lines, details, self._request_id(details))

    def _request_id(self, details: Mapping[str, Any]) -> str:
        content = json.dumps([details[name] for name in COLUMNS], ensure_ascii=False, separators=(",", ":")).encode()
        digest = hashlib.sha256(content).digest()
        self._seen[digest] += 1
        # The content once more with its number: rows appended to the file leave the ids of those before them alone.
        return "import-" + hashlib.sha256(digest + str(self._seen[digest]).encode()).hexdigest()


def guess_format(name: str, start: bytes) -> str:
    """Return the format of the file called *name* that begins with *start*."""
    ending = name.lower().rpartition(".")[2]
    if ending in ("csv", "tsv"):
        return "csv"
    if ending in ("jsonl", "ndjson", "json"):
        return "jsonl"
    return "jsonl" if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"[")) else "csv"


def _header(lines: list[str], delimiter: str) -> list[str]:
    return [name.strip().strip('"').lower() for name in lines[0].split(delimiter)]


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _quantity_in_text(name: str, value: str | None) -> float | None:
    text = (value or "").strip()
    if name == "abv":
        text = text.removesuffix("%").rstrip()  # it is percent in any case
    if not text:
        return None
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError(f"must be a number such as 4.5, not {text[:40]!r}") from error
    if not math.isfinite(number):
        raise ValueError(f"must be a number such as 4.5, not {text!r}")
    return number


def _quantity_in_json(name: str, value: str | float | None) -> float | None:
    return float(value) if isinstance(value, int | float) else _quantity_in_text(name, value)


def _has_type(name: str, value: object) -> bool:
    if value is None or isinstance(value, str):
        return True
    return name in _QUANTITIES and isinstance(value, int | float) and not isinstance(value, bool)
