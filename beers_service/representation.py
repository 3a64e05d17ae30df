"""Beers, times and errors as JSON values: what RPC answers and stored answers are made of."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from beers_service.domain.beer import Beer
from beers_service.domain.errors import InvalidField

Json = dict[str, Any]


@lru_cache(maxsize=256)  # all beers and events of a commit share their time
def represent_time(time: datetime) -> str:
    """Return *time*, in UTC, in RFC 3339 with microseconds: ``2026-11-23T21:40:22.123456Z``."""
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(field: str, value: str) -> datetime:
    """Return the time that *value*, in RFC 3339, names; raises `InvalidField` for anything else."""
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidField(field, "must be a time such as 2026-11-23T21:40:22Z") from error
    raise InvalidField(field, "must say its time zone, as in 2026-11-23T21:40:22Z")


def represent_beer(beer: Beer) -> Json:
    """Return *beer* as the RPC methods answer it."""
    added_at = represent_time(beer.added_at)
    return {
        "id": beer.id,
        "name": beer.name,
        "brewery": beer.brewery,
        "style": beer.style,
        "abv": beer.abv,
        "ibu": beer.ibu,
        "description": beer.description,
        "version": beer.version,
        "added_at": added_at,
        # The same object in a beer that is new.
        "changed_at": added_at if beer.changed_at is beer.added_at else represent_time(beer.changed_at),
        "removed_at": None if beer.removed_at is None else represent_time(beer.removed_at),
    }


def represent_error(error: Exception) -> Json:
    """Return *error* in the form in which Nameko sends exceptions."""
    kind = type(error)
    return {
        "exc_type": kind.__name__,
        "exc_path": f"{kind.__module__}.{kind.__name__}",
        "exc_args": [str(argument) for argument in error.args],
        "value": str(error),
    }
