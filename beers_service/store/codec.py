"""Between the domain's values and the rows that keep them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Row

from beers_service.domain.beer import Beer
from beers_service.ports import StoredAnswer, StoredEvent, fold_case, sort_key
from beers_service.store import payloads
from beers_service.store.payloads import PAYLOADS, Payloads

Columns = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(time: datetime) -> int:
    """Return *time* as whole microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the time, in UTC, of whole *microseconds* since 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)


def event_columns(event: StoredEvent, known: Payloads = PAYLOADS) -> Columns:
    """Return the row that keeps *event*."""
    name = type(event.data).__name__
    return {
        "position": event.position,
        "beer_id": event.beer_id,
        "version": event.version,
        "type": name,
        "schema": known[name].version,
        "time": to_microseconds(event.time),
        "request_id": event.request_id,
        "correlation_id": event.correlation_id,
        "traceparent": event.traceparent,
        "data": orjson.dumps(payloads.encode(event.data)).decode(),
    }


def event_from_row(row: Row[Any], known: Payloads = PAYLOADS) -> StoredEvent:
    """Return the event that *row* keeps, in the form that its type has now.

    Raises:
        LookupError: If a newer version of the service wrote it.
    """
    try:
        data = payloads.decode(row.type, row.schema, orjson.loads(row.data), known)
    except LookupError as error:
        raise LookupError(f"event {row.position} is {error.args[0]}") from error
    return StoredEvent(
        position=row.position,
        beer_id=row.beer_id,
        version=row.version,
        time=from_microseconds(row.time),
        request_id=row.request_id,
        correlation_id=row.correlation_id,
        traceparent=row.traceparent,
        data=data,
    )


def beer_columns(beer: Beer) -> Columns:
    """Return the row that keeps *beer*."""
    return {
        "id": beer.id,
        "name": beer.name,
        "brewery": beer.brewery,
        "style": beer.style,
        "abv": beer.abv,
        "ibu": beer.ibu,
        "description": beer.description,
        "version": beer.version,
        "added_at": to_microseconds(beer.added_at),
        "changed_at": to_microseconds(beer.changed_at),
        "removed_at": None if beer.removed_at is None else to_microseconds(beer.removed_at),
        "name_key": fold_case(beer.name),
        "brewery_key": fold_case(beer.brewery),
        "style_key": fold_case(beer.style),
        "abv_key": sort_key(beer, "abv"),
    }


def beer_from_row(row: Row[Any]) -> Beer:
    """Return the beer that *row* keeps."""
    return Beer(
        id=row.id,
        name=row.name,
        brewery=row.brewery,
        style=row.style,
        abv=row.abv,
        ibu=row.ibu,
        description=row.description,
        version=row.version,
        added_at=from_microseconds(row.added_at),
        changed_at=from_microseconds(row.changed_at),
        removed_at=None if row.removed_at is None else from_microseconds(row.removed_at),
    )


def answer_columns(answer: StoredAnswer, at: datetime) -> Columns:
    """Return the row that keeps *answer*, given at *at*."""
    return {
        "request_id": answer.request_id,
        "fingerprint": answer.fingerprint,
        "answer": orjson.dumps({"beers": answer.beers, "refusal": answer.refusal}).decode(),
        "at": to_microseconds(at),
    }


def answer_from_row(row: Row[Any]) -> StoredAnswer:
    """Return the answer that *row* keeps."""
    content = orjson.loads(row.answer)
    refusal = content["refusal"]
    return StoredAnswer(
        request_id=row.request_id,
        fingerprint=row.fingerprint,
        beers=tuple((beer_id, version) for beer_id, version in content["beers"]),
        refusal=None if refusal is None else (refusal[0], tuple(refusal[1])),
    )
