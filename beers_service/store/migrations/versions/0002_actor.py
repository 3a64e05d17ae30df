"""Who made the request behind an event. Of those that are there already nobody can tell."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add a column that may be empty: neither database writes the table anew for it, however long the log is."""
    op.add_column("events", sa.Column("actor", sa.String(200)))
