"""What every store promises about reads."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beers_service.domain import commands
from beers_service.ports import ORDERS, BeerQuery, sort_key
from beers_service.store.codec import event_record

from .conftest import Store

EVERYTHING = BeerQuery("", "", "", "id", descending=False, show_removed=True, limit=1000, after=None)

BEERS: list[dict[str, Any]] = [
    {"name": "Punk IPA", "brewery": "BrewDog", "style": "IPA", "abv": 5.6},
    {"name": "jever", "brewery": "Friesisches Brauhaus", "style": "Pilsner", "abv": 4.9},
    {"name": "Öl", "brewery": "brewdog", "style": "ipa"},
    {"name": "Zwickl", "abv": 0},
    {"name": "STRAẞE", "style": "Pilsner", "abv": 5.6},
    {"name": "Duvel", "brewery": "Duvel Moortgat", "style": "Belgian Strong Ale", "abv": 8.5},
]


@pytest.fixture
def filled(store: Store) -> Store:
    store.writer().submit([store.request(commands.add(**beer)) for beer in BEERS])
    store.run(commands.remove(6))
    return store


def names(store: Store, **changes: Any) -> list[str]:
    return [beer.name for beer in store.reader.page(replace(EVERYTHING, **changes))]


def test_beers_come_in_the_order_of_their_ids(filled: Store) -> None:
    assert names(filled) == [beer["name"] for beer in BEERS]
    assert names(filled, descending=True, limit=2) == ["Duvel", "STRAẞE"]


def test_removed_beers_are_listed_only_if_asked_for(filled: Store) -> None:
    assert "Duvel" not in names(filled, show_removed=False)


def test_names_are_ordered_regardless_of_case(filled: Store) -> None:
    assert names(filled, order="name") == ["Duvel", "jever", "Punk IPA", "STRAẞE", "Zwickl", "Öl"]


def test_beers_of_unknown_strength_come_before_the_weakest(filled: Store) -> None:
    assert names(filled, order="abv") == ["Öl", "Zwickl", "jever", "Punk IPA", "STRAẞE", "Duvel"]


def test_filters_look_at_whole_names_regardless_of_case(filled: Store) -> None:
    assert names(filled, brewery="BREWDOG") == ["Punk IPA", "Öl"]
    assert names(filled, style="Ipa", brewery="brewdog", order="name") == ["Punk IPA", "Öl"]
    assert names(filled, brewery="brew") == []


def test_a_query_looks_for_text_in_name_brewery_and_style(filled: Store) -> None:
    assert names(filled, query="MOORT") == ["Duvel"]
    assert names(filled, query="ils") == ["jever", "STRAẞE"]
    assert names(filled, query="strasse") == ["STRAẞE"]


@pytest.mark.parametrize("wildcard", ["%", "_", "*", "\\", "'"])
def test_a_query_has_no_wildcards(filled: Store, wildcard: str) -> None:
    assert names(filled, query=wildcard) == []


LISTINGS = [
    replace(EVERYTHING, order=order, descending=descending, brewery=brewery, style=style)
    for order in ORDERS
    for descending in (False, True)
    for brewery, style in (("", ""), ("BrewDog", ""), ("", "Pilsner"))
]


@pytest.mark.parametrize("count", [1, 4, 6])
def test_pages_that_end_early_add_up_to_what_was_looked_for(filled: Store, count: int) -> None:
    for listing in LISTINGS:
        sought = replace(listing, query="i", show_removed=False)
        left = len(filled.reader.page(listing))
        found = []
        while end := filled.reader.reach(sought, count):
            found += filled.reader.page(replace(sought, until=end))
            looked_at = filled.reader.page(replace(listing, after=sought.after, until=end))
            assert len(looked_at) == count
            assert (sort_key(looked_at[-1], listing.order), looked_at[-1].id) == end
            left -= count
            sought = replace(sought, after=end)
        assert 0 < left <= count
        assert found + filled.reader.page(sought) == filled.reader.page(replace(sought, after=None))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.sampled_from(["id", "name", "abv"]), descending=st.booleans(), limit=st.integers(1, 4))
def test_pages_add_up_to_the_whole(filled: Store, order: str, descending: bool, limit: int) -> None:  # noqa: FBT001
    whole = filled.reader.page(replace(EVERYTHING, order=order, descending=descending))
    paged = []
    after = None
    while page := filled.reader.page(replace(EVERYTHING, order=order, descending=descending, limit=limit, after=after)):
        paged += page
        after = (sort_key(page[-1], order), page[-1].id)
    assert paged == whole


def test_history_and_events_can_be_read_in_parts(filled: Store) -> None:
    filled.run(commands.restore(6))
    assert [event.version for event in filled.reader.history(6)] == [1, 2, 3]
    assert [event.version for event in filled.reader.history(6, 1, 1)] == [2]
    assert [event.position for event in filled.reader.events(2, 3)] == [3, 4, 5]
    assert [event.position for event in filled.reader.events(0, 9, ["BeerRemoved", "BeerRestored"])] == [7, 8]
    assert [event.position for event in filled.reader.events(0, 9, beer_ids=[2, 6])] == [2, 6, 7, 8]
    assert [event.position for event in filled.reader.events(2, 9, ["BeerAdded"], [2, 6])] == [6]
    assert [event.position for event in filled.reader.events(2, 9, up_to=4)] == [3, 4]
    assert filled.reader.history(99) == []


def test_records_say_the_same_as_events(filled: Store) -> None:
    added = ["BeerAdded"]
    for asked in (
        (0, 9),
        (2, 3),
        (0, 9, ["BeerRemoved"]),
        (0, 9, (), [2, 6]),
        (2, 9, added, [2, 6]),
        (2, 9, added, (), 4),
    ):
        events = filled.reader.events(*asked)
        assert filled.reader.records(*asked) == [event_record(event) for event in events] != []


def test_history_ends_at_a_position_or_a_time(filled: Store) -> None:
    noon = filled.now
    filled.now = noon + timedelta(microseconds=1)
    filled.run(commands.restore(6))
    filled.now = noon + timedelta(seconds=1)
    filled.run(commands.rename(6, "Duvel 666"))

    def versions(after: int = 0, limit: int | None = None, *, until: int | datetime) -> list[int]:
        return [event.version for event in filled.reader.history(6, after, limit, until)]

    assert [versions(until=position) for position in (0, 5, 6, 7, 8, 9)] == [
        [],
        [],
        [1],
        [1, 2],
        [1, 2, 3],
        [1, 2, 3, 4],
    ]
    assert versions(until=noon - timedelta(microseconds=1)) == []
    assert versions(until=noon) == [1, 2]
    assert versions(until=noon + timedelta(microseconds=1)) == [1, 2, 3]
    assert versions(until=datetime.max.replace(tzinfo=UTC)) == [1, 2, 3, 4]
    assert versions(until=datetime.min.replace(tzinfo=UTC)) == []
    assert versions(1, 2, until=9) == [2, 3]
    assert versions(2, until=8) == [3]


def test_two_logs_have_different_ids(store: Store) -> None:
    assert store.reader.head().log_id == store.reader.head().log_id
    assert len(store.reader.head().log_id) == 36


def test_the_relay_finds_where_it_was(store: Store) -> None:
    cursor = store.cursor()
    assert cursor.lead() == 0
    assert cursor.advance(5)
    cursor.resign()
    following = store.cursor()
    assert following.lead() == 5
    following.resign()


def test_a_wait_ends_with_a_wake(store: Store) -> None:
    cursor = store.cursor()
    cursor.wake()
    began = time.monotonic()
    cursor.wait(60)
    assert time.monotonic() - began < 30
    cursor.resign()
