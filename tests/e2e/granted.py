"""A subscriber for the test of the rights on RabbitMQ: it takes every beer, and fails on those that are called bad."""

from typing import Any

from sqlalchemy import Connection, text

from beers_service.subscriber import subscribe


class Granted:
    """Notes the names of the beers."""

    name = "granted"

    @subscribe(database="GRANTED_DATABASE_URL", born="beginning", delays=(0.1,), patience=1.0)
    def on_beer(self, event: dict[str, Any], connection: Connection) -> None:
        """Note the name, or fail."""
        name = event["data"]["name"]
        if name == "bad":
            raise ValueError(name)
        connection.execute(text("CREATE TABLE IF NOT EXISTS names (name TEXT)"))
        connection.execute(text("INSERT INTO names VALUES (:name)"), {"name": name})
