"""The tutorial and the how-to guides: their commands are run, in order, and print what the pages show.

One reader follows them all, in one folder and on one product. The tutorial comes first, on an empty catalogue.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from beers_cli.rabbitmq import RabbitMQNode
from beers_service.domain.commands import Add
from beers_service.store import migrations
from beers_service.store.engine import connect
from beers_service.store.event_log import SqlEventLog
from beers_service.store.reader import SqlReader
from beers_service.writer import Request, Writer
from tests.docs.pages import ROOT, Block, blocks, practical
from tests.docs.reader import POSTGRESQL, Reader
from tests.nodes import PostgreSQLNode

pytestmark = pytest.mark.timeout(300)  # a page is a dozen programs, one after another

PAGES = practical()
FOLLOWED = [page for page in PAGES if any(not block.reason for block in blocks(page))]
NODE = ROOT / "build" / "docs-node"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, rabbitmq_node: RabbitMQNode) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("checkout"), rabbitmq_node.uri)
    try:
        yield reader
    finally:
        reader.leave()


@pytest.fixture
def with_postgresql(reader: Reader, postgres_node: PostgreSQLNode) -> str:
    """A PostgreSQL that has a database `beers`, as the pages call it; return its URL."""
    programs = postgres_node.programs
    reader.add_to_path(programs)
    reader.stands_for[POSTGRESQL] = f"127.0.0.1:{postgres_node.port}"
    at = ["-h", "127.0.0.1", "-p", str(postgres_node.port), "-U", "beers"]
    for name in ("beers", "beers_restored"):
        subprocess.run([programs / "dropdb", "--if-exists", *at, name], check=True, capture_output=True)
    subprocess.run([programs / "createdb", *at, "beers"], check=True)
    return f"postgresql+psycopg2://beers@127.0.0.1:{postgres_node.port}/beers"


def test_every_page_to_follow_is_looked_at() -> None:
    assert {"tutorial.md", "how-to/subscribe.md", "how-to/clients.md", "how-to/restore.md"} <= set(FOLLOWED)


def test_the_tutorial_does_what_it_says(reader: Reader) -> None:
    reader.follow(blocks("tutorial.md"))


def test_the_catalogue_is_followed_as_the_page_says(reader: Reader) -> None:
    reader.follow(blocks("how-to/subscribe.md"))


def test_clients_are_written_as_the_page_says(reader: Reader, say: Callable[[str], None]) -> None:
    told = list(blocks("how-to/clients.md"))
    install = next(block for block in told if block.code.startswith("npm install "))
    told.remove(install)
    missing = without_node(install, reader.folder, say)
    reader.follow(block for block in told if not (missing and block.section == "Node"))
    if missing:
        pytest.skip(f"the client in Node was not run: {missing}")


def test_a_store_is_migrated_as_the_page_says(reader: Reader, with_postgresql: str) -> None:
    assert with_postgresql
    reader.follow(blocks("how-to/migrate.md"))


def test_a_backup_is_restored_as_the_page_says(reader: Reader, with_postgresql: str) -> None:
    engine = connect(with_postgresql)
    migrations.migrate(engine)
    writer = Writer(SqlEventLog(engine), SqlReader(engine), lambda: datetime.now(UTC), lambda: None)
    for name in ("Punk IPA", "Jever"):
        beer = Add(name, brewery="", style="", abv=None, ibu=None, description="")
        writer.submit([Request(commands=(beer,), request_id=name, correlation_id="conversation")])
    engine.dispose()
    reader.follow(blocks("how-to/restore.md"))


def test_no_page_with_commands_to_follow_goes_unread() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    assert [page for page in FOLLOWED if f'blocks("{page}")' not in here] == []


def test_the_pages_name_no_target_that_make_does_not_have() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    typed = "".join(block.code for page in PAGES for block in blocks(page) if block.language == "sh")
    assert set(re.findall(r"^make ([a-z-]+)", typed, re.MULTILINE)) <= targets


def without_node(install: Block, folder: Path, say: Callable[[str], None]) -> str:
    """Install what the page's client in Node needs, once for all runs; return why that cannot be, or nothing."""
    if not (shutil.which("node") and shutil.which("npm")):
        return "there is no node, or no npm"
    done = NODE / "installed"
    if not done.exists() or done.read_text() != install.code:
        say(f"{install.code.strip()} …")
        NODE.mkdir(parents=True, exist_ok=True)
        options = "--no-save --no-audit --no-fund --ignore-scripts --loglevel=error"
        ended = subprocess.run(
            ["sh", "-c", f"{install.code.strip()} {options} --prefix ."],
            cwd=NODE,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        if ended.returncode:
            return f"npm cannot install what it needs: {ended.stderr.strip()[-200:]}"
        done.write_text(install.code)
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    return ""
