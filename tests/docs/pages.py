"""The pages that tell how something is done, and the blocks of code in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

# A fence, and what stands on the line before it.
_FENCE = re.compile(r"^(?P<before>[^\n]*)\n+```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
_MARK = re.compile(r"^\*Not run by the tests: (?P<reason>.+)\*$", re.MULTILINE)
_FILE = re.compile(r"(?:#|//) (?P<name>[\w.-]+\.\w+)\n")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: The path of its page, below the documentation's folder.
        section: The heading of the section that it is in.
        line: The line on which it begins.
        language: What the fence says that it is.
        code: What is in it.
        reason: Why the tests do not run it; empty if they do.
    """

    page: str
    section: str
    line: int
    language: str
    code: str
    reason: str

    @property
    def file(self) -> str:
        """The name of the file that the reader is to save it as; empty if it is none."""
        found = _FILE.match(self.code)
        return found["name"] if found else ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def practical() -> list[str]:
    """Return the paths of the pages with commands to follow: the site's tutorial and its how-to guides."""
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    sections = re.findall(r"^  - (?:Tutorial|How-to guides):(.*?)(?=^  - |\Z)", navigation, re.DOTALL | re.MULTILINE)
    return [page for section in sections for page in re.findall(r"[\w/-]+\.md", section)]


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page, in order. A mark above the page's first section is for all of them."""
    text = (DOCS / page).read_text(encoding="utf-8")
    all_of_it = _MARK.search(text.partition("\n## ")[0])
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start("code"))
        section = text[: found.start()].rpartition("\n## ")[2].partition("\n")[0]
        mark = _MARK.match(found["before"]) or all_of_it
        yield Block(page, section, line, found["language"], found["code"], mark["reason"] if mark else "")
