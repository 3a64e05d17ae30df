"""Pages: how much one holds, and the token that says where the next one starts.

A token is opaque to the caller and bound to his other arguments.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from beers_service.domain.errors import InvalidField
from beers_service.domain.fields import ID_MAXIMUM, whole_number
from beers_service.representation import Json

PAGE_SIZE = 50
PAGE_SIZE_MAXIMUM = 1000

PAGE_BYTES = 1_000_000
"""About as many bytes of JSON does one page hold; it ends before the item that would be too much."""

ANSWER_BYTES = 4_000_000
"""At most as many bytes of JSON has an answer without pages; a gRPC client takes 4 MiB, and protobuf needs fewer."""

_NUMBER = 20
_PUNCTUATION = 6
_INT32_MAXIMUM = 2**31 - 1


def items_per_page(value: object) -> int:
    """Return how many items a page holds at most: 50 if *value* is 0, never more than 1,000."""
    size = whole_number("page_size", value, minimum=0, maximum=_INT32_MAXIMUM)
    return min(size or PAGE_SIZE, PAGE_SIZE_MAXIMUM)


def first_page(documents: Iterable[Json]) -> list[Json]:
    """Return the first of *documents*: about a megabyte of them, and at least one if there is any."""
    page: list[Json] = []
    size = 0
    for document in documents:
        size += size_of(document)
        if page and size > PAGE_BYTES:
            break
        page.append(document)
    return page


def size_of(document: Json) -> int:
    """Return about how many bytes *document* has as JSON: its texts are counted, the rest is taken for full."""
    return sum(len(name) + _PUNCTUATION + _size_of_value(value) for name, value in document.items())


def _size_of_value(value: object) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode())
    return size_of(value) if isinstance(value, dict) else _NUMBER


def make_token(arguments: list[Any], place: list[Any]) -> str:
    """Return the token for *place* within the listing that *arguments* describe."""
    return base64.urlsafe_b64encode(orjson.dumps([_digest(arguments), *place])).decode().rstrip("=")


def is_id(value: object) -> bool:
    """Tell whether *value* can be an id or a version."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= ID_MAXIMUM


def read_token(token: object, arguments: list[Any], parts: tuple[Callable[[object], bool], ...]) -> list[Any] | None:
    """Return the place that *token* names, None if it is empty.

    Args:
        token: What the caller gave.
        arguments: His other arguments, as in `make_token`.
        parts: Tell, for each part of the place, whether it can be one: a token may be forged.

    Raises:
        InvalidField: If it is no token, or one of a listing with other arguments.
    """
    if not isinstance(token, str):
        raise InvalidField("page_token", "must be text")
    if not token:
        return None
    try:
        digest, *place = orjson.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidField("page_token", "is no page token; take it from the page before") from error
    if digest != _digest(arguments):
        raise InvalidField("page_token", "belongs to a listing with other arguments; start again without it")
    if len(place) != len(parts) or not all(is_one(part) for is_one, part in zip(parts, place, strict=True)):
        raise InvalidField("page_token", "is no page token; take it from the page before")
    return list(place)


def _digest(arguments: list[Any]) -> str:
    return hashlib.blake2b(orjson.dumps(arguments), digest_size=6).hexdigest()
