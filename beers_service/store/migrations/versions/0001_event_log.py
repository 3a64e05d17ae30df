"""The event log, the beers folded from it, the answers to requests, and the relay's cursor."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create everything, with an empty log that has an id of its own."""
    log_head = op.create_table(
        "log_head",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("log_id", sa.String(36), nullable=False),
        sa.Column("position", _Big, nullable=False),
        sa.Column("last_beer_id", _Big, nullable=False),
        sa.Column("time", _Big, nullable=False),
    )
    op.bulk_insert(log_head, [{"id": 1, "log_id": str(uuid.uuid4()), "position": 0, "last_beer_id": 0, "time": 0}])
    op.create_table(
        "events",
        sa.Column("position", _Big, primary_key=True, autoincrement=False),
        sa.Column("beer_id", _Big, nullable=False),
        sa.Column("version", _Big, nullable=False),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("schema", sa.Integer, nullable=False),
        sa.Column("time", _Big, nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("correlation_id", sa.String(128), nullable=False),
        sa.Column("traceparent", sa.String(55)),
        sa.Column("data", sa.Text, nullable=False),
        sa.UniqueConstraint("beer_id", "version", name="events_beer_version"),
    )
    op.create_table(
        "beers",
        sa.Column("id", _Big, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("brewery", sa.Text, nullable=False),
        sa.Column("style", sa.Text, nullable=False),
        sa.Column("abv", sa.Double),
        sa.Column("ibu", sa.Double),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("version", _Big, nullable=False),
        sa.Column("added_at", _Big, nullable=False),
        sa.Column("changed_at", _Big, nullable=False),
        sa.Column("removed_at", _Big),
        sa.Column("name_key", _Key, nullable=False),
        sa.Column("brewery_key", _Key, nullable=False),
        sa.Column("style_key", _Key, nullable=False),
        sa.Column("abv_key", sa.Double, nullable=False),
    )
    for column in ("name", "brewery", "style", "abv"):
        op.create_index(f"beers_by_{column}", "beers", [f"{column}_key", "id"])
    op.create_table(
        "requests",
        sa.Column("request_id", sa.String(128), primary_key=True),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("at", _Big, nullable=False),
    )
    op.create_index("requests_by_age", "requests", ["at"])
    relay = op.create_table(
        "relay",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("epoch", _Big, nullable=False),
        sa.Column("position", _Big, nullable=False),
    )
    op.bulk_insert(relay, [{"id": 1, "epoch": 0, "position": 0}])
