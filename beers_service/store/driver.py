"""Transactions straight on the driver, with what `engine` promises: its pool, its durability, its errors.

Connection, transaction and result of SQLAlchemy cost a command more than all that the database does for it. So what
runs for every command or event takes a cursor of the driver's; `statements` has the texts.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Engine, PoolProxiedConnection
from sqlalchemy.exc import DBAPIError

from beers_service.domain.errors import OutcomeUnknown
from beers_service.store.engine import await_lock, refused_commit, set_durability, translated_errors
from beers_service.store.statements import Cursor, Row


def fetch(engine: Engine, statement: str, values: Row = ()) -> list[Any]:
    """Return the rows of one statement, which sees one state of the store without a transaction around it."""
    with _connection(engine) as connection:
        cursor: Any = connection.cursor()
        cursor.execute(statement, values)
        rows: list[Any] = cursor.fetchall()
        return rows


@contextmanager
def transaction(engine: Engine, first: str, values: Row = (), *, lasting: bool = True) -> Iterator[Cursor]:
    """Run a transaction as `engine.writing` does; it begins with the statement *first*, whose rows are to be fetched.

    One that is not *lasting* does not wait for the disk: a power loss may undo it, as if it had never been. The cursor
    raises what the driver raises; it is translated on the way out.
    """
    with _connection(engine) as connection:
        cursor: Any = connection.cursor()
        if engine.dialect.name == "postgresql":
            # In one round trip. A statement sees what was committed before it began, so the lock still comes first.
            spared = "" if lasting else "SET LOCAL synchronous_commit = off; "
            cursor.execute(f"BEGIN; {spared}{first}", values)
        else:
            set_durability(connection.info, cursor.execute, lasting=lasting)
            await_lock(lambda: cursor.execute("BEGIN IMMEDIATE"))
            cursor.execute(first, values)
        yield cursor
        try:
            cursor.execute("COMMIT")
        except engine.dialect.loaded_dbapi.Error as error:
            told = _as_sqlalchemy_tells_it(engine, error, connection)
            if refused_commit(told):
                raise told from error
            raise OutcomeUnknown("") from error


@contextmanager
def _connection(engine: Engine) -> Iterator[PoolProxiedConnection]:
    """Lend a connection on which nothing begins a transaction by itself; one that saw an error is not used again."""
    connection: PoolProxiedConnection | None = None
    with translated_errors():
        try:
            connection = engine.raw_connection()
            if engine.dialect.name == "postgresql":
                driven: Any = connection.driver_connection
                driven.autocommit = True
                yield connection
                driven.autocommit = False
            else:  # as `engine.connect` has it
                yield connection
        except engine.dialect.loaded_dbapi.Error as error:
            told = _as_sqlalchemy_tells_it(engine, error, connection)
            _discard(engine, connection)
            raise told from error
        except BaseException:
            _discard(engine, connection)
            raise
        finally:
            if connection is not None:
                connection.close()


def _discard(engine: Engine, connection: PoolProxiedConnection | None) -> None:
    """Close a connection, whatever was under way on it and in whatever state it is."""
    if connection is not None:
        # SQLite keeps the lock of a closed connection for as long as anything refers to a cursor: a traceback does.
        with suppress(engine.dialect.loaded_dbapi.Error):
            connection.rollback()
        connection.invalidate()


def _as_sqlalchemy_tells_it(engine: Engine, error: Any, connection: PoolProxiedConnection | None) -> DBAPIError:
    """Return what SQLAlchemy raises for *error*. As it does then, forget all connections if the database is gone."""
    driven: Any = None if connection is None else connection.dbapi_connection
    gone = engine.dialect.is_disconnect(error, driven, None)
    if gone and connection is not None:
        engine.dispose()
    told = DBAPIError.instance(
        None,
        None,
        error,
        engine.dialect.loaded_dbapi.Error,
        hide_parameters=engine.hide_parameters,
        connection_invalidated=gone,
        dialect=engine.dialect,
    )
    if not isinstance(told, DBAPIError):
        raise TypeError(f"{type(error).__name__} is no error of the driver's")
    return told
