"""What becomes of a subscriber when an older copy of the store is restored."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from beers_service import admin
from tests.processes import Process, Start, eventually
from tests.subscriber.conftest import QUEUE, Followed


def back_up(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "beers.db")) as connection:
        connection.execute("VACUUM INTO ?", [str(folder / "backup.db")])


def restore(service: Process, folder: Path) -> None:
    """End *service*, and put the backup in the place of its store."""
    service.stop()
    for ending in ("", "-wal", "-shm"):
        (folder / f"beers.db{ending}").unlink(missing_ok=True)
    shutil.copy(folder / "backup.db", folder / "beers.db")


def only_line(process: Process) -> str:
    """Return what *process* wrote beside its log."""
    (line,) = (line for line in process.text.splitlines() if not line.startswith("{"))
    return line


def forget_the_former_log(folder: Path) -> None:
    """Do what happens when the next backup to be restored is older than the new id."""
    with closing(sqlite3.connect(folder / "beers.db")) as connection, connection:
        connection.execute("DELETE FROM former_logs")


def new_log_id(folder: Path) -> admin.NewLogId:
    return admin.new_log_id(f"sqlite:///{folder}/beers.db")


def test_without_a_new_id_the_events_at_the_positions_of_lost_ones_pass_for_repeats(
    start: Start, followed: Followed
) -> None:
    """The hazard itself: nobody can tell the two logs apart."""
    service = start()
    followed.start()
    followed.add(1)
    back_up(followed.folder)
    followed.add(2)
    followed.await_effects(1, 2, 3)
    restore(service, followed.folder)
    start()
    followed.add(3)
    followed.await_effects(1, 2, 3, 4)


def test_a_subscriber_ahead_of_a_restored_log_stops_until_it_is_told_to_go_on_and_then_gets_every_new_event(
    start: Start, followed: Followed
) -> None:
    """Twice, in either order, and while it runs."""
    service = start()
    subscriber = followed.start("Twice")
    followed.add(1)
    back_up(followed.folder)
    followed.add(2)
    followed.await_effects(1, 1, 2, 2, 3, 3)
    restore(service, followed.folder)
    log = new_log_id(followed.folder)
    assert log.position == 1
    start()
    followed.add(3)
    assert subscriber.wait() == 78
    assert only_line(subscriber).startswith(f"beers: the catalogue does not have the log {log.before} any more")
    refused = followed.start("Twice", ready=False, FOLLOW_LOG=f"{log.before}:1")
    assert refused.wait() == 78
    line = only_line(refused)
    assert f"has come to position 3 of the log {log.before}; the catalogue has the log {log.after} now" in line
    assert "only the events up to position 1 are the same. Undo what it did with later ones" in line
    assert line.endswith(f"start it with FOLLOW_LOG={log.after}:1, behind which it goes on")
    forget_the_former_log(followed.folder)
    refused = followed.start("Twice", ready=False)
    assert refused.wait() == 78
    line = only_line(refused)
    assert "in which nobody knows which events are the same" in line
    assert line.endswith(f"start it with FOLLOW_LOG={log.after}:POSITION, behind which it goes on")
    assert sorted(followed.effects()) == [1, 1, 2, 2, 3, 3]
    followed.start("Twice", FOLLOW_LOG=f"{log.after}:1")
    eventually(lambda: len(followed.effects()) >= 12)
    assert sorted(followed.effects()[6:]) == [2, 2, 3, 3, 4, 4]


def test_a_subscriber_that_has_taken_nothing_that_is_gone_goes_on_in_the_new_log_by_itself(
    start: Start, followed: Followed
) -> None:
    service = start()
    subscriber = followed.start()
    followed.tell("fail-1", "9")
    followed.add(2)
    letter = followed.wire.get(f"{QUEUE}.dead-letters")
    followed.await_effects(2)
    gone = followed.envelope(2) | {"position": 3}
    subscriber.stop()
    back_up(followed.folder)
    restore(service, followed.folder)
    log = new_log_id(followed.folder)
    start()
    followed.add(2)
    followed.tell("fail-1", "0")
    followed.publish(gone | {"id": f"{log.before}:3"})
    followed.publish(letter.body.encode() if isinstance(letter.body, str) else letter.body)
    subscriber = followed.start()
    subscriber.await_line("subscriber goes on in another log")
    # What happened before the copy was made is told under the id of before, and is the same.
    followed.await_effects(1, 2, 3, 4)
    reason = followed.wire.get(f"{QUEUE}.dead-letters").properties["application_headers"]["x-reason"]
    assert reason == f"it is an event of the log {log.before}; this subscriber follows {log.after}"
    assert subscriber.alive()
