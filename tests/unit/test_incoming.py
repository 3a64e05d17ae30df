"""What a message must be to be a call."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nameko.exceptions import IncorrectSignature

from beers_service.incoming import Signature


class Service:
    """Methods of every shape."""

    def named(self, needed: object, other: object = None) -> None: ...
    def any_others(self, needed: object, **others: object) -> None: ...
    def nothing(self) -> None: ...
    def only_by_name(self, needed: object, *, flag: object) -> None: ...
    def only_by_place(self, needed: object, /, other: object = None) -> None: ...
    def any_number(self, *needed: object, **others: object) -> None: ...


METHODS = [method for name, method in vars(Service).items() if not name.startswith("__")]


@pytest.mark.parametrize("method", METHODS)
@given(
    args=st.lists(st.none(), max_size=3),
    kwargs=st.dictionaries(st.sampled_from(["needed", "other", "flag", "self", "unknown"]), st.none()),
)
def test_a_method_takes_the_calls_that_python_would_let_through(
    method: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> None:
    signature = Signature(method)
    refusal = refusal_of(method, args, kwargs)
    if refusal is None:
        signature.check(args, kwargs)
    else:
        with pytest.raises(IncorrectSignature, match=re.escape(refusal)):
            signature.check(args, kwargs)


def refusal_of(method: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> str | None:
    """Return what Python has against such a call of *method*; None if nothing."""
    try:
        inspect.signature(method).bind(None, *args, **kwargs)
    except TypeError as error:
        return str(error)
    return None
