"""The files of the contract, and whether those that are there are of this code."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import yaml

from beers_service.contract import asyncapi, schemas
from beers_service.contract.schemas import Schema
from beers_service.domain.events import (
    EVENT_TYPES,
    BeerAdded,
    BeerDetailsChanged,
    BeerEvent,
    BeerNameChanged,
    BeerRemoved,
    BeerRestored,
)
from beers_service.envelope import message, properties
from beers_service.ports import StoredEvent
from beers_service.store.codec import event_record
from beers_service.store.payloads import PAYLOADS, Payloads

EXAMPLES: Sequence[BeerEvent] = (
    BeerAdded("Punk", "BrewDog", "IPA", abv=5.6, ibu=None, description=""),
    BeerNameChanged("Punk IPA", previous_name="Punk"),
    BeerDetailsChanged({"abv": 5.4, "ibu": 35.0}),
    BeerRemoved(),
    BeerRestored(),
)
"""The life of a beer: one event of every type."""

ASYNCAPI = "asyncapi.yaml"
_LOG_ID = "3c1d2f6e-5f0a-4a57-9f0e-2b8d6a1c7e44"
_HEADING = "# Generated from the code by `make contract`. Do not edit.\n"


def generate(
    kinds: Sequence[type[BeerEvent]] = EVENT_TYPES,
    examples: Sequence[BeerEvent] = EXAMPLES,
    payloads: Payloads = PAYLOADS,
) -> dict[str, str]:
    """Return the files of the contract, by their paths.

    Raises:
        LookupError: If one of *kinds* has no example, or a field without a rule.
    """
    published = {type(event): _publish(place, event, payloads) for place, event in enumerate(examples, start=1)}
    for kind in kinds:
        if kind not in published:
            raise LookupError(f"{kind.__name__} has no example in {__name__}")
    described = asyncapi.document(kinds, published, payloads)
    files = {ASYNCAPI: _HEADING + yaml.dump(described, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)}
    for kind in kinds:
        schema = schemas.document(kind, payloads, example=published[kind][0])
        files[f"schemas/{kind.__name__}.json"] = json.dumps(schema, ensure_ascii=False, indent=2) + "\n"
    return files


def differences(directory: Path, files: Mapping[str, str]) -> list[str]:
    """Return the paths below *directory* that are not as in *files*: others, missing, or too many."""
    there = {path.relative_to(directory).as_posix() for path in directory.glob("schemas/*")}
    return sorted(
        path
        for path in there | files.keys()
        if path not in files
        or not (directory / path).is_file()
        or (directory / path).read_text(encoding="utf-8") != files[path]
    )


def write(directory: Path, files: Mapping[str, str]) -> None:
    """Make *directory* hold *files*, and no schema that is not among them."""
    for path in differences(directory, files):
        if path in files:
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(files[path], encoding="utf-8")
        else:
            (directory / path).unlink()


def _publish(place: int, data: BeerEvent, payloads: Payloads) -> tuple[Schema, Mapping[str, Any]]:
    """Return the body and the properties of the message for *data* as the event at *place* in the life of beer 1."""
    event = StoredEvent(
        position=place,
        beer_id=1,
        version=place,
        time=datetime(2026, 11, 23, 12, tzinfo=UTC) + timedelta(minutes=place),
        request_id=f"request-{place}",
        correlation_id=f"conversation-{place}",
        data=data,
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        actor="till 3",
    )
    record = event_record(event, payloads)
    told, shared = message(record, _LOG_ID), properties(record.type, _LOG_ID)
    own: dict[str, Any] = {"correlation_id": told.correlation_id, "message_id": told.message_id}
    return orjson.loads(told.body), {
        **shared,
        **own,
        "application_headers": shared["application_headers"] | told.headers,
    }


class _Dumper(yaml.SafeDumper):
    """Writes every value out where it stands, and texts of several lines as such."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
