"""The AsyncAPI 3.0 document: the exchange, its routing keys, and what the messages are."""

from collections.abc import Mapping, Sequence
from typing import Any

from beers_service.contract import schemas
from beers_service.contract.schemas import Schema
from beers_service.domain.events import BeerEvent
from beers_service.envelope import CONTENT_TYPE, EXCHANGE
from beers_service.reads import VERSION
from beers_service.store.payloads import PAYLOADS, Payloads

_BINDING = "0.3.0"

_DESCRIPTION = """\
What happens to the beers of the catalogue, each event a CloudEvent in binary mode whose body is the whole envelope.

Delivery is at least once, in the order of the log. `id` tells a repeated delivery. `position` counts all events of
all types from 1 without a gap, so whoever follows all of them can tell that none is missing.

A subscriber declares a durable queue of its own and binds it to the exchange with the types that it wants as routing
keys; `#` stands for all of them. The envelope may get more fields; `data` changes only together with `schema`.
"""


def document(
    kinds: Sequence[type[BeerEvent]],
    examples: Mapping[type[BeerEvent], tuple[Schema, Mapping[str, Any]]],
    payloads: Payloads = PAYLOADS,
) -> Schema:
    """Return the document for events of *kinds*, whose *examples* are a body and the properties of its message."""
    names = [kind.__name__ for kind in kinds]
    messages = {}
    for kind in kinds:
        body, properties = examples[kind]
        messages[kind.__name__] = _message(kind, body, properties)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "beers",
            "version": VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {name: _channel(name) for name in names},
        "operations": {f"publish{name}": _operation(name) for name in names},
        "components": {
            "messages": messages,
            "schemas": {kind.__name__: schemas.event_schema(kind, payloads) for kind in kinds},
        },
    }


def _channel(name: str) -> Schema:
    exchange = {"name": EXCHANGE, "type": "topic", "durable": True, "autoDelete": False}
    return {
        "address": name,
        "title": name,
        "description": f"The exchange `{EXCHANGE}` with the routing key `{name}`.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": _BINDING}},
    }


def _operation(name: str) -> Schema:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        # Kept by the broker over its restart, if the queue is durable.
        "bindings": {"amqp": {"deliveryMode": 2, "mandatory": False, "bindingVersion": _BINDING}},
    }


def _message(kind: type[BeerEvent], body: Schema, properties: Mapping[str, Any]) -> Schema:
    name = kind.__name__
    return {
        "name": name,
        "title": name,
        "summary": schemas.summary(kind),
        "contentType": CONTENT_TYPE,
        "correlationId": {
            "description": "The conversation that the request was part of.",
            "location": "$message.payload#/correlation_id",
        },
        "headers": _headers(name),
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "bindings": {
            "amqp": {
                "contentEncoding": properties["content_encoding"],
                "messageType": properties["type"],
                "bindingVersion": _BINDING,
            }
        },
        "examples": [{"name": name, "headers": dict(properties["application_headers"]), "payload": body}],
    }


def _headers(name: str) -> Schema:
    """Return the schema of the headers: CloudEvents in binary mode, and actor and trace if they are known."""
    said: Schema = {"type": "string"}
    properties: Schema = {
        "ce-specversion": {"const": "1.0"},
        "ce-id": schemas.EVENT_ID,
        "ce-source": schemas.SOURCE,
        "ce-type": {"const": name},
        "ce-subject": said | {"description": "The beer's id.", "pattern": "^[1-9][0-9]*$"},
        "ce-time": said | {"description": "`time` of the body.", "format": "date-time"},
        "ce-position": {"description": "`position` of the body.", "type": "integer", "minimum": 1},
    }
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties
        | {"ce-actor": schemas.ACTOR | {"description": "`actor` of the body."}, "traceparent": schemas.TRACEPARENT},
    }
