"""What the bus is told, made from a record, is what the RPC methods tell, made from an event."""

import json
from datetime import UTC, datetime

import pytest

from beers_service.contract.documents import EXAMPLES
from beers_service.domain.events import BeerEvent
from beers_service.envelope import envelope, message, properties
from beers_service.ports import EventRecord, StoredEvent
from beers_service.store import schema
from beers_service.store.codec import event_record

LOG_ID = "3c1d2f6e-5f0a-4a57-9f0e-2b8d6a1c7e44"
TIME = datetime(2026, 11, 23, 12, 0, 0, 7, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("data", EXAMPLES)
@pytest.mark.parametrize(("trace", "actor"), [(None, None), (TRACE, None), (None, "Åse"), (TRACE, "till 3")])
def test_a_message_tells_the_whole_envelope_and_repeats_it_in_its_headers(
    data: BeerEvent, trace: str | None, actor: str | None
) -> None:
    event = StoredEvent(7, 3, 2, TIME, "request", "conversation", data, trace, actor)
    told, shared = message(event_record(event), LOG_ID), properties(type(data).__name__, LOG_ID)
    whole = envelope(event, LOG_ID)
    assert json.loads(told.body) == whole
    assert whole.get("actor", "nobody") == (actor or "nobody")
    assert (told.correlation_id, told.message_id, shared["type"]) == ("conversation", whole["id"], whole["type"])
    assert shared["application_headers"] | told.headers == {
        "ce-specversion": "1.0",
        "ce-source": f"/beers/{LOG_ID}",
        "ce-type": whole["type"],
        "ce-id": whole["id"],
        "ce-subject": "3",
        "ce-time": "2026-11-23T12:00:00.000007Z",
        "ce-position": 7,
        **({"traceparent": trace} if trace else {}),
        **({"ce-actor": actor} if actor else {}),
    }


def test_a_record_is_a_row_of_the_log() -> None:
    assert list(EventRecord._fields) == schema.events.columns.keys()
