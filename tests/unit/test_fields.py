"""Which values are accepted, and in which form."""

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beers_service.domain import commands, fields
from beers_service.domain.errors import InvalidField


@pytest.mark.parametrize("name", ["", "   ", "\t\n", "\u200b", "\u200b \u00ad", "\u3164", "\u2800", "\u3000"])
def test_a_name_must_show_something(name: str) -> None:
    with pytest.raises(InvalidField, match="name: must not be blank"):
        fields.name(name)


def test_a_name_is_trimmed_and_composed() -> None:
    assert fields.name("  Ko\u0308lsch ") == "K\u00f6lsch"


def test_a_name_has_at_most_200_characters_after_trimming() -> None:
    assert len(fields.name(" " * 1000 + "x" * 200)) == 200
    with pytest.raises(InvalidField, match="name: must have at most 200 characters, got 201"):
        fields.name("x" * 201)


def test_the_length_counts_characters_after_composition() -> None:
    assert fields.name("o\u0308" * 200) == "\u00f6" * 200


@pytest.mark.parametrize("character", ["\x00", "\x07", "\n", "\x7f", "\x85", "\u2028", "\u2029", "\ud800"])
def test_a_name_holds_no_control_characters(character: str) -> None:
    with pytest.raises(InvalidField, match=r"name: must not contain control characters \(U\+"):
        fields.name(f"Punk{character}IPA")


@pytest.mark.parametrize("given", ["till 3", " Åse\u0308 ", "x" * 200, "https://id.example/users#7", "👩\u200d🍳"])
def test_an_actor_is_kept_as_it_was_given(given: str) -> None:
    assert fields.actor(given) == given


def test_an_actor_may_be_known_by_a_number() -> None:
    assert [fields.actor(number) for number in (0, 42, 2**63 - 1)] == ["0", "42", "9223372036854775807"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "must be text of 1 to 200 characters"),
        ("x" * 201, "must be text of 1 to 200 characters"),
        ("till\n3", r"must not contain control characters \(U\+000A\)"),
        ("till\u2028", "must not contain control characters"),
        ("\ud800", "must not contain control characters"),
        (True, "must be text, or a whole number"),
        (4.5, "must be text, or a whole number"),
        (["till 3"], "must be text, or a whole number"),
        (None, "must be text, or a whole number"),
        (-1, "must be a whole number from 0"),
        (2**63, "must be a whole number from 0"),
    ],
)
def test_what_is_no_actor_is_refused_by_the_name_that_its_caller_knows(given: object, reason: str) -> None:
    with pytest.raises(InvalidField, match=f"user_id: {reason}"):
        fields.actor(given, "user_id")


def test_a_description_may_have_lines_and_tabs_but_no_other_control_characters() -> None:
    assert fields.description("one\r\n\ttwo\n") == "one\r\n\ttwo"
    with pytest.raises(InvalidField, match="description"):
        fields.description("one\x00two")


def test_megabytes_of_description_are_refused_by_their_length() -> None:
    with pytest.raises(InvalidField, match="description: must have at most 10000 characters, got 5000000"):
        fields.description("x" * 5_000_000)


@pytest.mark.parametrize(("rule", "field"), [(fields.abv, "abv"), (fields.ibu, "ibu")])
@pytest.mark.parametrize("value", [-0.01, -1, float("nan"), float("inf"), 10_000.01, 10**400])
def test_a_quantity_out_of_its_bounds_is_refused(
    rule: Callable[[object], float | None], field: str, value: float
) -> None:
    with pytest.raises(InvalidField, match=f"{field}: must be a number from 0 to"):
        rule(value)


def test_more_than_pure_alcohol_is_refused() -> None:
    assert fields.abv(100) == 100.0
    with pytest.raises(InvalidField, match="abv: must be a number from 0 to 100"):
        fields.abv(100.01)


@pytest.mark.parametrize("value", ["5.6", True, [], {}, b"5"])
def test_a_quantity_must_be_a_number(value: object) -> None:
    with pytest.raises(InvalidField, match="abv: must be a number"):
        fields.abv(value)


def test_a_quantity_has_two_decimals_and_no_negative_zero() -> None:
    assert fields.abv(5.678) == 5.68
    assert str(fields.abv(-0.0)) == "0.0"


def test_an_absent_quantity_is_unknown() -> None:
    assert fields.abv(None) is None


@pytest.mark.parametrize("value", [0, -1, 2**63, "1", 1.0, True, None])
def test_a_beer_id_is_a_positive_whole_number(value: object) -> None:
    with pytest.raises(InvalidField, match="beer_id"):
        fields.beer_id(value)


@pytest.mark.parametrize("value", ["", "x" * 129, " x", "x ", "a\nb", "käse", 7])
def test_a_request_id_is_short_printable_ascii(value: object) -> None:
    with pytest.raises(InvalidField, match="request_id"):
        fields.request_id(value)


def test_an_unknown_detail_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidField, match="flavour: is no detail"):
        commands.update(1, {"flavour": "hoppy"})


def test_update_points_to_rename_for_the_name() -> None:
    with pytest.raises(InvalidField, match="name: is no detail that can be updated; use rename"):
        commands.update(1, {"name": "x"})


def test_a_bad_beer_among_many_is_named_by_its_place() -> None:
    with pytest.raises(InvalidField, match=r"beers\[1\].abv: must be"):
        commands.add_many([{"name": "a"}, {"name": "b", "abv": 101}])
    with pytest.raises(InvalidField, match=r"beers\[0\].name: must be text"):
        commands.add_many([{}])
    with pytest.raises(InvalidField, match=r"beers\[0\].flavour"):
        commands.add_many([{"name": "a", "flavour": "x"}])


@pytest.mark.parametrize("beers", [[], "abc", None, [{"name": "x"}] * 1001])
def test_a_batch_holds_one_to_a_thousand_beers(beers: object) -> None:
    with pytest.raises(InvalidField, match="beers: must be a list of 1 to 1000 beers"):
        commands.add_many(beers)


@given(st.text())
def test_an_accepted_name_is_stable_and_clean(text: str) -> None:
    try:
        name = fields.name(text)
    except InvalidField:
        return
    assert fields.name(name) == name
    assert unicodedata.is_normalized("NFC", name)
    assert 1 <= len(name) <= 200
    assert name.encode()
