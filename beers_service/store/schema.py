"""The tables. `migrations` creates them; a test compares the two.

Times are whole microseconds since 1970 in UTC: exact, and ordered alike everywhere. The ``*_key`` columns hold text
with upper and lower case folded; PostgreSQL keeps them in the C collation, which is the order of SQLite and Python.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

# SQLite makes only an INTEGER primary key the key of the table itself.
_Big = BigInteger().with_variant(Integer, "sqlite")
_Key = Text().with_variant(Text(collation="C"), "postgresql")

log_head = Table(
    "log_head",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1: whoever appends locks this row
    Column("log_id", String(36), nullable=False),
    Column("position", _Big, nullable=False),
    Column("last_beer_id", _Big, nullable=False),
    Column("time", _Big, nullable=False),
)

former_logs = Table(
    "former_logs",
    metadata,
    Column("log_id", String(36), primary_key=True),
    Column("position", _Big, nullable=False),  # the last event that was given out under that id and is still there
)

events = Table(
    "events",
    metadata,
    Column("position", _Big, primary_key=True, autoincrement=False),
    Column("beer_id", _Big, nullable=False),
    Column("version", _Big, nullable=False),
    Column("type", String(40), nullable=False),
    Column("schema", Integer, nullable=False),
    Column("time", _Big, nullable=False),
    Column("request_id", String(128), nullable=False),
    Column("correlation_id", String(128), nullable=False),
    Column("traceparent", String(55)),
    Column("data", Text, nullable=False),
    Column("actor", String(200)),
    UniqueConstraint("beer_id", "version", name="events_beer_version"),
)

beers = Table(
    "beers",
    metadata,
    Column("id", _Big, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("brewery", Text, nullable=False),
    Column("style", Text, nullable=False),
    Column("abv", Double),
    Column("ibu", Double),
    Column("description", Text, nullable=False),
    Column("version", _Big, nullable=False),
    Column("added_at", _Big, nullable=False),
    Column("changed_at", _Big, nullable=False),
    Column("removed_at", _Big),
    Column("name_key", _Key, nullable=False),
    Column("brewery_key", _Key, nullable=False),
    Column("style_key", _Key, nullable=False),
    Column("abv_key", Double, nullable=False),  # abv, or -1 if it is unknown
)
Index("beers_by_name", beers.c.name_key, beers.c.id)
Index("beers_by_brewery", beers.c.brewery_key, beers.c.id)
Index("beers_by_style", beers.c.style_key, beers.c.id)
Index("beers_by_abv", beers.c.abv_key, beers.c.id)

requests = Table(
    "requests",
    metadata,
    Column("request_id", String(128), primary_key=True),
    Column("fingerprint", String(32), nullable=False),
    Column("answer", Text, nullable=False),
    Column("at", _Big, nullable=False),
)
Index("requests_by_age", requests.c.at)

relay = Table(
    "relay",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("epoch", _Big, nullable=False),
    Column("position", _Big, nullable=False),
)
