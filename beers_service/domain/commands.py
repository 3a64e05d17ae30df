"""What can be asked for. A command exists only if its values are valid: build one with its function below."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from beers_service.domain import fields
from beers_service.domain.errors import InvalidField

BATCH_SIZE = 1000
"""How many beers one call may add at most."""

DETAILS: Mapping[str, Callable[[object], str | float | None]] = {
    "brewery": fields.brewery,
    "style": fields.style,
    "abv": fields.abv,
    "ibu": fields.ibu,
    "description": fields.description,
}
"""The details that `update` changes, and the rule for each."""

_NEW_BEER = frozenset({"name", *DETAILS})


@dataclass(frozen=True, slots=True)
class Add:
    """Add a beer. Units as in `Beer`."""

    name: str
    brewery: str
    style: str
    abv: float | None
    ibu: float | None
    description: str


@dataclass(frozen=True, slots=True)
class Rename:
    """Give a beer another name."""

    beer_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Update:
    """Change details of a beer: from each field's name to its new value."""

    beer_id: int
    changes: Mapping[str, str | float | None]


@dataclass(frozen=True, slots=True)
class Remove:
    """Take a beer out of the catalogue."""

    beer_id: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Bring a removed beer back."""

    beer_id: int


Command = Add | Rename | Update | Remove | Restore


def add(
    name: object,
    brewery: object = "",
    style: object = "",
    abv: object = None,
    ibu: object = None,
    description: object = "",
) -> Add:
    """Return the command that adds a beer, its values checked; raises `InvalidField`."""
    return Add(
        name=fields.name(name),
        brewery=fields.brewery(brewery),
        style=fields.style(style),
        abv=fields.abv(abv),
        ibu=fields.ibu(ibu),
        description=fields.description(description),
    )


def add_many(beers: object) -> tuple[Add, ...]:
    """Return the commands that add *beers*, a sequence of mappings; errors name the field as ``beers[3].abv``."""
    if not isinstance(beers, Sequence) or isinstance(beers, str) or not 1 <= len(beers) <= BATCH_SIZE:
        raise InvalidField("beers", f"must be a list of 1 to {BATCH_SIZE} beers")
    return tuple(_add_one(index, beer) for index, beer in enumerate(beers))


def _add_one(index: int, beer: object) -> Add:
    if not isinstance(beer, Mapping):
        raise InvalidField(f"beers[{index}]", "must be a beer: an object with a name")
    try:
        return add_described(beer)
    except InvalidField as error:
        raise InvalidField(f"beers[{index}].{error.field}", error.reason) from error


def add_described(beer: Mapping[str, object]) -> Add:
    """Return the command that adds the beer with these fields; raises `InvalidField`, also for an unknown field."""
    unknown = beer.keys() - _NEW_BEER
    if unknown:
        raise InvalidField(str(min(unknown)), "is no field of a new beer")
    return add(**{"name": None, **beer})


def rename(beer_id: object, name: object) -> Rename:
    """Return the command that renames a beer; raises `InvalidField`."""
    return Rename(fields.beer_id(beer_id), fields.name(name))


def update(beer_id: object, changes: Mapping[str, object]) -> Update:
    """Return the command that changes the given details of a beer; raises `InvalidField`."""
    checked: dict[str, str | float | None] = {}
    identity = fields.beer_id(beer_id)
    for field, value in changes.items():
        rule = DETAILS.get(field)
        if rule is None:
            hint = "; use rename" if field == "name" else f"; the details are {', '.join(DETAILS)}"
            raise InvalidField(field, f"is no detail that can be updated{hint}")
        # None clears a text as well: it says "unknown" for every detail alike.
        checked[field] = rule("" if value is None and field not in {"abv", "ibu"} else value)
    return Update(identity, checked)


def remove(beer_id: object) -> Remove:
    """Return the command that removes a beer; raises `InvalidField`."""
    return Remove(fields.beer_id(beer_id))


def restore(beer_id: object) -> Restore:
    """Return the command that restores a beer; raises `InvalidField`."""
    return Restore(fields.beer_id(beer_id))
