"""Connections to the store, and the one place where a database's errors become ours.

An acknowledged command survives a power loss: SQLite writes its log ahead and waits for the disk at each commit
(``journal_mode=WAL``, ``synchronous=FULL``), PostgreSQL does so by itself (``synchronous_commit=on``). Only what may be
lost, the place of the relay, is committed without.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from beers_runtime.configuration import ConfigurationError, kind_of_store
from beers_service.domain.errors import OutcomeUnknown, StoreUnavailable

Begun = TypeVar("Begun")

STATEMENT_TIMEOUT = 10
"""Seconds that a statement, a lock or a connection may take."""

POSTGRESQL = {
    "connect_timeout": STATEMENT_TIMEOUT,
    # The kernel gives up a peer that is gone.
    "keepalives_idle": STATEMENT_TIMEOUT,
    "tcp_user_timeout": STATEMENT_TIMEOUT * 1000,
}
"""What keeps a connection to PostgreSQL from waiting for ever, whatever it is for."""

SQLITE_BUSY = 0.02
"""Seconds that SQLite itself waits for another process: it blocks every green thread, so the longer wait is ours."""

SQLITE_CHECKPOINT = 4000
"""Pages in the log ahead of the file before a commit copies them there, once each, which takes some 40 ms: 16 MB."""

SQLITE_CACHE = 8000
"""KiB of pages that a connection keeps: request ids and names are scattered over their indexes."""

SQLITE_PAUSE = 0.005
"""Seconds between two attempts at SQLite's write lock."""


def connect(
    database_url: str,
    *,
    setting: str = "DATABASE_URL",
    application: str = "beers",
    longest_pause: float = STATEMENT_TIMEOUT,
    existing: bool = False,
) -> Engine:
    """Return an engine for *database_url*, ``sqlite:///path`` or ``postgresql+psycopg2://…``; it connects lazily.

    Args:
        database_url: The database.
        setting: What errors call the URL.
        application: What PostgreSQL shows as the name of its client.
        longest_pause: Seconds that a transaction may do nothing before PostgreSQL ends it.
        existing: Whether a file of SQLite's has to be there already, instead of being made.

    Raises:
        ConfigurationError: If the URL is malformed, or of a database or driver that does not work here, or the file
            has to be there and is not.
    """
    kind = kind_of_store(database_url, setting)
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError) as error:
        raise ConfigurationError(f"{setting} is no database URL such as sqlite:///var/beers.db") from error
    return (
        _sqlite(url, setting, existing=existing) if kind == "sqlite" else _postgresql(url, application, longest_pause)
    )


