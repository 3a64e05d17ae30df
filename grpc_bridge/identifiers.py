"""Identifiers that nobody else makes: one random prefix a process, and a count."""

import itertools
import re
import secrets
import unicodedata
from collections.abc import Callable

_LONGEST = 128
_LONGEST_NAME = 200
_ACCEPTABLE = re.compile(r"[\x21-\x7e]{1,128}")
# Control characters, separators of lines and paragraphs, and halves of surrogate pairs, which are no text at all.
_CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})


def identifiers() -> Callable[[], str]:
    """Return a function that returns another identifier at each call; cheaper than a random one each."""
    prefix, count = secrets.token_hex(8), itertools.count(1)
    return lambda: f"{prefix}-{next(count):x}"


def is_acceptable(identifier: object) -> bool:
    """Tell whether *identifier* may stand in a log and a message: printable ASCII, at most 128 characters."""
    return isinstance(identifier, str) and _ACCEPTABLE.fullmatch(identifier) is not None


def is_name(text: str) -> bool:
    """Tell whether *text* can be kept as who did something: 1 to 200 characters, none of them control characters.

    The service's rule, which would refuse the command.
    """
    if not 1 <= len(text) <= _LONGEST_NAME:
        return False
    return text.isprintable() or not any(unicodedata.category(character) in _CONTROL for character in text)


def in_a_log(identifier: str) -> str:
    """Return *identifier*, which a client chose, if it may stand in a log, where spaces do no harm; else a marker."""
    return (
        identifier
        if len(identifier) <= _LONGEST and identifier.isascii() and identifier.isprintable()
        else "(malformed)"
    )
