"""A Nameko service that follows the catalogue through the kit; it fails, crashes and dawdles when a file says so."""

import os
import time
from pathlib import Path
from typing import Any

from eventlet import Timeout
from eventlet.support.greenlets import GreenletExit
from nameko.events import event_handler
from sqlalchemy import Connection, text

from beers_service.subscriber import subscribe
from beers_service.transport import rpc

DATABASE = "FOLLOWING_DATABASE_URL"
DELAYS = (0.1, 0.3)


def note(event: dict[str, Any], connection: Connection) -> None:
    """Write the effect of *event*, and do what the test wants of it, which the name of its beer's events says."""
    connection.execute(text("CREATE TABLE IF NOT EXISTS effects (position BIGINT, beer_id BIGINT)"))
    connection.execute(
        text("INSERT INTO effects VALUES (:position, :beer_id)"),
        {"position": event["position"], "beer_id": event["beer_id"]},
    )
    folder = Path(os.environ["FOLLOWING_FOLDER"])
    with (folder / "tries").open("a") as tries:
        tries.write(f"{event['position']}\n")
    if (folder / f"slow-{event['position']}").exists():
        (folder / "slow").touch()
        time.sleep(1.5)
    if (folder / f"crash-{event['position']}").exists():
        (folder / f"crash-{event['position']}").unlink()
        os._exit(9)
    failures = folder / f"fail-{event['position']}"
    if failures.exists():
        left = int(failures.read_text())
        rest = folder / f"rest-{event['position']}"
        rest.write_text(str(left - 1))
        rest.replace(failures)  # whoever is killed here leaves the one number or the other
        if left > 0:
            event.clear()  # what is tried again is the event as it came
            raise ValueError(f"not yet, {left} to go")
    interruption = folder / f"interrupt-{event['position']}"
    if interruption.exists():
        kind = interruption.read_text()
        interruption.unlink()
        raise {"Timeout": Timeout, "GreenletExit": GreenletExit, "SystemExit": SystemExit}[kind](3)
    if (folder / f"swallow-{event['position']}").exists():
        try:
            connection.execute(text("SELECT nonsense"))
        except Exception:  # noqa: BLE001 - a handler that goes on after an error is what is tested
            (folder / f"swallow-{event['position']}").unlink()


class Following:
    """Follows in any order, from now on."""

    name = "following"

    @subscribe(database=DATABASE, delays=DELAYS, patience=1.0)
    def on_event(self, event: dict[str, Any], connection: Connection) -> None:
        """Note *event*."""
        note(event, connection)


class Rash:
    """Follows in any order, from now on, and gives an event up when it has failed once."""

    name = "rash"

    @subscribe(database=DATABASE, delays=(), patience=1.0)
    def on_event(self, event: dict[str, Any], connection: Connection) -> None:
        """Note *event*."""
        note(event, connection)


class Choosy:
    """Follows what is added, from the beginning, with a stock handler and an RPC method beside it."""

    name = "choosy"

    @subscribe("BeerAdded", database=DATABASE, born="beginning", delays=DELAYS, patience=1.0)
    def on_added(self, event: dict[str, Any], connection: Connection) -> None:
        """Note *event*."""
        note(event, connection)

    @event_handler("beers", "BeerRemoved")
    def on_removed(self, event: dict[str, Any]) -> None:
        """Note *event* as any stock handler would."""
        with (Path(os.environ["FOLLOWING_FOLDER"]) / "stock").open("a") as file:
            file.write(f"{event['position']}\n")

    @rpc
    def ping(self) -> str:
        """Answer."""
        return "pong"


class Turned:
    """What `Choosy` is after its handler has turned to other types."""

    name = "choosy"

    @subscribe("BeerRemoved", database=DATABASE, born="beginning", delays=DELAYS, patience=1.0)
    def on_added(self, event: dict[str, Any], connection: Connection) -> None:
        """Note *event*."""
        note(event, connection)


class TurnedOrderly:
    """What `Orderly` is after its handler has turned to one type."""

    name = "orderly"

    @subscribe("BeerRemoved", database=DATABASE, born="beginning", order="strict", delays=(0.3, 0.6), patience=1.0)
    def on_event(self, event: dict[str, Any], connection: Connection) -> None:
        """Note *event*."""
        note(event, connection)


class Disorderly:
    """What `Orderly` is when its order has been changed."""

    name = "orderly"

    @subscribe(database=DATABASE, born="beginning", delays=(1.0, 1.0), patience=1.0)
    def on_event(self, event: dict[str, Any], connection: Connection) -> None:
        """Note *event*."""
        note(event, connection)


class Twice:
    """Follows twice, in either order, with both inboxes in one database."""

    name = "twice"

    @subscribe(database=DATABASE, born="beginning", order="strict", patience=1.0)
    def in_order(self, event: dict[str, Any], connection: Connection) -> None:
        """Note *event* as that of the beer 1."""
        note(event | {"beer_id": 1}, connection)

    @subscribe(database=DATABASE, born="beginning", patience=1.0)
    def in_any(self, event: dict[str, Any], connection: Connection) -> None:
        """Note *event* as that of the beer 2."""
        note(event | {"beer_id": 2}, connection)


class Orderly:
    """Follows in the order of the log, from the beginning."""

    name = "orderly"

    @subscribe(database=DATABASE, born="beginning", order="strict", delays=(0.3, 0.6), patience=1.0)
    def on_event(self, event: dict[str, Any], connection: Connection) -> None:
        """Note *event*."""
        note(event, connection)