def _sqlite(url: URL, setting: str, *, existing: bool) -> Engine:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigurationError(f"{setting} must name a file, as in sqlite:///var/beers.db")
    if existing and not Path(url.database).is_file():
        raise ConfigurationError(f"{setting}: there is no store {url.database}")
    try:
        Path(url.database).parent.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{setting}: cannot create {Path(url.database).parent}: {error.strerror}") from error
    # Without an isolation level the driver begins no transaction by itself, so that ours can be IMMEDIATE.
    engine = sqlalchemy.create_engine(
        url,
        hide_parameters=True,  # an error's text goes to the log, and values must not
        connect_args={"timeout": SQLITE_BUSY, "isolation_level": None, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={SQLITE_CHECKPOINT}")
        connection.execute(f"PRAGMA cache_size=-{SQLITE_CACHE}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if not connection.get_execution_options().get("writes", False):
            connection.exec_driver_sql("BEGIN")
            return
        set_durability(connection.info, connection.exec_driver_sql, lasting=True)
        # A writer that began as a reader would fail as soon as another one got in between.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgresql(url: URL, application: str, longest_pause: float) -> Engine:
    milliseconds = round(STATEMENT_TIMEOUT * 1000)
    return sqlalchemy.create_engine(
        url,
        hide_parameters=True,
        pool_size=5,
        max_overflow=15,
        pool_timeout=STATEMENT_TIMEOUT,
        pool_use_lifo=True,
        connect_args={
            **POSTGRESQL,
            "application_name": application,
            # The server ends what takes too long.
            "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
            f" -c idle_in_transaction_session_timeout={round(longest_pause * 1000)}",
        },
    )


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Run reads that see one state of the store."""
    with translated_errors(), engine.connect().execution_options(**_snapshot(engine)) as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Run a transaction that commits at the end of the block; errors of the commit itself are `OutcomeUnknown`."""
    with translated_errors(), engine.connect().execution_options(writes=True) as connection:
        transaction = await_lock(connection.begin)
        try:
            yield connection
        except BaseException:
            if transaction.is_active:  # a subscriber's handler may have ended it
                transaction.rollback()
            raise
        try:
            transaction.commit()
        except DBAPIError as error:
            # SQLite is still in the transaction, with its lock, and the pool would not roll it back.
            connection.invalidate(error)
            if refused_commit(error):
                raise
            raise OutcomeUnknown("") from error


def lift_time_limit(connection: Connection) -> None:
    """Let the statements of a transaction take as long as they take: of one that somebody waits for on purpose."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")


def await_lock(begin: Callable[[], Begun]) -> Begun:
    """Call *begin*, which begins a transaction that writes, until SQLite gives it the lock; return what it returns."""
    patience = time.monotonic() + STATEMENT_TIMEOUT
    while True:
        try:
            return begin()
        except (OperationalError, sqlite3.OperationalError) as error:
            original = error.orig if isinstance(error, OperationalError) else error
            if not isinstance(original, sqlite3.Error) or time.monotonic() > patience:
                raise
            if original.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            # Another process writes. Waiting inside SQLite would stop every green thread of this one.
            time.sleep(SQLITE_PAUSE)


def set_durability(known: MutableMapping[Any, Any], execute: Callable[[str], object], *, lasting: bool) -> None:
    """Make the next commit of a connection to SQLite wait for the disk, or not.

    Args:
        known: What is known of the connection for as long as it lives: the pool's ``info``.
        execute: Runs a statement on it.
        lasting: Whether the commit waits.
    """
    if known.get("lasting") is not lasting:
        known["lasting"] = None  # until it is done
        execute(f"PRAGMA synchronous={'FULL' if lasting else 'NORMAL'}")
        known["lasting"] = lasting


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn what the database raises into `StoreUnavailable`, without its texts: they hold values."""
    try:
        yield
    except PoolTimeout as error:
        raise StoreUnavailable("all connections are busy") from error
    except DBAPIError as error:
        if error.connection_invalidated or _is_outage(error):
            unavailable = StoreUnavailable(type(error.orig).__name__)
            # For the log: which database there is, and what is the matter with it, is none of a caller's business.
            unavailable.add_note(_code(error.orig))
            raise unavailable from error
        raise
    except SQLAlchemyError as error:
        raise StoreUnavailable(type(error).__name__) from error


def _code(error: object) -> str:
    """Return what a database calls *error*, such as ``SQLITE_FULL``: never its text, which may hold values."""
    return getattr(error, "sqlite_errorname", None) or getattr(error, "pgcode", None) or ""


def _is_outage(error: DBAPIError) -> bool:
    """Tell whether the database is at fault rather than the values: it is away, busy, full or stopping."""
    if (getattr(error.orig, "pgcode", None) or "").startswith("P0"):  # raised by a trigger of a subscriber's
        return False
    return isinstance(error, OperationalError | InterfaceError | InternalError)


def refused_commit(error: DBAPIError) -> bool:
    """Tell whether the database answered that it has not committed."""
    original: Any = error.orig
    if isinstance(original, sqlite3.Error):
        refusals = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CONSTRAINT}
        return original.sqlite_errorcode & 0xFF in refusals
    return getattr(original, "pgcode", None) is not None and not error.connection_invalidated


def _snapshot(engine: Engine) -> dict[str, str]:
    return {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
