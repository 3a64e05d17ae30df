"""A stored event as the bus carries it: CloudEvents in binary mode, with the whole envelope as the body.

The body repeats what the headers say because a Nameko handler sees the body alone.
"""

from typing import Any

import orjson

from beers_service.ports import StoredEvent
from beers_service.representation import Json, represent_time
from beers_service.store.payloads import PAYLOADS, Payloads, encode

EXCHANGE = "beers.events"
CONTENT_TYPE = "application/json"
"""Exactly this: Nameko logs and drops a message whose content type says any more."""


def envelope(event: StoredEvent, log_id: str, known: Payloads = PAYLOADS) -> Json:
    """Return *event* of the log *log_id* as the RPC methods and the bus tell it; ``schema`` is that of its type."""
    name = type(event.data).__name__
    return {
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


def message(event: StoredEvent, log_id: str, known: Payloads = PAYLOADS) -> tuple[bytes, dict[str, Any]]:
    """Return the body and the properties of the message that tells of *event*."""
    content = envelope(event, log_id, known)
    headers = {
        "ce-specversion": "1.0",
        "ce-id": content["id"],
        "ce-source": f"/beers/{log_id}",
        "ce-type": content["type"],
        "ce-subject": str(event.beer_id),
        "ce-time": content["time"],
        "ce-position": event.position,
    }
    if event.traceparent is not None:
        headers["traceparent"] = event.traceparent
    return orjson.dumps(content), {
        "content_type": CONTENT_TYPE,
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "message_id": content["id"],
        "correlation_id": event.correlation_id,
        "type": content["type"],
        "application_headers": headers,
    }
