"""The tap list of the examples, with a handler that fails now and then, and another one that counts in any order."""

import os
import random
from typing import Any

from sqlalchemy import Connection, text

from beers_service.subscriber import subscribe
from examples.taplist import DATABASE, TapList

FAILURES = 0.05
DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


class Shaky(TapList):
    """Fails at random, after the effect and before the commit."""

    name = "shaky"

    @subscribe(database=DATABASE, born="beginning", order="strict", delays=DELAYS, patience=1.0)
    def on_beer(self, event: dict[str, Any], connection: Connection) -> None:
        """Bring the list up to date, or fail."""
        super().on_beer(event, connection)
        fail_sometimes()

    @subscribe(database="SHAKY_DATABASE_URL", born="beginning", delays=DELAYS, patience=1.0)
    def on_any(self, event: dict[str, Any], connection: Connection) -> None:
        """Count the event, or fail."""
        connection.execute(text("CREATE TABLE IF NOT EXISTS effects (position INTEGER)"))
        connection.execute(text("INSERT INTO effects VALUES (:position)"), {"position": event["position"]})
        fail_sometimes()


def fail_sometimes() -> None:
    if random.random() < float(os.environ.get("SHAKY_FAILURES", FAILURES)):  # noqa: S311 - no secret
        raise RuntimeError("chance")
