"""Between the domain's values and the rows that keep them, which are tuples in the order of the columns in `schema`."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import orjson

from beers_service.domain.beer import Beer
from beers_service.ports import EventRecord, Head, StoredAnswer, StoredEvent, fold_case, sort_key
from beers_service.store import payloads
from beers_service.store.payloads import PAYLOADS, Payloads
from beers_service.store.statements import Row

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOMENTS = 256
"""How many times are kept translated: those of a batch are the same."""


@lru_cache(_MOMENTS)
def to_microseconds(time: datetime) -> int:
    """Return *time* as whole microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


@lru_cache(_MOMENTS)
def from_microseconds(microseconds: int) -> datetime:
    """Return the time, in UTC, of whole *microseconds* since 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)


def head_from_row(row: Row) -> Head:
    """Return the head that *row* keeps."""
    _, log_id, position, last_beer_id, time = row
    return Head(log_id, position, last_beer_id, from_microseconds(time))


def event_record(event: StoredEvent, known: Payloads = PAYLOADS) -> EventRecord:
    """Return the record of *event*, which is the row that keeps it as well."""
    name = type(event.data).__name__
    return EventRecord(
        event.position,
        event.beer_id,
        event.version,
        name,
        known[name].version,
        to_microseconds(event.time),
        event.request_id,
        event.correlation_id,
        event.traceparent,
        orjson.dumps(payloads.encode(event.data)).decode(),
        event.actor,
    )


def records_from_rows(rows: Iterable[Row], known: Payloads = PAYLOADS) -> list[EventRecord]:
    """Return the records that *rows* keep, each payload in the version that its type has now.

    Raises:
        LookupError: If a newer version of the service wrote one.
    """
    newest = {name: payload.version for name, payload in known.items()}
    return [
        record if newest.get(record.type) == record.schema else _upcast(record, known)
        for record in map(EventRecord._make, rows)
    ]


def event_from_row(row: Row, known: Payloads = PAYLOADS) -> StoredEvent:
    """Return the event that *row* keeps, in the form that its type has now.

    Raises:
        LookupError: If a newer version of the service wrote it.
    """
    position, beer_id, version, name, schema, time, request_id, correlation_id, traceparent, data, actor = row
    try:
        event = payloads.decode(name, schema, orjson.loads(data), known)
    except LookupError as error:
        raise LookupError(f"event {position} is {error.args[0]}") from error
    return StoredEvent(
        position, beer_id, version, from_microseconds(time), request_id, correlation_id, event, traceparent, actor
    )


def beer_row(beer: Beer) -> Row:
    """Return the row that keeps *beer*."""
    return (
        beer.id,
        beer.name,
        beer.brewery,
        beer.style,
        beer.abv,
        beer.ibu,
        beer.description,
        beer.version,
        to_microseconds(beer.added_at),
        to_microseconds(beer.changed_at),
        None if beer.removed_at is None else to_microseconds(beer.removed_at),
        fold_case(beer.name),
        fold_case(beer.brewery),
        fold_case(beer.style),
        sort_key(beer, "abv"),
    )


def beer_from_row(row: Row) -> Beer:
    """Return the beer that *row* keeps."""
    beer_id, name, brewery, style, abv, ibu, description, version, added_at, changed_at, removed_at, *_ = row
    return Beer(
        beer_id,
        name,
        brewery,
        style,
        abv,
        ibu,
        description,
        version,
        from_microseconds(added_at),
        from_microseconds(changed_at),
        None if removed_at is None else from_microseconds(removed_at),
    )


def answer_row(answer: StoredAnswer, at: datetime) -> Row:
    """Return the row that keeps *answer*, given at *at*."""
    content = orjson.dumps({"beers": answer.beers, "refusal": answer.refusal}).decode()
    return answer.request_id, answer.fingerprint, content, to_microseconds(at)


def answer_from_row(row: Row) -> StoredAnswer:
    """Return the answer that *row* keeps."""
    request_id, fingerprint, content, _ = row
    answer = orjson.loads(content)
    refusal = answer["refusal"]
    return StoredAnswer(
        request_id=request_id,
        fingerprint=fingerprint,
        beers=tuple((beer_id, version) for beer_id, version in answer["beers"]),
        refusal=None if refusal is None else (refusal[0], tuple(refusal[1])),
    )


def _upcast(record: EventRecord, known: Payloads) -> EventRecord:
    try:
        data = payloads.upcast(record.type, record.schema, orjson.loads(record.data), known)
    except LookupError as error:
        raise LookupError(f"event {record.position} is {error.args[0]}") from error
    return record._replace(schema=known[record.type].version, data=orjson.dumps(data).decode())
