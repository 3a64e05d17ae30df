"""The service's answers as messages of beers.v1."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from grpc_bridge.proto.beers.v1 import beers_pb2 as v1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UP_TO_SECONDS = len("2026-11-23T21:40:22")
_WITH_MICROSECONDS = len("2026-11-23T21:40:22.123456Z")


def beer(answer: Mapping[str, Any]) -> v1.Beer:
    """Return the beer in *answer*."""
    removed_at = answer["removed_at"]
    return v1.Beer(
        id=answer["id"],
        name=answer["name"],
        brewery=answer["brewery"],
        style=answer["style"],
        abv=answer["abv"],
        ibu=answer["ibu"],
        description=answer["description"],
        version=answer["version"],
        added_at=timestamp(answer["added_at"]),
        changed_at=timestamp(answer["changed_at"]),
        removed_at=None if removed_at is None else timestamp(removed_at),
    )


def event(envelope: Mapping[str, Any]) -> v1.BeerEvent:
    """Return the event in *envelope*. Of a type that this contract does not know, it shows all but the data."""
    present = _DATA.get(envelope["type"])
    return v1.BeerEvent(
        id=envelope["id"],
        position=envelope["position"],
        beer_id=envelope["beer_id"],
        version=envelope["version"],
        time=timestamp(envelope["time"]),
        request_id=envelope["request_id"],
        correlation_id=envelope["correlation_id"],
        actor=envelope.get("actor", ""),
        **({} if present is None else present(envelope["data"])),
    )


@lru_cache(maxsize=4096)
def timestamp(text: str) -> Timestamp:
    """Return the time that *text* gives in RFC 3339, UTC. Not to be changed: beers of one commit share it."""
    if len(text) == _WITH_MICROSECONDS and text.endswith("Z"):
        return Timestamp(seconds=_seconds(text[:_UP_TO_SECONDS]), nanos=int(text[_UP_TO_SECONDS + 1 : -1]) * 1000)
    moment = Timestamp()
    moment.FromJsonString(text)
    return moment


@lru_cache(maxsize=4096)
def _seconds(text: str) -> int:
    # Beers of one page were often added in the same second.
    since = datetime.fromisoformat(text).replace(tzinfo=UTC) - _EPOCH
    return since.days * 86400 + since.seconds


def _added(data: Mapping[str, Any]) -> dict[str, Any]:
    added = v1.BeerAdded(
        name=data["name"],
        brewery=data["brewery"],
        style=data["style"],
        abv=data["abv"],
        ibu=data["ibu"],
        description=data["description"],
    )
    return {"beer_added": added}


def _name_changed(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"beer_name_changed": v1.BeerNameChanged(name=data["name"], previous_name=data["previous_name"])}


def _details_changed(data: Mapping[str, Any]) -> dict[str, Any]:
    changed = v1.BeerDetailsChanged(
        changed=FieldMask(paths=list(data)),
        brewery=data.get("brewery", ""),
        style=data.get("style", ""),
        abv=data.get("abv"),
        ibu=data.get("ibu"),
        description=data.get("description", ""),
    )
    return {"beer_details_changed": changed}


_DATA: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "BeerAdded": _added,
    "BeerNameChanged": _name_changed,
    "BeerDetailsChanged": _details_changed,
    "BeerRemoved": lambda _: {"beer_removed": v1.BeerRemoved()},
    "BeerRestored": lambda _: {"beer_restored": v1.BeerRestored()},
}

EVENT_TYPES = tuple(_DATA)
"""The types of events that this contract knows."""
