"""A subscriber that notes every event, in log order and in any order; in any order it fails now and then.

Nothing but the kit keeps an effect from happening twice: the table takes whatever comes.
"""

import random
from typing import Any

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, insert, select

from beers_service.store.engine import reading, writing
from beers_service.subscriber import subscribe
from chaos.verdict import Told

DATABASE = "CHAOS_FOLLOWER_URL"
FAILURES = 0.02
DELAYS = (0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
PATIENCE = 2.0

STRICT, ANY = "strict order", "any order"

metadata = MetaData()
effects = Table(
    "effects",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("consumer", String(20), nullable=False),
    Column("position", Integer, nullable=False),
    Column("request_id", String(128), nullable=False),
)


class Follower:
    """The subscriber."""

    name = "chaos"

    @subscribe(database=DATABASE, born="beginning", order="strict", delays=DELAYS, patience=PATIENCE)
    def on_beer(self, event: dict[str, Any], connection: Connection) -> None:
        """Note *event*."""
        _note(STRICT, event, connection)

    @subscribe(database=DATABASE, born="beginning", delays=DELAYS, patience=PATIENCE)
    def on_any(self, event: dict[str, Any], connection: Connection) -> None:
        """Note *event*, or fail behind the effect and before its commit."""
        _note(ANY, event, connection)
        if random.random() < FAILURES:
            raise RuntimeError("chance")


def prepare(engine: Engine) -> None:
    """Make the table, before the subscriber runs."""
    with writing(engine) as connection:
        metadata.create_all(connection)


def noted(engine: Engine) -> dict[str, list[Told]]:
    """Return the effects of each consumer, in the order in which they happened."""
    found: dict[str, list[Told]] = {STRICT: [], ANY: []}
    with reading(engine) as connection:
        columns = effects.c
        rows = connection.execute(
            select(columns.consumer, columns.position, columns.request_id).order_by(columns.number)
        )
        for consumer, position, request_id in rows:
            found[consumer].append((position, request_id))
    return found


def _note(consumer: str, event: dict[str, Any], connection: Connection) -> None:
    connection.execute(
        insert(effects).values(consumer=consumer, position=event["position"], request_id=event["request_id"])
    )
