"""`beers admin` on an embedded store."""

import fcntl
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "beers.db"
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{path}")
    return path


@pytest.mark.usefixtures("store")
def test_a_store_is_migrated_once(beers: Run) -> None:
    first = beers("admin", "migrate", "--json").document
    assert first["before"] is None
    assert beers("admin", "migrate", "--json").document == {"before": first["after"], "after": first["after"]}
    assert "up to date" in beers("admin", "migrate").out


@pytest.mark.usefixtures("store")
def test_a_sound_store_is_verified_and_rebuilt(beers: Run) -> None:
    beers("admin", "migrate")
    assert beers("admin", "verify", "--json").document == {"events": 0, "beers": 0, "problems": []}
    assert "nothing is wrong" in beers("admin", "verify").out
    assert beers("admin", "rebuild", "--json").document == {"beers": 0}


def test_a_damaged_store_is_told_of_with_exit_status_1(store: Path, beers: Run) -> None:
    beers("admin", "migrate")
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE log_head SET position = 7")
    connection.close()
    result = beers("admin", "verify")
    assert result.status == 1
    assert "1 problems" in result.out
    assert "7" in result.err


def test_a_log_gets_a_new_id_when_that_is_confirmed_and_no_service_uses_the_store(store: Path, beers: Run) -> None:
    beers("admin", "migrate")
    unasked = beers("admin", "new-log-id")
    assert unasked.status == 2
    assert "give --yes" in unasked.err
    with Path(f"{store}.relay").open("w") as relay:
        fcntl.flock(relay, fcntl.LOCK_EX)
        refused = beers("admin", "new-log-id", "--yes")
    assert refused.status == 1
    assert "a service uses the store; end every one of them first" in refused.err
    first = beers("admin", "new-log-id", "--yes", "--json").document
    assert first["position"] == 0
    told = beers("admin", "new-log-id", "--yes")
    assert told.status == 0
    assert told.out.startswith(f"The log was {first['after']}; it is now ")


_REPLAY = ("replay", "--from", "1", "--to-queue", "x", "--amqp-uri", "amqp://127.0.0.1:1/")


@pytest.mark.parametrize(
    "command", [("verify",), ("rebuild",), ("new-log-id", "--yes"), _REPLAY], ids=lambda command: command[0]
)
def test_only_migrate_makes_a_store(tmp_path: Path, beers: Run, command: tuple[str, ...]) -> None:
    missing = tmp_path / "mistyped" / "beers.db"
    refused = beers("admin", *command, "--database-url", f"sqlite:///{missing}")
    assert refused.status == 1
    assert f"there is no store {missing}" in refused.err
    assert not missing.parent.exists()
    foreign = tmp_path / "foreign.db"
    foreign.touch()
    refused = beers("admin", *command, "--database-url", f"sqlite:///{foreign}")
    assert refused.status == 1
    assert "the store is empty; run `beers admin migrate`" in refused.err
    with sqlite3.connect(foreign) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()


@pytest.mark.parametrize("command", ["migrate", "verify", "rebuild"])
def test_a_store_at_an_unknown_revision_is_refused_in_words(store: Path, beers: Run, command: str) -> None:
    beers("admin", "migrate")
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'of another age'")
    connection.close()
    result = beers("admin", command)
    assert result.status == 1
    assert "revision" in result.err


def test_no_password_is_ever_shown(beers: Run) -> None:
    url = "postgresql+psycopg2://beers:s3cret@127.0.0.1:1/beers"
    result = beers("admin", "verify", "--database-url", url)
    assert result.status == 1
    assert "beers:***@127.0.0.1:1" in result.err
    assert "does not answer" in result.err
    assert "s3cret" not in result.out + result.err
