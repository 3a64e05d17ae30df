"""JSON Schemas (2020-12) of the events, each of the whole envelope as it is published.

The envelope is open: a field more is no new version, and a subscriber who validates may not stumble over it. The
payload, `data`, is closed: `schema` is its version, and in that version it has these fields and no others.
"""

import dataclasses
import inspect
import re
import typing
from collections.abc import Mapping
from typing import Any

from beers_service.domain import commands, fields
from beers_service.domain.beer import Beer
from beers_service.domain.events import BeerEvent
from beers_service.ports import StoredEvent
from beers_service.store.payloads import PAYLOADS, Payloads

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

# As the domain has it: no control characters, no separators of lines or paragraphs.
_LINE = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"
_LINES = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u2028\u2029]*$"
_LOG_ID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TIME = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$"

EVENT_ID: Schema = {
    "description": "Unique to the event: the id of the log and the position. It tells a repeated delivery.",
    "type": "string",
    "pattern": f"^{_LOG_ID}:[1-9][0-9]*$",
}
SOURCE: Schema = {"description": "The log.", "type": "string", "pattern": f"^/beers/{_LOG_ID}$"}
TRACEPARENT: Schema = {
    "description": "The trace that the request was part of, as W3C Trace Context writes it.",
    "type": "string",
    "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
}
ACTOR: Schema = {
    "description": "Who made the request, as the issuer of tokens or the caller names them; missing if nobody said.",
    "type": "string",
    "minLength": 1,
    "maxLength": fields.ACTOR_LENGTH,
    "pattern": _LINE,
}


def _text(length: int, *, minimum: int = 0, pattern: str = _LINE) -> Schema:
    shortest = {"minLength": minimum} if minimum else {}
    return {"type": "string", **shortest, "maxLength": length, "pattern": pattern}


def _quantity(maximum: float) -> Schema:
    return {"type": ["number", "null"], "minimum": 0, "maximum": maximum}


def _identifier(length: int) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": length, "pattern": "^[ -~]+$"}


def _number() -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": fields.ID_MAXIMUM}


_RULES: Mapping[str, Schema] = {
    "name": _text(fields.NAME_LENGTH, minimum=1),
    "previous_name": {"description": "The name until then."} | _text(fields.NAME_LENGTH, minimum=1),
    "brewery": _text(fields.BREWERY_LENGTH),
    "style": _text(fields.STYLE_LENGTH),
    "abv": _quantity(fields.ABV_MAXIMUM),
    "ibu": _quantity(fields.IBU_MAXIMUM),
    "description": _text(fields.DESCRIPTION_LENGTH, pattern=_LINES),
}
"""What the fields of payloads may be, by their names: a name means the same in every event."""

_JSON_TYPES: Mapping[object, str | list[str]] = {str: "string", float | None: ["number", "null"]}


def event_schema(kind: type[BeerEvent], payloads: Payloads = PAYLOADS) -> Schema:
    """Return the schema of the envelope of events of *kind*.

    Raises:
        LookupError: If *kind* is in no registry, or a field of it has no rule, or one for values of another type.
    """
    version = _version(kind, payloads)
    said = attributes(StoredEvent)
    time = {"description": said["time"], "type": "string", "format": "date-time", "pattern": _TIME}
    properties: Schema = {
        "id": EVENT_ID,
        "type": {"description": "What happened; also the routing key.", "const": kind.__name__},
        "position": {"description": said["position"], **_number()},
        "beer_id": {"description": said["beer_id"], **_number()},
        "version": {"description": said["version"], **_number()},
        "time": time,
        "request_id": {"description": said["request_id"], **_identifier(fields.REQUEST_ID_LENGTH)},
        "correlation_id": {"description": said["correlation_id"], **_identifier(fields.REQUEST_ID_LENGTH)},
        "data": _data(kind),
        "schema": {"description": "The version of `data`.", "const": version},
    }
    described = {"type": "object", "description": summary(kind), "required": list(properties)}
    return described | {"properties": properties | {"actor": ACTOR}}


def document(kind: type[BeerEvent], payloads: Payloads = PAYLOADS, *, example: Mapping[str, Any]) -> Schema:
    """Return `event_schema` as a document of its own."""
    version = _version(kind, payloads)
    heading = {"$schema": DIALECT, "$id": f"urn:beers:events:{kind.__name__}:{version}", "title": kind.__name__}
    return heading | event_schema(kind, payloads) | {"examples": [example]}


def summary(kind: type) -> str:
    """Return what the docstring of *kind* says, up to its first section, on one line."""
    text = (inspect.getdoc(kind) or "").partition("\n\n")[0]
    # What the units are is said with each field here.
    return " ".join(text.split()).removesuffix(" Units as in `Beer`.")


def attributes(kind: type) -> dict[str, str]:
    """Return what the section "Attributes" of the docstring of *kind* says of each, in the words of JSON."""
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()).replace("None", "null") for name, text in found}


def _version(kind: type[BeerEvent], payloads: Payloads) -> int:
    payload = payloads.get(kind.__name__)
    if payload is None:
        raise LookupError(f"{kind.__name__} has no payload in the store's registry")
    return payload.version


def _data(kind: type[BeerEvent]) -> Schema:
    closed = {"type": "object", "additionalProperties": False}
    names = [field.name for field in dataclasses.fields(kind)]
    types = typing.get_type_hints(kind)
    if names == ["changes"]:
        said = "The changed fields alone, each with its new value."
        properties = {name: _property(kind, name) for name in commands.DETAILS}
        return closed | {"description": said, "minProperties": 1, "properties": properties}
    for name in names:
        if _rule(kind, name)["type"] != _JSON_TYPES.get(types[name]):
            raise LookupError(f"{kind.__name__}.{name} is a {types[name]}, and its rule in {__name__} is for another")
    return closed | {"required": names, "properties": {name: _property(kind, name) for name in names}}


def _property(kind: type[BeerEvent], name: str) -> Schema:
    return {"description": attributes(Beer).get(name, ""), **_rule(kind, name)}


def _rule(kind: type[BeerEvent], name: str) -> Schema:
    rule = _RULES.get(name)
    if rule is None:
        raise LookupError(f"{kind.__name__}.{name} has no rule in {__name__}: say what values it may have")
    return rule
