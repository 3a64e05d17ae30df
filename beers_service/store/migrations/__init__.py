"""The schema's history (Alembic), and the check that a store has come to its end.

The history is a line, and each file of `versions` begins with its revision: so the check does without Alembic, which
takes a sixth of the time in which a service starts.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from beers_runtime.configuration import ConfigurationError
from beers_service.store.engine import lift_time_limit, reading, writing

REVISIONS = sorted(file.name.partition("_")[0] for file in (Path(__file__).parent / "versions").glob("[0-9]*_*.py"))
"""The revisions that this version knows, oldest first."""

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
        lift_time_limit(connection)
        before = _known_revision(connection)
        _upgrade(connection)
        return Migration(before, REVISIONS[-1])


def require_current(engine: Engine, *, begin: bool = True) -> None:
    """Make sure that the store can be used; an empty SQLite store is migrated on the way if one may *begin* there.

    Raises:
        ConfigurationError: If the store is empty, older, or at a revision that this version does not know.
        StoreUnavailable: If the store does not answer.
    """
    with reading(engine) as connection:
        revision = _known_revision(connection)
    if revision == REVISIONS[-1]:
        return
    if begin and revision is None and engine.dialect.name == "sqlite":
        migrate(engine)
        return
    state = "is empty" if revision is None else f"is at revision {revision}, this version needs {REVISIONS[-1]}"
    # Only the URL of a file can hold no password.
    which = f"DATABASE_URL={engine.url}" if engine.dialect.name == "sqlite" else "the same DATABASE_URL"
    raise ConfigurationError(f"DATABASE_URL: the store {state}; run `beers admin migrate` with {which}")


def _known_revision(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision is not None and revision not in REVISIONS:
        raise ConfigurationError(
            f"DATABASE_URL: the store is at revision {revision}, which this version does not know; run a newer version"
        )
    return revision


def _upgrade(connection: Connection, revision: str = "head") -> None:
    from alembic import command  # noqa: PLC0415 - only a store that is not current needs it
    from alembic.config import Config  # noqa: PLC0415 - likewise

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, revision)
