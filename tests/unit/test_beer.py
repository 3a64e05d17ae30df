"""What commands lead to, and what events do."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beers_service.domain import commands
from beers_service.domain.beer import Beer, decide, evolve, fold
from beers_service.domain.errors import BeerNotFound, BeerNotRemoved, VersionConflict
from beers_service.domain.events import (
    BeerAdded,
    BeerDetailsChanged,
    BeerNameChanged,
    BeerRemoved,
    BeerRestored,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)

PUNK = evolve(None, BeerAdded("Punk IPA", "BrewDog", "IPA", 5.6, None, "post modern classic"), beer_id=7, time=NOON)
REMOVED = evolve(PUNK, BeerRemoved(), beer_id=7, time=LATER)


def test_adding_a_beer_is_an_event_with_all_that_is_known_of_it() -> None:
    command = commands.add("Punk IPA", brewery="BrewDog", abv=5.6)
    assert decide(None, command) == [BeerAdded("Punk IPA", "BrewDog", "", 5.6, None, "")]


def test_an_added_beer_has_version_one_and_is_not_removed() -> None:
    assert Beer(7, "Punk IPA", "BrewDog", "IPA", 5.6, None, "post modern classic", 1, NOON, NOON, None) == PUNK


def test_renaming_tells_the_name_before() -> None:
    assert decide(PUNK, commands.rename(7, "Punk")) == [BeerNameChanged("Punk", previous_name="Punk IPA")]


def test_renaming_to_the_current_name_is_no_event() -> None:
    assert decide(PUNK, commands.rename(7, " Punk IPA ")) == []


def test_updating_tells_only_what_changes() -> None:
    command = commands.update(7, {"abv": 5.4, "style": "IPA", "ibu": 35})
    assert decide(PUNK, command) == [BeerDetailsChanged({"abv": 5.4, "ibu": 35.0})]


def test_updating_nothing_is_no_event() -> None:
    assert decide(PUNK, commands.update(7, {})) == []


def test_a_detail_can_become_unknown() -> None:
    command = commands.update(7, {"abv": None, "brewery": None})
    assert decide(PUNK, command) == [BeerDetailsChanged({"abv": None, "brewery": ""})]


def test_a_removed_beer_can_be_restored_and_nothing_else() -> None:
    assert decide(REMOVED, commands.restore(7)) == [BeerRestored()]
    for command in (commands.remove(7), commands.rename(7, "x"), commands.update(7, {"abv": 1})):
        with pytest.raises(BeerNotFound):
            decide(REMOVED, command)


def test_a_beer_that_is_not_removed_cannot_be_restored() -> None:
    with pytest.raises(BeerNotRemoved):
        decide(PUNK, commands.restore(7))


def test_a_beer_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(BeerNotFound, match="beer 7 not found"):
        decide(None, commands.remove(7))


def test_a_stale_version_is_refused_with_both_versions() -> None:
    with pytest.raises(VersionConflict, match="at version 1, not 3"):
        decide(PUNK, commands.rename(7, "Punk"), expected_version=3)


def test_the_expected_version_is_checked_even_if_nothing_would_change() -> None:
    with pytest.raises(VersionConflict):
        decide(PUNK, commands.rename(7, "Punk IPA"), expected_version=2)


def test_a_new_beer_has_no_version_to_expect() -> None:
    with pytest.raises(VersionConflict):
        decide(None, commands.add("Punk"), expected_version=1)


def test_every_event_counts_the_version_up_and_tells_the_time() -> None:
    beer = evolve(PUNK, BeerNameChanged("Punk", previous_name="Punk IPA"), beer_id=7, time=LATER)
    assert (beer.version, beer.changed_at, beer.added_at) == (2, LATER, NOON)
    assert (REMOVED.version, REMOVED.removed_at) == (2, LATER)
    assert evolve(REMOVED, BeerRestored(), beer_id=7, time=LATER).removed_at is None


def test_a_history_begins_with_its_addition_and_has_only_one() -> None:
    with pytest.raises(ValueError, match="does not begin"):
        fold(7, [(BeerRemoved(), NOON)])
    added = BeerAdded("a", "", "", None, None, "")
    with pytest.raises(ValueError, match="twice"):
        fold(7, [(added, NOON), (added, NOON)])


def test_no_history_is_no_beer() -> None:
    assert fold(7, []) is None


NAMES = st.sampled_from(["Punk IPA", "Jever", "Duvel"])
COMMANDS = st.one_of(
    st.builds(commands.rename, st.just(7), NAMES),
    st.builds(
        commands.update, st.just(7), st.fixed_dictionaries({}, optional={"abv": st.floats(0, 100), "style": NAMES})
    ),
    st.just(commands.remove(7)),
    st.just(commands.restore(7)),
)


@given(st.lists(COMMANDS, max_size=30))
def test_deciding_and_folding_never_disagree(asked: list[commands.Command]) -> None:
    """A beer evolved step by step equals its history folded, and a change that was made is no change again."""
    addition = decide(None, commands.add("Punk IPA", "BrewDog", "IPA", 5.6, None, "post modern classic"))
    beer, history = PUNK, [(addition[0], NOON)]
    for command in asked:
        try:
            events = decide(beer, command)
        except (BeerNotFound, BeerNotRemoved):
            continue
        for event in events:
            changed = evolve(beer, event, beer_id=7, time=LATER)
            assert changed.version == beer.version + 1
            if isinstance(event, BeerNameChanged | BeerDetailsChanged):
                assert decide(changed, command) == []
            beer = changed
            history.append((event, LATER))
    assert fold(7, history) == beer
