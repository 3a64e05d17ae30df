"""Payloads of events through their versions."""

import dataclasses
import typing

import pytest

from beers_service.domain.events import (
    EVENT_TYPES,
    BeerAdded,
    BeerDetailsChanged,
    BeerEvent,
    BeerNameChanged,
    BeerRemoved,
    BeerRestored,
)
from beers_service.store.payloads import PAYLOADS, Data, Payload, decode, encode

EVENTS: list[BeerEvent] = [
    BeerAdded("Punk", "BrewDog", "IPA", 5.6, None, "Hops."),
    BeerNameChanged("Punk IPA", "Punk"),
    BeerDetailsChanged({"abv": None, "style": ""}),
    BeerRemoved(),
    BeerRestored(),
]


def split_name(data: Data) -> Data:
    """From version 1 to 2."""
    name, _, style = data["title"].partition("/")
    return {"name": name, "style": style}


def add_unknowns(data: Data) -> Data:
    """From version 2 to 3."""
    return {**data, "brewery": "", "abv": None, "ibu": None, "description": ""}


KNOWN = {**PAYLOADS, "BeerAdded": dataclasses.replace(PAYLOADS["BeerAdded"], upcasters=(split_name, add_unknowns))}


def test_every_type_of_event_has_a_payload() -> None:
    assert set(PAYLOADS) == {kind.__name__ for kind in EVENT_TYPES}
    assert set(EVENT_TYPES) == set(typing.get_args(BeerEvent))
    assert {type(event) for event in EVENTS} == set(EVENT_TYPES)


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_is_read_as_it_was_written(event: BeerEvent) -> None:
    name = type(event).__name__
    assert decode(name, PAYLOADS[name].version, encode(event)) == event


@pytest.mark.parametrize(
    ("version", "data"),
    [
        (1, {"title": "Punk/IPA"}),
        (2, {"name": "Punk", "style": "IPA"}),
        (3, {"name": "Punk", "style": "IPA", "brewery": "", "abv": None, "ibu": None, "description": ""}),
    ],
)
def test_an_old_payload_takes_every_step_to_the_newest_version(version: int, data: Data) -> None:
    before = dict(data)
    assert decode("BeerAdded", version, data, KNOWN) == BeerAdded("Punk", "", "IPA", None, None, "")
    assert data == before


@pytest.mark.parametrize(
    ("name", "version"), [("BeerAdded", 4), ("BeerAdded", 0), ("BeerRemoved", 2), ("BeerDrunk", 1)]
)
def test_what_nobody_knows_is_not_guessed_at(name: str, version: int) -> None:
    with pytest.raises(LookupError, match=f"a {name} of schema {version}, which this version cannot read"):
        decode(name, version, {}, KNOWN)


def test_a_version_is_one_more_than_the_steps_to_it() -> None:
    assert Payload(BeerDetailsChanged).version == 1
    assert KNOWN["BeerAdded"].version == 3
