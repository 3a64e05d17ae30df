"""A tap list: what is on tap now, kept up to date by the catalogue's events. `make run WITH=examples.taplist:TapList`.

A Nameko service as another team would write it, with a database of its own. Look at it from `nameko shell`:
``n.rpc.taplist.on_tap()``.
"""

import os
from typing import Any

from nameko.extensions import DependencyProvider
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    Table,
    Text,
    insert,
    select,
    update,
)

from beers_runtime import configuration
from beers_service.store.engine import connect, reading, writing
from beers_service.subscriber import subscribe
from beers_service.transport import rpc

DATABASE = "${TAPLIST_DATABASE_URL:sqlite:///var/taplist.db}"

metadata = MetaData()

taps = Table(
    "taps",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("brewery", Text, nullable=False),
    Column("style", Text, nullable=False),
    Column("abv", Float),
    Column("on_tap", Boolean, nullable=False),
    Column("changes", Integer, nullable=False),  # how many events it took
)


class Taps(DependencyProvider):
    """Gives each worker the engine of the tap list's database, and makes the table."""

    def setup(self) -> None:
        """Open the database."""
        self._engine = connect(str(configuration.substituted("database", DATABASE, os.environ)))
        with writing(self._engine) as connection:
            metadata.create_all(connection)

    def get_dependency(self, worker_ctx: Any) -> Engine:  # noqa: ARG002 - Nameko calls it so
        """Return the engine."""
        return self._engine


class TapList:
    """What is on tap."""

    name = "taplist"

    taps = Taps()

    # In the order of the log: a beer is not changed before it is there.
    @subscribe(database=DATABASE, born="beginning", order="strict")
    def on_beer(self, event: dict[str, Any], connection: Connection) -> None:
        """Bring the list up to date."""
        if event["type"] == "BeerAdded":
            known = {column.name: event["data"][column.name] for column in taps.c if column.name in event["data"]}
            connection.execute(insert(taps).values(id=event["beer_id"], on_tap=True, changes=1, **known))
            return
        changes: dict[str, Any] = {"changes": taps.c.changes + 1}
        match event["type"]:
            case "BeerNameChanged":
                changes["name"] = event["data"]["name"]
            case "BeerDetailsChanged":
                changes |= {name: value for name, value in event["data"].items() if name in taps.c}
            case "BeerRemoved":
                changes["on_tap"] = False
            case "BeerRestored":
                changes["on_tap"] = True
        connection.execute(update(taps).where(taps.c.id == event["beer_id"]).values(changes))

    @rpc
    def on_tap(self) -> list[dict[str, Any]]:
        """Return the beers that are on tap, strongest first."""
        shown = select(taps.c.name, taps.c.brewery, taps.c.abv).where(taps.c.on_tap)
        with reading(self.taps) as connection:
            return [dict(row._mapping) for row in connection.execute(shown.order_by(taps.c.abv.desc()))]  # noqa: SLF001 - SQLAlchemy's public name
