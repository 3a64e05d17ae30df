"""The schema that a store has, and how it comes to the one that this version needs."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from beers_runtime.configuration import ConfigurationError
from beers_service import admin
from beers_service.domain import commands
from beers_service.envelope import envelope, message
from beers_service.store import migrations, schema
from beers_service.store.engine import connect, writing

from .conftest import Store, sql_store

TYPES = ("BeerAdded", "BeerNameChanged")
PAST = (
    '{"name":"Punk","brewery":"","style":"","abv":null,"ibu":null,"description":""}',
    '{"name":"Punk IPA","previous_name":"Punk"}',
)
"""What a store held before there were actors."""
OLD_EVENT = (
    "INSERT INTO events (position, beer_id, version, type, schema, time, request_id, correlation_id, data)"
    " VALUES (:position, 1, :position, :type, 1, 7, 'old', 'talk', :data)"
)


def test_the_migrations_lead_to_the_schema_that_the_code_uses(sql: Store) -> None:
    assert sql.engine is not None
    with sql.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_the_files_of_the_migrations_begin_with_their_revisions_in_the_order_of_the_history() -> None:
    history = ScriptDirectory(Path(migrations.__file__).parent).walk_revisions()
    assert [script.revision for script in history][::-1] == migrations.REVISIONS


def test_a_service_whose_store_is_current_does_without_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/beers.db"
    admin.migrate(url)
    looking = (
        "import sys; from beers_service import dependencies; from beers_service.store import engine, migrations;"
        f"migrations.require_current(engine.connect({url!r})); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", looking], check=False).returncode == 0


def test_migrating_twice_changes_nothing(sql: Store) -> None:
    assert sql.engine is not None
    log_id = sql.reader.head().log_id
    assert migrations.migrate(sql.engine).before == "0003"
    assert sql.reader.head().log_id == log_id


def test_a_store_of_before_is_refused_until_it_is_migrated_and_then_tells_its_past_without_an_actor(url: str) -> None:
    engine = connect(url)
    with writing(engine) as connection:
        migrations._upgrade(connection, "0001")
        for position in (1, 2):
            connection.execute(
                text(OLD_EVENT),
                {"position": position, "type": TYPES[position - 1], "data": PAST[position - 1]},
            )
        connection.execute(text("UPDATE log_head SET position = 2, last_beer_id = 1, time = 7"))
    with pytest.raises(ConfigurationError, match="is at revision 0001, this version needs 0003; run `beers admin"):
        migrations.require_current(engine)
    engine.dispose()

    assert admin.migrate(url) == migrations.Migration("0001", "0003")
    assert admin.rebuild(url, lambda *_: None) == 1
    store = sql_store(url)
    store.run(commands.rename(1, "Punk"), actor="till 3")
    events = store.reader.history(1)
    assert [(type(event.data).__name__, event.request_id, event.actor) for event in events] == [
        ("BeerAdded", "old", None), ("BeerNameChanged", "old", None), ("BeerNameChanged", "request-1", "till 3"),
    ]  # fmt: skip
    published = [json.loads(message(record, "log").body) for record in store.reader.records(0, 10)]
    assert published == [envelope(event, "log") for event in events]
    assert [document.get("actor", "nobody") for document in published] == ["nobody", "nobody", "till 3"]
    assert admin.verify(url, lambda *_: None).problems == []
    assert store.engine is not None
    store.engine.dispose()


def test_a_store_at_an_unknown_revision_is_refused_in_one_line(sql: Store) -> None:
    assert sql.engine is not None
    with sql.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for use in (migrations.require_current, migrations.migrate):
        with pytest.raises(ConfigurationError, match="at revision 9999, which this version does not know") as refused:
            use(sql.engine)
        assert "\n" not in str(refused.value)


def test_an_empty_embedded_store_is_migrated_on_the_way(tmp_path: Path) -> None:
    migrations.require_current(connect(f"sqlite:///{tmp_path}/var/beers.db"))
    assert sqlite3.connect(tmp_path / "var/beers.db").execute("SELECT position FROM log_head").fetchone() == (0,)


def test_an_empty_postgresql_asks_for_its_migration(postgres_url: str) -> None:
    with pytest.raises(ConfigurationError, match="the store is empty; run `beers admin migrate`"):
        migrations.require_current(connect(postgres_url))
