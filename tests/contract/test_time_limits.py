"""What bounds a wait for PostgreSQL, and what it must not bound."""

import os
import socket

import pytest
from sqlalchemy import text

from beers_service import admin
from beers_service.domain import commands
from beers_service.store import engine
from beers_service.store.engine import connect, writing
from beers_service.store.relay_cursor import SqlRelayCursor

from .conftest import sql_store

SLOW_TO_READ = """
    ALTER TABLE events RENAME TO kept;
    CREATE VIEW events AS SELECT kept.* FROM kept, pg_sleep(0.5)
"""
SLOW_TO_DELETE = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END';
    CREATE TRIGGER slow AFTER DELETE ON beers FOR EACH STATEMENT EXECUTE FUNCTION slow()
"""


def test_the_session_of_the_relay_gives_up_a_server_that_is_gone_as_soon_as_all_others(postgres_url: str) -> None:
    sql_store(postgres_url)
    pool = connect(postgres_url)
    cursor = SqlRelayCursor(connect(postgres_url))
    assert cursor.lead() == 0
    connection = pool.raw_connection()
    session = cursor._leadership.fileno()
    assert session is not None
    found = []
    for number in (connection.driver_connection.fileno(), session):  # type: ignore[union-attr] # of psycopg2
        with socket.socket(fileno=os.dup(number)) as peer:
            level = socket.IPPROTO_TCP
            found.append([peer.getsockopt(level, it) for it in (socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE)])
    assert found == [[10_000, 10]] * 2
    connection.close()
    pool.dispose()
    cursor.resign()


def test_what_is_rebuilt_may_take_longer_than_a_statement_of_the_service(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sql_store(postgres_url)
    store.run(commands.add("Punk"))
    slowed = connect(postgres_url)
    with writing(slowed) as connection:
        connection.execute(text(SLOW_TO_DELETE))
    slowed.dispose()
    monkeypatch.setattr(engine, "STATEMENT_TIMEOUT", 0.2)
    assert admin.rebuild(postgres_url, lambda *_: None) == 1


def test_what_is_verified_may_take_longer_than_a_statement_of_the_service(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql_store(postgres_url).run(commands.add("Punk"))
    slowed = connect(postgres_url)
    with writing(slowed) as connection:
        connection.execute(text(SLOW_TO_READ))
    slowed.dispose()
    monkeypatch.setattr(engine, "STATEMENT_TIMEOUT", 0.2)
    assert admin.verify(postgres_url, lambda *_: None) == admin.Verification(events=1, beers=1, problems=[])
