"""What the pages are written with: Markdown that GitHub and the site read alike."""

import inspect
import re
from collections.abc import Iterable, Sequence


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; nothing if there are no *rows*."""
    lines = [_row(row) for row in rows]
    return "\n".join([_row(heading), "|" + "---|" * len(heading), *lines]) + "\n\n" if lines else ""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in cells) + " |"


def code(text: object) -> str:
    """Return *text* as code; nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def prose(text: str) -> str:
    """Return *text*, of a docstring or a comment, as Markdown: its code has single backticks, its lines are joined."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(_said(" ".join(paragraph.split())) for paragraph in paragraphs if paragraph.strip())


def _said(text: str) -> str:
    # Between backticks all is code, and stays as it is. Docstrings have *arguments* so.
    parts = re.sub(r"\*(\w+)\*", r"`\1`", text.replace("``", "`")).split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("*", r"\*") for part in parts[::2]]
    return "`".join(parts)


def number(value: float) -> str:
    """Return *value* with separators between its thousands, and no decimals that say nothing."""
    whole = int(value)
    return f"{whole:,}" if whole == value else f"{value:g}"
