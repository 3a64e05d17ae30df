"""The contract of the events: that it is of this code, that it is one, and that what is published keeps it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import make_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from asyncapi3 import AsyncAPI3
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from beers_service.contract.documents import ASYNCAPI, EXAMPLES, differences, generate, write
from beers_service.contract.schemas import event_schema
from beers_service.domain import beer as domain
from beers_service.domain import commands, fields
from beers_service.domain.errors import InvalidField
from beers_service.domain.events import EVENT_TYPES, BeerAdded, BeerRemoved
from beers_service.envelope import EXCHANGE, envelope
from beers_service.ports import StoredEvent
from beers_service.store.payloads import PAYLOADS
from tests.published import DOCS, require_valid

LOG_ID = "3c1d2f6e-5f0a-4a57-9f0e-2b8d6a1c7e44"


def event(data: Any = EXAMPLES[0], actor: str | None = None) -> dict[str, Any]:
    stored = StoredEvent(7, 3, 2, datetime(2026, 11, 23, tzinfo=UTC), "request", "conversation", data, actor=actor)
    return json.loads(json.dumps(envelope(stored, LOG_ID)))  # type: ignore[no-any-return] # an object stays one


def described() -> dict[str, Any]:
    return yaml.safe_load(generate()[ASYNCAPI])  # type: ignore[no-any-return] # generated above


def changed(kind: type, *fields: tuple[str, Any]) -> type:
    """Return *kind* as it would be with more fields."""
    return make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True, namespace={"__doc__": kind.__doc__})


def test_what_is_committed_is_what_the_code_yields() -> None:
    assert differences(DOCS, generate()) == []


def test_a_field_more_changes_the_contract() -> None:
    removed = changed(BeerRemoved, ("style", str))
    kinds = [removed if kind is BeerRemoved else kind for kind in EVENT_TYPES]
    examples = [removed("IPA") if isinstance(example, BeerRemoved) else example for example in EXAMPLES]
    assert differences(DOCS, generate(kinds, examples)) == [ASYNCAPI, "schemas/BeerRemoved.json"]


def test_a_version_more_changes_the_contract() -> None:
    payloads = {**PAYLOADS, "BeerAdded": replace(PAYLOADS["BeerAdded"], upcasters=(lambda data: data,))}
    assert differences(DOCS, generate(payloads=payloads)) == [ASYNCAPI, "schemas/BeerAdded.json"]


def test_a_type_less_leaves_a_schema_too_many() -> None:
    assert differences(DOCS, generate(EVENT_TYPES[:-1])) == [ASYNCAPI, "schemas/BeerRestored.json"]


def test_a_field_that_nobody_described_is_refused_by_name() -> None:
    with pytest.raises(LookupError, match=r"^BeerRemoved\.reason has no rule"):
        event_schema(changed(BeerRemoved, ("reason", str)))
    with pytest.raises(LookupError, match=r"^BeerRemoved\.abv is a <class 'str'>"):
        event_schema(changed(BeerRemoved, ("abv", str)))


def test_a_type_of_event_needs_a_payload_and_an_example() -> None:
    drunk: Any = make_dataclass("BeerDrunk", [], frozen=True)
    with pytest.raises(LookupError, match="BeerDrunk has no payload"):
        event_schema(drunk)
    with pytest.raises(LookupError, match="BeerDrunk has no example"):
        generate([*EVENT_TYPES, drunk])


def test_writing_makes_a_folder_hold_the_contract_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, generate())
    (tmp_path / "schemas" / "BeerDrunk.json").write_text("{}")
    (tmp_path / ASYNCAPI).write_text("")
    (tmp_path / "schemas" / "BeerAdded.json").unlink()

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        program = [sys.executable, "-m", "beers_service.contract", *arguments, str(tmp_path)]
        return subprocess.run(program, capture_output=True, text=True, check=False)

    refused = run("--check")
    assert refused.returncode == 1
    assert refused.stderr.count("run `make contract`") == 3
    assert run().returncode == 0
    assert (run("--check").returncode, differences(tmp_path, generate())) == (0, [])


def test_the_document_is_asyncapi_and_every_reference_in_it_leads_somewhere() -> None:
    document = described()
    AsyncAPI3.model_validate(document)
    references = list(_references(document))
    assert len(references) == 4 * len(EVENT_TYPES)
    for reference in references:
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    assert {channel["bindings"]["amqp"]["exchange"]["name"] for channel in document["channels"].values()} == {EXCHANGE}
    assert {channel["address"] for channel in document["channels"].values()} == {kind.__name__ for kind in EVENT_TYPES}


def _references(document: Any) -> Iterator[str]:
    if isinstance(document, dict) and "$ref" in document:
        yield document["$ref"]
    values = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    for value in values:
        yield from _references(value)


@pytest.mark.parametrize("kind", [kind.__name__ for kind in EVENT_TYPES])
def test_schemas_are_schemas_and_their_examples_keep_to_them(kind: str) -> None:
    schema = json.loads(generate()[f"schemas/{kind}.json"])
    Draft202012Validator.check_schema(schema)
    assert len(schema["examples"]) == 1
    Draft202012Validator(schema).validate(schema["examples"][0])
    message = described()["components"]["messages"][kind]
    Draft202012Validator.check_schema(message["headers"])
    # Nothing optional is missing in the example, and nothing is in it that is not described.
    assert message["examples"][0]["headers"].keys() == message["headers"]["properties"].keys()
    Draft202012Validator(message["headers"]).validate(message["examples"][0]["headers"])
    assert described()["components"]["schemas"][kind]["properties"] == schema["properties"]


def test_everything_that_is_published_is_described() -> None:
    properties = event_schema(BeerAdded)["properties"]
    assert properties.keys() == event(actor="till 3").keys()
    assert all(value.get("description") for value in properties.values() if value is not properties["data"])
    assert all(value["description"] for value in properties["data"]["properties"].values())


def test_a_payload_is_closed_and_the_envelope_is_open() -> None:
    require_valid(event() | {"tenant": "north"})
    for wrong in (
        event() | {"data": event()["data"] | {"origin": "Ellon"}},
        event() | {"data": {"name": "Punk"}},
        event() | {"schema": 2},
        event() | {"position": 0},
        event() | {"actor": None},
        event() | {"actor": ""},
        event() | {"time": "2026-11-23T12:00:00+01:00"},
        {name: value for name, value in event().items() if name != "id"},
    ):
        with pytest.raises(ValidationError):
            require_valid(wrong)


@given(actor=st.text(max_size=210) | st.integers())
def test_whatever_is_an_actor_keeps_the_contract(actor: str | int) -> None:
    try:
        known = fields.actor(actor)
    except InvalidField:
        return
    require_valid(event(actor=known))


_DETAILS = {
    "brewery": st.text(max_size=210),
    "style": st.text(max_size=110),
    "abv": st.none() | st.floats(0, 100),
    "ibu": st.none() | st.floats(0, 10_000),
    "description": st.text(),
}


@given(name=st.text(max_size=210), details=st.fixed_dictionaries({}, optional=_DETAILS))
def test_whatever_the_domain_accepts_keeps_the_contract(name: str, details: dict[str, Any]) -> None:
    try:
        adding = commands.add(name, **details)
        renaming, updating = commands.rename(1, name), commands.update(1, details)
    except InvalidField:
        return
    now = datetime(2026, 11, 23, tzinfo=UTC)
    beer = domain.evolve(None, BeerAdded("Other", "", "", None, None, ""), beer_id=1, time=now)
    for command in (adding, renaming, updating):
        for data in domain.decide(beer, command):
            require_valid(event(data))
