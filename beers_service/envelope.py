"""A stored event as the bus carries it: CloudEvents in binary mode, with the whole envelope as the body.

The body repeats what the headers say because a Nameko handler sees the body alone.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from beers_runtime.topology import EVENTS_EXCHANGE
from beers_service.frames import Message
from beers_service.ports import EventRecord, StoredEvent
from beers_service.representation import Json, represent_time
from beers_service.store.codec import from_microseconds
from beers_service.store.payloads import PAYLOADS, Payloads, encode

EXCHANGE = EVENTS_EXCHANGE
CONTENT_TYPE = "application/json"
"""Exactly this: Nameko logs and drops a message whose content type says any more."""


def envelope(event: StoredEvent, log_id: str, known: Payloads = PAYLOADS) -> Json:
    """Return *event* of the log *log_id* as the RPC methods and the bus tell it; ``schema`` is that of its type.

    There is an ``actor`` only where one is known.
    """
    name = type(event.data).__name__
    document = {
        "id": f"{log_id}:{event.position}",
        "type": name,
        "position": event.position,
        "beer_id": event.beer_id,
        "version": event.version,
        "time": represent_time(event.time),
        "request_id": event.request_id,
        "correlation_id": event.correlation_id,
        "data": encode(event.data),
        "schema": known[name].version,
    }
    if event.actor is not None:
        document["actor"] = event.actor
    return document


def envelope_of_record(record: EventRecord, log_id: str) -> Json:
    """Return the `envelope` of the event that *record* keeps.

    It takes the payload as it is kept: to make an object of it first would take longer than all the rest.
    """
    return _document(record, log_id, orjson.loads(record.data))


def message(record: EventRecord, log_id: str) -> Message:
    """Return what the message that tells of *record* has for itself, its `envelope` as the body.

    The rest is in `properties`.
    """
    content = _document(record, log_id, orjson.Fragment(record.data))
    headers: dict[str, str | int] = {
        "ce-id": content["id"],
        "ce-subject": str(record.beer_id),
        "ce-time": content["time"],
        "ce-position": record.position,
    }
    if record.traceparent is not None:
        headers["traceparent"] = record.traceparent
    if record.actor is not None:
        headers["ce-actor"] = record.actor
    return Message(orjson.dumps(content), record.correlation_id, content["id"], headers)


def properties(name: str, log_id: str) -> Mapping[str, Any]:
    """Return the properties that all messages of a type of event share."""
    return {
        "content_type": CONTENT_TYPE,
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "type": name,
        "application_headers": {"ce-specversion": "1.0", "ce-source": f"/beers/{log_id}", "ce-type": name},
    }


def _document(record: EventRecord, log_id: str, data: object) -> Json:
    position, beer_id, version, name, schema, time, request_id, correlation_id, _, _, actor = record
    document: Json = {
        "id": f"{log_id}:{position}",
        "type": name,
        "position": position,
        "beer_id": beer_id,
        "version": version,
        "time": represent_time(from_microseconds(time)),
        "request_id": request_id,
        "correlation_id": correlation_id,
        "data": data,
        "schema": schema,
    }
    if actor is not None:
        document["actor"] = actor
    return document
