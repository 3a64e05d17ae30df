"""What a message has to be to count as an event."""

from typing import Any

import amqp
import orjson
import pytest

from beers_service.subscriber.arrivals import Malformed, event_of, event_told

ENVELOPE: dict[str, Any] = {
    "id": "log:1",
    "type": "BeerAdded",
    "position": 1,
    "beer_id": 1,
    "version": 1,
    "data": {"name": "Punk"},
}


def message(document: dict[str, Any], **headers: Any) -> amqp.Message:
    return amqp.Message(orjson.dumps(document), content_type="application/json", application_headers=headers)


@pytest.mark.parametrize("number", [2**63, -(2**63), 2**64 - 1])
@pytest.mark.parametrize("name", ["position", "beer_id", "version"])
def test_a_number_that_no_database_holds_makes_it_no_event(name: str, number: int) -> None:
    document = {**ENVELOPE, name: number}
    if name == "position":
        document["id"] = f"log:{number}"
    with pytest.raises(Malformed, match=f"{name} must have at most 64 bits"):
        event_of(message(document))


def test_the_biggest_position_is_one() -> None:
    assert event_of(message({**ENVELOPE, "id": f"log:{2**63 - 1}", "position": 2**63 - 1})).position == 2**63 - 1


@pytest.mark.parametrize(
    ("header", "attempts"), [(3, 3), (-1, 0), (2**63 - 1, 1_000_000), (1e300, 0), (float("inf"), 0), ("3", 0)]
)
def test_a_number_of_attempts_that_nobody_made_is_not_believed(header: object, attempts: int) -> None:
    assert event_of(message(ENVELOPE, **{"x-attempt": header})).attempts == attempts


@pytest.mark.parametrize("event", [event_of(message(ENVELOPE)), event_told(ENVELOPE)], ids=["delivered", "told"])
def test_what_is_done_to_a_copy_does_not_change_the_event(event: Any) -> None:
    copy = event.copy()
    copy["data"]["name"] = "changed"
    del copy["id"]
    assert event.document == ENVELOPE
    assert event.copy() == ENVELOPE
