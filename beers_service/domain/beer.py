"""A beer: what it is, what a command on it leads to, and how events change it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from beers_service.domain.commands import Add, Command, Remove, Rename, Restore, Update
from beers_service.domain.errors import BeerNotFound, BeerNotRemoved, VersionConflict
from beers_service.domain.events import (
    BeerAdded,
    BeerDetailsChanged,
    BeerEvent,
    BeerNameChanged,
    BeerRemoved,
    BeerRestored,
)


@dataclass(frozen=True, slots=True)
class Beer:
    """A beer as it stands after its events so far.

    Attributes:
        id: Its identity, from 1, never reused.
        name: 1 to 200 characters; two beers may share one.
        brewery: Empty if unknown.
        style: Empty if unknown.
        abv: Alcohol in percent by volume, two decimals; None if unknown.
        ibu: International Bitterness Units, two decimals; None if unknown.
        description: Empty if there is none.
        version: How many events it has had.
        added_at: When it was added, in UTC.
        changed_at: When its last event happened, in UTC.
        removed_at: When it was removed, in UTC; None unless it is removed.
    """

    id: int
    name: str
    brewery: str
    style: str
    abv: float | None
    ibu: float | None
    description: str
    version: int
    added_at: datetime
    changed_at: datetime
    removed_at: datetime | None


def decide(beer: Beer | None, command: Command, expected_version: int | None = None) -> list[BeerEvent]:
    """Decide what *command* means for *beer*.

    A command that changes nothing is no event: the log records what happened, and nothing did.

    Args:
        beer: The beer that the command names; None if there is none, as for `Add`.
        command: What is asked for.
        expected_version: The version that the beer must have; None if any will do.

    Returns:
        The events to append, oldest first; empty if nothing changes.

    Raises:
        BeerNotFound: If there is no such beer, or it is removed and the command is not `Restore`.
        VersionConflict: If the beer has another version than the expected one.
        BeerNotRemoved: If the beer is to be restored and is not removed.
    """
    if isinstance(command, Add):
        if expected_version:
            raise VersionConflict("(new)", str(expected_version), "0")
        return [
            BeerAdded(
                name=command.name,
                brewery=command.brewery,
                style=command.style,
                abv=command.abv,
                ibu=command.ibu,
                description=command.description,
            )
        ]
    if beer is None or (beer.removed_at is not None and not isinstance(command, Restore)):
        raise BeerNotFound(str(command.beer_id))
    if expected_version is not None and expected_version != beer.version:
        raise VersionConflict(str(beer.id), str(expected_version), str(beer.version))
    match command:
        case Rename():
            return [] if command.name == beer.name else [BeerNameChanged(command.name, previous_name=beer.name)]
        case Update():
            changes = {field: value for field, value in command.changes.items() if getattr(beer, field) != value}
            return [BeerDetailsChanged(changes)] if changes else []
        case Remove():
            return [BeerRemoved()]
        case Restore():
            if beer.removed_at is None:
                raise BeerNotRemoved(str(beer.id))
            return [BeerRestored()]
        case _:
            assert_never(command)


def evolve(beer: Beer | None, event: BeerEvent, *, beer_id: int, time: datetime) -> Beer:
    """Return *beer* as *event*, which happened at *time*, leaves it.

    Raises:
        ValueError: If a history begins with another event than `BeerAdded`, or has a second one.
    """
    if isinstance(event, BeerAdded):
        if beer is not None:
            raise ValueError(f"beer {beer_id} was added twice")
        return Beer(
            id=beer_id,
            name=event.name,
            brewery=event.brewery,
            style=event.style,
            abv=event.abv,
            ibu=event.ibu,
            description=event.description,
            version=1,
            added_at=time,
            changed_at=time,
            removed_at=None,
        )
    if beer is None:
        raise ValueError(f"the history of beer {beer_id} does not begin with BeerAdded")
    version = beer.version + 1
    match event:
        case BeerNameChanged():
            return replace(beer, name=event.name, version=version, changed_at=time)
        case BeerDetailsChanged():
            return replace(beer, **event.changes, version=version, changed_at=time)
        case BeerRemoved():
            return replace(beer, version=version, changed_at=time, removed_at=time)
        case BeerRestored():
            return replace(beer, version=version, changed_at=time, removed_at=None)
        case _:
            assert_never(event)


def fold(beer_id: int, history: Iterable[tuple[BeerEvent, datetime]], beer: Beer | None = None) -> Beer | None:
    """Return the beer that *history*, oldest event first, makes of *beer*; None if there is neither."""
    for event, time in history:
        beer = evolve(beer, event, beer_id=beer_id, time=time)
    return beer
