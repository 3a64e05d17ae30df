"""What can happen to a beer. The names and fields are stored for ever: add to them, never change them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class BeerAdded:
    """A beer entered the catalogue, with what was known of it. Units as in `Beer`."""

    name: str
    brewery: str
    style: str
    abv: float | None
    ibu: float | None
    description: str


@dataclass(frozen=True, slots=True)
class BeerNameChanged:
    """A beer got another name."""

    name: str
    previous_name: str


@dataclass(frozen=True, slots=True)
class BeerDetailsChanged:
    """Details of a beer changed: from each changed field's name to its new value. Units as in `Beer`."""

    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BeerRemoved:
    """A beer left the catalogue. Its history stays."""


@dataclass(frozen=True, slots=True)
class BeerRestored:
    """A removed beer came back."""


BeerEvent = BeerAdded | BeerNameChanged | BeerDetailsChanged | BeerRemoved | BeerRestored

EVENT_TYPES: tuple[type[BeerEvent], ...] = (
    BeerAdded,
    BeerNameChanged,
    BeerDetailsChanged,
    BeerRemoved,
    BeerRestored,
)
