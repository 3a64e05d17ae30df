"""The documentation site: it is built without a complaint, and fetches nothing from elsewhere."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest

from scripts.source_links import on_page_markdown
from tests.docs.pages import DOCS, ROOT

FETCHED = {
    "link": "href",
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "object": "data",
    "use": "href",
}
"""What a browser fetches by itself: elements, and the attributes that say where from."""

SOURCE_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Fetched(HTMLParser):
    """Collects what a page makes a browser fetch, and the classes of its elements."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.classes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.classes.update(given.get("class", "").split())
        address = given.get(FETCHED.get(tag, ""), "")
        if address and not (tag == "link" and given.get("rel") in {"next", "prev", "canonical"}):
            self.addresses.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "SOURCE_URL": "https://source.example/beers"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def fetched(site: Path) -> Iterator[tuple[Path, Fetched]]:
    for page in sorted(site.rglob("*.html")):
        parser = Fetched()
        parser.feed(page.read_text(encoding="utf-8"))
        yield page, parser


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    pages = list(fetched(site))
    assert len(pages) > 40
    for page, parser in pages:
        assert parser.addresses, page
        assert [address for address in parser.addresses if urlsplit(address).netloc] == [], page
        # At this class the theme would fetch a library of diagrams from a host of its own choice.
        assert "mermaid" not in parser.classes, page


def test_no_stylesheet_fetches_anything_from_elsewhere(site: Path) -> None:
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        found = re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"';]*", sheet.read_text(encoding="utf-8"))
        assert found == [], sheet


def test_whatever_a_page_fetches_is_there(site: Path) -> None:
    for page, parser in fetched(site):
        for address in parser.addresses:
            path = unquote(urlsplit(address).path)
            file = site / path.lstrip("/") if path.startswith("/") else page.parent / path
            assert file.exists(), f"{page}: {address}"


def test_a_link_to_the_source_leads_to_where_it_is_read(site: Path) -> None:
    assert 'href="https://source.example/beers/k8s"' in (site / "kubernetes.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("link", "source_url", "made"),
    [
        ("[a](../k8s/base#x)", "", "a"),
        ("[a](../k8s/base#x)", "https://source.example/beers/", "[a](https://source.example/beers/k8s/base#x)"),
        ("[a](other.md)", "", "[a](other.md)"),
        ("[a](../docs/other.md)", "", "[a](../docs/other.md)"),
    ],
)
def test_only_a_link_out_of_the_documentation_is_changed(link: str, source_url: str, made: str) -> None:
    assert rewritten(link, source_url) == made


def test_a_link_to_a_file_that_is_not_there_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    rewritten("[a](../none.py)", "")
    assert "page.md links to ../none.py, which is not there" in caplog.text


def rewritten(markdown: str, source_url: str) -> str:
    """Return what the hook makes of a page."""
    page = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))
    return on_page_markdown(markdown, page=page, config={"docs_dir": str(DOCS), "extra": {"source_url": source_url}})


def test_the_search_knows_the_pages(site: Path) -> None:
    assert "max_connection_age" in (site / "search" / "search_index.json").read_text(encoding="utf-8").lower()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/decisions/README.md", "docs/index.md"])
def test_links_hold_where_the_source_is_read(name: str) -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for address in SOURCE_LINK.findall(text):
        parts = urlsplit(address)
        if parts.scheme:
            continue
        file = (ROOT / name).parent / parts.path if parts.path else ROOT / name
        assert file.exists(), address
        if parts.fragment:
            assert parts.fragment in anchors(file), address


def test_each_decision_is_in_the_list() -> None:
    listed = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    assert [one.name for one in DOCS.glob("decisions/0*.md") if f"({one.name})" not in listed] == []


def anchors(file: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
