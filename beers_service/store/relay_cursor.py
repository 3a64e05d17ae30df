"""Which relay leads, and up to where the bus has everything.

Leadership ends with the process that has it, at once: on PostgreSQL it is a session's advisory lock, on SQLite, which
serves one machine only, a lock on a file beside the database. A leader may lose it without noticing (its session
broke); the epoch in the cursor's row keeps such a one from moving the cursor.
"""

import fcntl
import os
import select as readiness
import socket
from pathlib import Path
from typing import Any, Protocol

import psycopg2
from sqlalchemy import Engine, select, update

from beers_service.domain.errors import StoreUnavailable
from beers_service.store import schema
from beers_service.store.driver import transaction
from beers_service.store.engine import POSTGRESQL, writing
from beers_service.store.statements import NOTIFY_CHANNEL, statements_of

_LOCK_KEY = 0x6265657273  # "beers" in ASCII


class Leadership(Protocol):
    """A lock that one process has at a time, and the news of commits by others."""

    def acquire(self) -> bool:
        """Take the lock, or find that this process has it still; return False if another one has it."""
        ...

    def release(self) -> None:
        """Give the lock back."""
        ...

    def fileno(self) -> int | None:
        """Return what becomes readable when another process has committed; None if there is no such news."""
        ...

    def read_news(self) -> None:
        """Take in what has become readable."""
        ...


class SqlRelayCursor:
    """The cursor in the SQL store; see `ports.RelayCursor`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._leadership: Leadership = (
            _SessionLock(engine)
            if engine.dialect.name == "postgresql"
            else _FileLock(Path(f"{engine.url.database}.relay"))
        )
        self._advance = statements_of(engine.dialect.name).advance
        self._epoch = 0
        # A socket, not an event: one wait has to end for a commit here and for the news of one elsewhere.
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.settimeout(0)

    def lead(self) -> int | None:
        """Become the leader if nobody else is; return the confirmed position, or None if somebody else leads."""
        if not self._leadership.acquire():
            return None
        with writing(self._engine) as connection:
            connection.execute(update(schema.relay).values(epoch=schema.relay.c.epoch + 1))
            row = connection.execute(select(schema.relay)).one()
        self._epoch = row.epoch
        position: int = row.position
        return position

    def advance(self, position: int) -> bool:
        """Record that the bus has everything up to *position*; return False if this relay leads no more.

        A power loss may undo it. The events since then are published again, which they may be anyway.
        """
        with transaction(self._engine, self._advance, (position, self._epoch), lasting=False) as cursor:
            return cursor.rowcount == 1

    def resign(self) -> None:
        """Let somebody else lead; this cursor is of no further use."""
        self._leadership.release()
        self._woken.close()
        self._waker.close()

    def wait(self, timeout: float) -> None:
        """Wait until something may have been committed, here or elsewhere, for at most *timeout* seconds."""
        news = self._leadership.fileno()
        sources = [self._woken.fileno(), *([] if news is None else [news])]
        readable, _, _ = readiness.select(sources, [], [], timeout)
        if self._woken.fileno() in readable:
            self._woken.recv(4096)
        if news in readable:
            self._leadership.read_news()

    def wake(self) -> None:
        """End a wait: something was committed here."""
        try:
            self._waker.send(b"\0")
        except BlockingIOError:
            # Full of wake-ups that nobody has read yet: one more would tell nothing new.
            return


class _FileLock:
    """A lock on a file, which the operating system releases when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> bool:
        if self._file is not None:
            return True
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def fileno(self) -> None:
        return None

    def read_news(self) -> None:
        """There is none: the relay looks for itself once a second."""


class _SessionLock:
    """An advisory lock of a PostgreSQL session of its own, which listens for commits as well."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._session: Any = None

    def acquire(self) -> bool:
        try:
            if self._session is None:
                self._session = self._open()
            with self._session.cursor() as cursor:
                # Taken once more it would have to be given back once more, so it is taken only if it is not there.
                cursor.execute(
                    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted"
                    " AND pid = pg_backend_pid()) OR pg_try_advisory_lock(%s)",
                    [_LOCK_KEY],
                )
                return bool(cursor.fetchone()[0])
        except psycopg2.Error as error:
            self.release()
            raise StoreUnavailable(type(error).__name__) from error

    def release(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def fileno(self) -> int | None:
        return None if self._session is None else int(self._session.fileno())

    def read_news(self) -> None:
        try:
            self._session.poll()
            self._session.notifies.clear()
        except psycopg2.Error as error:
            self.release()
            raise StoreUnavailable(type(error).__name__) from error

    def _open(self) -> Any:
        arguments, keywords = self._engine.dialect.create_connect_args(self._engine.url)
        session = psycopg2.connect(*arguments, **{**POSTGRESQL, **keywords, "application_name": "beers relay"})
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute(f"LISTEN {NOTIFY_CHANNEL}")
        return session
