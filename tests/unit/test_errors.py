"""Errors on their way to the caller and back."""

import inspect

import nameko.exceptions
import pytest

from beers_service.domain import errors
from beers_service.domain.errors import BeersError
from beers_service.representation import represent_error

ALL = BeersError.__subclasses__()


def made(kind: type[BeersError]) -> BeersError:
    return kind(*(f"<{name}>" for name in inspect.signature(kind).parameters))


@pytest.mark.parametrize("kind", ALL)
def test_an_error_survives_the_journey_through_nameko(kind: type[BeersError]) -> None:
    nameko.exceptions.deserialize_to_instance(kind)
    error = made(kind)
    arrived = nameko.exceptions.deserialize(nameko.exceptions.serialize(error))
    assert type(arrived) is kind
    assert arrived.args == error.args
    assert str(arrived) == str(error)


@pytest.mark.parametrize("kind", ALL)
def test_the_answers_within_a_batch_have_namekos_form(kind: type[BeersError]) -> None:
    assert represent_error(made(kind)) == nameko.exceptions.serialize(made(kind))


@pytest.mark.parametrize("kind", ALL)
def test_an_errors_message_says_all_of_its_arguments(kind: type[BeersError]) -> None:
    if kind is errors.DeadlinePassed:
        return
    assert all(argument in str(made(kind)) for argument in made(kind).args)


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn = {line.split("── ")[1].split("(")[0] for line in (errors.__doc__ or "").splitlines() if "── " in line}
    assert drawn == {kind.__name__ for kind in ALL}
