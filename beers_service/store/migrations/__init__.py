"""The schema's history (Alembic), and the check that a store has come to its end."""

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from beers_runtime.configuration import ConfigurationError
from beers_service.store.engine import reading, writing

_LOCK_KEY = 0x62656572  # "beer" in ASCII


@dataclass(frozen=True, slots=True)
class Migration:
    """What a migration did: the revisions before and after it; None stands for an empty store."""

    before: str | None
    after: str


def migrate(engine: Engine) -> Migration:
    """Bring the store to the newest revision, all of the way or not at all.

    Raises:
        ConfigurationError: If the store is at a revision that this version does not know.
        StoreUnavailable: If the store does not answer.
    """
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        before = _known_revision(connection)
        command.upgrade(_config(connection), "head")
        return Migration(before, _newest())


def require_current(engine: Engine, *, begin: bool = True) -> None:
    """Make sure that the store can be used; an empty SQLite store is migrated on the way if one may *begin* there.

    Raises:
        ConfigurationError: If the store is empty, older, or at a revision that this version does not know.
        StoreUnavailable: If the store does not answer.
    """
    with reading(engine) as connection:
        revision = _known_revision(connection)
    if revision == _newest():
        return
    if begin and revision is None and engine.dialect.name == "sqlite":
        migrate(engine)
        return
    state = "is empty" if revision is None else f"is at revision {revision}, this version needs {_newest()}"
    raise ConfigurationError(f"DATABASE_URL: the store {state}; run `beers admin migrate`")


def _known_revision(connection: Connection) -> str | None:
    revision = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision is not None and revision not in known:
        raise ConfigurationError(
            f"DATABASE_URL: the store is at revision {revision}, which this version does not know; run a newer version"
        )
    return revision


def _newest() -> str:
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    if newest is None:
        raise LookupError("there are no migrations")
    return newest


def _config(connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
