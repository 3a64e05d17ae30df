"""The payloads of events as they are stored and published, in every version that there ever was.

An event is stored for good, in the version of its day. Read today it takes the steps from each version to the next
one: so the domain, and whoever subscribes, know the newest alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from beers_service.domain.events import (
    BeerAdded,
    BeerDetailsChanged,
    BeerEvent,
    BeerNameChanged,
    BeerRemoved,
    BeerRestored,
)

Data = Mapping[str, Any]
"""A payload: a JSON object."""

Upcaster = Callable[[Data], Data]
"""Returns a payload as its next version says the same. Pure, and never changed: old events do not change either."""


@dataclass(frozen=True, slots=True)
class Payload:
    """How the payload of one type of event is read.

    Attributes:
        decode: Makes the event of a payload of the newest version.
        upcasters: The first leads from version 1 to 2, the next one from 2 to 3, and so on.
    """

    decode: Callable[[Data], BeerEvent]
    upcasters: tuple[Upcaster, ...] = ()

    @property
    def version(self) -> int:
        """The newest version, which is the one that is written; no version can come without its upcaster."""
        return len(self.upcasters) + 1


Payloads = Mapping[str, Payload]
"""The payloads of all types of events, by the name that they are stored under."""

PAYLOADS: Payloads = {
    "BeerAdded": Payload(lambda data: BeerAdded(**data)),
    "BeerNameChanged": Payload(lambda data: BeerNameChanged(**data)),
    "BeerDetailsChanged": Payload(BeerDetailsChanged),
    "BeerRemoved": Payload(lambda _: BeerRemoved()),
    "BeerRestored": Payload(lambda _: BeerRestored()),
}


def encode(event: BeerEvent) -> Data:
    """Return the payload of *event*, in the newest version."""
    match event:
        case BeerAdded():
            return {
                "name": event.name,
                "brewery": event.brewery,
                "style": event.style,
                "abv": event.abv,
                "ibu": event.ibu,
                "description": event.description,
            }
        case BeerNameChanged():
            return {"name": event.name, "previous_name": event.previous_name}
        case BeerDetailsChanged():
            return event.changes
        case BeerRemoved() | BeerRestored():
            return {}


def decode(name: str, version: int, data: Data, payloads: Payloads = PAYLOADS) -> BeerEvent:
    """Return the event that *data* tells of, whatever its version; raises `LookupError` as `upcast` does."""
    newest = upcast(name, version, data, payloads)
    return payloads[name].decode(newest)


def upcast(name: str, version: int, data: Data, payloads: Payloads = PAYLOADS) -> Data:
    """Return the payload *data* in the newest version.

    Raises:
        LookupError: If the type or the version is none that is known.
    """
    payload = payloads.get(name)
    if payload is None or not 1 <= version <= payload.version:
        raise LookupError(f"a {name} of schema {version}, which this version cannot read")
    for step in payload.upcasters[version - 1 :]:
        data = step(data)
    return data
