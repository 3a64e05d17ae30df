"""The rules for single values, wherever they come from: what is accepted, and the form that it takes.

Each function returns the value as the catalogue keeps it or raises `InvalidField` with the field's name.
"""

import math
import unicodedata

from beers_service.domain.errors import InvalidField

NAME_LENGTH = 200
BREWERY_LENGTH = 200
STYLE_LENGTH = 100
DESCRIPTION_LENGTH = 10_000
ABV_MAXIMUM = 100.0
IBU_MAXIMUM = 10_000.0
REQUEST_ID_LENGTH = 128
ACTOR_LENGTH = 200
ID_MAXIMUM = 2**63 - 1

# Control characters, line and paragraph separators, and halves of surrogate pairs, which are no text at all.
_FORBIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_INVISIBLE = frozenset({"Cf", "Mn", "Zs"})
# Letters and a symbol in name only: fillers of Hangul, and Braille without a dot.
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_LAYOUT = frozenset("\n\r\t")


def name(value: object) -> str:
    """Return the name of a beer: 1 to 200 characters, at least one of them visible."""
    cleaned = text("name", value, NAME_LENGTH)
    if all(character in _FILLERS or unicodedata.category(character) in _INVISIBLE for character in cleaned):
        raise InvalidField("name", "must not be blank")
    return cleaned


def brewery(value: object) -> str:
    """Return the name of a brewery, empty if unknown."""
    return text("brewery", value, BREWERY_LENGTH)


def style(value: object) -> str:
    """Return the name of a style, empty if unknown."""
    return text("style", value, STYLE_LENGTH)


def description(value: object) -> str:
    """Return a description, which alone may hold line breaks and tabs."""
    return text("description", value, DESCRIPTION_LENGTH, layout=_LAYOUT)


def abv(value: object) -> float | None:
    """Return alcohol in percent by volume, rounded to two decimals; None if unknown."""
    return _quantity("abv", value, ABV_MAXIMUM)


def ibu(value: object) -> float | None:
    """Return International Bitterness Units, rounded to two decimals; None if unknown."""
    return _quantity("ibu", value, IBU_MAXIMUM)


def beer_id(value: object, field: str = "beer_id") -> int:
    """Return the id of a beer: a whole number from 1."""
    return whole_number(field, value, minimum=1)


def expected_version(value: object) -> int | None:
    """Return the version that the caller expects, None if any will do."""
    return None if value is None else whole_number("expected_version", value, minimum=0)


def request_id(value: object) -> str:
    """Return a request id: 1 to 128 printable ASCII characters without space at either end."""
    if not isinstance(value, str) or not 1 <= len(value) <= REQUEST_ID_LENGTH:
        raise InvalidField("request_id", f"must be text of 1 to {REQUEST_ID_LENGTH} characters")
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise InvalidField("request_id", "must be printable ASCII characters without space at either end")
    return value


def actor(value: object, field: str = "actor") -> str:
    """Return the name of whoever does something: 1 to 200 characters, none of them control characters.

    Others gave the name, and it stays as it is: made tidy, two of them might become one. Where users are known by
    whole numbers, such a one stands for its digits.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(whole_number(field, value, minimum=0))
    if not isinstance(value, str):
        raise InvalidField(field, "must be text, or a whole number")
    if not 1 <= len(value) <= ACTOR_LENGTH:
        raise InvalidField(field, f"must be text of 1 to {ACTOR_LENGTH} characters")
    _refuse_control_characters(field, value)
    return value


def whole_number(field: str, value: object, *, minimum: int, maximum: int = ID_MAXIMUM) -> int:
    """Return a whole number within its bounds."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidField(field, "must be a whole number")
    if not minimum <= value <= maximum:
        raise InvalidField(field, f"must be a whole number from {minimum} to {maximum}")
    return value


def text(field: str, value: object, length: int, *, layout: frozenset[str] = frozenset()) -> str:
    """Return *value* in Unicode NFC, without space at either end, with at most *length* characters.

    Args:
        field: The field's name, for the error.
        value: What the caller gave.
        length: How many characters it may have at most.
        layout: The control characters that it may contain.
    """
    if not isinstance(value, str):
        raise InvalidField(field, "must be text")
    # No composition shortens a text to less than a third: this spares normalising megabytes only to refuse them.
    if len(value) > 4 * length:
        trimmed = value.strip()
        if len(trimmed) > 4 * length:
            raise InvalidField(field, f"must have at most {length} characters, got {len(trimmed)}")
        value = trimmed
    cleaned = unicodedata.normalize("NFC", value).strip()
    if len(cleaned) > length:
        raise InvalidField(field, f"must have at most {length} characters, got {len(cleaned)}")
    _refuse_control_characters(field, cleaned, layout)
    return cleaned


def _refuse_control_characters(field: str, value: str, layout: frozenset[str] = frozenset()) -> None:
    if not value.isprintable():
        for character in value:
            if character not in layout and unicodedata.category(character) in _FORBIDDEN:
                raise InvalidField(field, f"must not contain control characters (U+{ord(character):04X})")


def _quantity(field: str, value: object, maximum: float) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidField(field, "must be a number")
    if not 0 <= value <= maximum or math.isnan(value):
        raise InvalidField(field, f"must be a number from 0 to {maximum:g}")
    # Adding zero turns -0.0 into 0.0.
    return round(float(value), 2) + 0.0
