"""The verdict finds what is planted, and nothing where nothing is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos import history
from chaos.history import ACKNOWLEDGED, REFUSED, UNKNOWN, Call
from chaos.verdict import Beer, Event, Evidence, Replay, Verdict, chosen, judge

ADDED = Event(1, 1, 1, "BeerAdded", "add", {"name": "A", "brewery": "x", "abv": 5.0})
RENAMED = Event(2, 1, 2, "BeerNameChanged", "rename", {"name": "B", "previous_name": "A"})
UPDATED = Event(3, 1, 3, "BeerDetailsChanged", "update", {"brewery": "y"})
REMOVED = Event(4, 1, 4, "BeerRemoved", "remove", {})
RESTORED = Event(5, 1, 5, "BeerRestored", "restore", {})
EVENTS = (ADDED, RENAMED, UPDATED, REMOVED, RESTORED)
TOLD = tuple((event.position, event.request_id) for event in EVENTS)


def call(method: str, at: float, arguments: dict[str, Any], *seen: tuple[int, int, str], **other: Any) -> Call:
    known = {"outcome": ACKNOWLEDGED, "code": "OK", "request_id": method} | other
    return Call(1, method, arguments=arguments, began=at, ended=at + 0.5, seen=list(seen), **known)


def command(request_id: str, **other: Any) -> Call:
    """Return a command that is not in the log."""
    return call("add", 9, {"name": request_id}, request_id=request_id, **other)


CALLS = (
    call("add", 1, {"name": "A", "brewery": "x", "abv": 5.0}, (1, 1, "A")),
    call("rename", 2, {"beer_id": 1, "name": "B", "expected_version": 1}, (1, 2, "B")),
    # Its answer did not come, and the brewery alone was new to the beer.
    call("update", 3, {"beer_id": 1, "brewery": "y", "abv": 5.0}, outcome=UNKNOWN, code="UNAVAILABLE"),
    call("get", 4, {"beer_id": 1}, (1, 3, "B"), request_id=""),
    call("remove", 5, {"beer_id": 1}, (1, 4, "B")),
    call("get", 6, {"beer_id": 1}, request_id="", outcome=REFUSED, code="NOT_FOUND"),
    call("restore", 7, {"beer_id": 1}, (1, 5, "B")),
    call("list", 8, {}, (1, 5, "B"), request_id=""),
    command("refused", outcome=REFUSED, code="ABORTED"),
    command("unheard", outcome=UNKNOWN, code="DEADLINE_EXCEEDED"),
)

GOOD = Evidence(
    calls=CALLS,
    events=EVENTS,
    beers={1: Beer(1, "B", "y", 5.0, 5, removed=False)},
    replays=(Replay("rename", "OK", ((1, 2, "B"),)), Replay("update", "OK", ((1, 3, "B"),))),
    head=5,
    watched={"watcher": (*TOLD[:3], *TOLD[1:])},  # told again after a new start, which is no fault
    effects={"strict": TOLD, "any": tuple(reversed(TOLD))},
    strict={"strict"},
)


def found(verdict: Verdict) -> dict[str, int]:
    """Return the counts that must be zero and are not."""
    fine = {"attempted", "acknowledged", "refused", "unknown", "recovered", "told_again"}
    counts = {name: getattr(verdict, name) for name in Verdict.__dataclass_fields__ if name not in {*fine, "problems"}}
    return {name: count for name, count in counts.items() if count}


def test_a_run_in_which_all_went_well_has_no_problem() -> None:
    verdict = judge(GOOD)
    assert verdict.problems == []
    assert verdict.ok
    assert (verdict.attempted, verdict.acknowledged, verdict.refused, verdict.unknown) == (7, 4, 1, 2)
    assert (verdict.recovered, verdict.told_again) == (1, 2)


def test_a_lost_command_is_found() -> None:
    assert found(judge(replace(GOOD, calls=[*CALLS, command("gone")]))) == {"lost": 1}


def again(event: Event, **changes: Any) -> dict[str, Any]:
    """Return the evidence of one more event, which everybody was told of and the read model has."""
    more = (*EVENTS, replace(event, position=6, **changes))
    told = (*TOLD, (6, more[-1].request_id))
    return {
        "events": more,
        "head": 6,
        "watched": {"watcher": told},
        "effects": {"strict": told},
        "beers": dict(GOOD.beers) | {2: Beer(2, "A", "x", 5.0, 1, removed=False)},
    }


def test_an_effect_that_came_twice_is_found() -> None:
    assert found(judge(replace(GOOD, **again(ADDED, beer_id=2)))) == {"duplicated": 1}


@pytest.mark.parametrize("request_id", ["nobody", "refused"])
def test_an_event_that_nobody_asked_for_or_was_refused_is_found(request_id: str) -> None:
    assert found(judge(replace(GOOD, **again(ADDED, beer_id=2, request_id=request_id)))) == {"unexpected": 1}


@pytest.mark.parametrize("wrong", [{"type": "BeerRestored", "data": {}}, {"data": {"name": "C"}}])
def test_an_event_that_is_not_what_was_asked_for_is_found(wrong: dict[str, Any]) -> None:
    events = [ADDED, replace(RENAMED, **wrong), *EVENTS[2:]]
    assert judge(replace(GOOD, events=events)).unexpected == 1


def test_an_event_on_another_beer_is_found() -> None:
    events = [ADDED, replace(RENAMED, beer_id=2), *EVENTS[2:]]
    assert judge(replace(GOOD, events=events)).unexpected == 1


@pytest.mark.parametrize(
    "wrong",
    [
        call("add", 1, {"name": "A", "brewery": "x", "abv": 5.0}, (1, 2, "B")),  # the version of another one
        call("add", 1, {"name": "A", "brewery": "x", "abv": 5.0}, (2, 1, "A")),
        call("add", 1, {"name": "A", "brewery": "x", "abv": 5.0}, (1, 1, "Z")),
    ],
)
def test_an_answer_that_is_not_what_the_log_says_is_found(wrong: Call) -> None:
    assert set(found(judge(replace(GOOD, calls=[wrong, *CALLS[1:]])))) == {"inconsistent"}


def test_a_command_on_another_version_than_the_expected_one_is_found() -> None:
    wrong = call("rename", 2, {"beer_id": 1, "name": "B", "expected_version": 4}, (1, 2, "B"))
    assert found(judge(replace(GOOD, calls=[CALLS[0], wrong, *CALLS[2:]]))) == {"inconsistent": 1}


def test_a_refusal_that_has_no_reason_is_found() -> None:
    wrong = command("reused", outcome=REFUSED, code="INVALID_ARGUMENT")
    assert found(judge(replace(GOOD, calls=[*CALLS, wrong]))) == {"inconsistent": 1}


def test_an_internal_error_is_found_even_if_the_next_attempt_went_well() -> None:
    wrong = replace(CALLS[3], failures=["INTERNAL"])
    assert found(judge(replace(GOOD, calls=[*CALLS[:3], wrong, *CALLS[4:]]))) == {"bugs": 1}


def test_a_read_of_what_had_been_changed_before_it_began_is_found() -> None:
    stale = call("get", 4, {"beer_id": 1}, (1, 1, "A"), request_id="")
    assert found(judge(replace(GOOD, calls=[*CALLS[:3], stale, *CALLS[4:]]))) == {"stale": 1}


def test_a_read_beside_a_change_may_show_either_state() -> None:
    beside = call("get", 2.1, {"beer_id": 1}, (1, 1, "A"), request_id="")
    assert judge(replace(GOOD, calls=[*CALLS, beside])).ok


def test_a_read_of_the_past_may_be_of_the_past() -> None:
    past = call("get", 9, {"beer_id": 1, "as_of_time": 1.0}, (1, 1, "A"), request_id="")
    assert judge(replace(GOOD, calls=[*CALLS, past])).ok


def test_a_beer_that_was_never_removed_and_is_not_found_is_found_out() -> None:
    calls = [CALLS[0], call("get", 4, {"beer_id": 1}, request_id="", outcome=REFUSED, code="NOT_FOUND")]
    one = Evidence(calls, [ADDED], {1: Beer(1, "A", "x", 5.0, 1, removed=False)}, [], 1, {}, {})
    assert found(judge(one)) == {"stale": 1}


@pytest.mark.parametrize(
    "replay", [Replay("rename", "OK", ((1, 5, "B"),)), Replay("update", "NOT_FOUND", ()), Replay("add", "OK", ())]
)
def test_another_answer_to_the_same_request_is_found(replay: Replay) -> None:
    assert found(judge(replace(GOOD, replays=[replay]))) == {"replays_differ": 1}


def test_an_effect_of_commands_that_were_sent_again_is_found() -> None:
    assert found(judge(replace(GOOD, head=6))) == {"replays_differ": 1}


def test_a_gap_in_the_log_is_found() -> None:
    events = [*EVENTS[:4], replace(RESTORED, position=6)]
    assert judge(replace(GOOD, events=events)).gaps == 1


def test_a_log_out_of_order_is_found() -> None:
    assert judge(replace(GOOD, events=[ADDED, UPDATED, RENAMED, REMOVED, RESTORED])).gaps >= 1


@pytest.mark.parametrize(
    "beers",
    [
        {},
        {1: Beer(1, "B", "y", 5.0, 4, removed=False)},
        {1: Beer(1, "B", "x", 5.0, 5, removed=False)},
        {1: Beer(1, "B", "y", 5.0, 5, removed=True)},
        {1: GOOD.beers[1], 2: Beer(2, "Z", "", None, 1, removed=False)},
    ],
)
def test_a_beer_that_is_not_what_its_events_say_is_found(beers: dict[int, Beer]) -> None:
    assert found(judge(replace(GOOD, beers=beers))) == {"read_model_differs": 1}


def test_versions_that_do_not_follow_each_other_are_found() -> None:
    events = [*EVENTS[:4], replace(RESTORED, version=6)]
    assert judge(replace(GOOD, events=events)).read_model_differs >= 1


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        (TOLD[:4], {"not_told": 1}),
        (TOLD[:2] + TOLD[3:], {"not_told": 1}),
        ((TOLD[0], TOLD[2], TOLD[1], *TOLD[3:]), {"out_of_order": 1}),
        ((*TOLD, (6, "ghost")), {"unexpected": 1}),
        ((*TOLD[:4], (5, "ghost"), TOLD[4]), {"unexpected": 1}),
    ],
)
def test_a_watcher_that_missed_something_or_was_told_too_early_or_what_is_not_so_is_found(
    told: tuple[tuple[int, str], ...], problem: dict[str, int]
) -> None:
    assert found(judge(replace(GOOD, watched={"watcher": told}))) == problem


@pytest.mark.parametrize(
    ("effects", "problem"),
    [
        ({"any": TOLD[1:]}, {"effects_missing": 1}),
        ({"any": (*TOLD, TOLD[2])}, {"effects_repeated": 1}),
        ({"any": (*TOLD, (6, "ghost"))}, {"unexpected": 1}),
        ({"strict": (TOLD[1], TOLD[0], *TOLD[2:])}, {"out_of_order": 1}),
    ],
)
def test_an_effect_that_is_missing_or_came_twice_or_out_of_order_is_found(
    effects: dict[str, tuple[tuple[int, str], ...]], problem: dict[str, int]
) -> None:
    assert found(judge(replace(GOOD, effects=effects))) == problem


def test_a_subscriber_in_log_order_whose_handler_fails_may_go_on_with_other_beers() -> None:
    other = Event(1, 2, 1, "BeerAdded", "other", {"name": "O"})
    events = [other, *(replace(event, position=event.position + 1) for event in EVENTS)]
    told = [(event.position, event.request_id) for event in events]
    evidence = replace(
        GOOD,
        calls=[*CALLS, call("add", 0, {"name": "O"}, (2, 1, "O"), request_id="other")],
        events=events,
        beers=dict(GOOD.beers) | {2: Beer(2, "O", "", None, 1, removed=False)},
        head=6,
        watched={"watcher": told},
    )
    assert judge(replace(evidence, effects={"strict": [*told[1:], told[0]]})).ok
    assert found(judge(replace(evidence, effects={"strict": [told[0], *reversed(told[1:])]}))) == {"out_of_order": 4}


def test_what_others_found_makes_the_verdict_bad() -> None:
    assert judge(replace(GOOD, incidents=["the bridge ended"])).problems == ["the bridge ended"]


def test_a_run_in_which_nothing_was_acknowledged_shows_nothing() -> None:
    assert not judge(Evidence([], [], {}, [], 0, {}, {})).ok


def test_the_history_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text("".join(one.line() for one in CALLS))
    assert tuple(history.read(file)) == CALLS


def test_what_is_sent_again_has_happened_and_is_spread_over_the_run() -> None:
    events = [replace(ADDED, request_id=f"{number}") for number in range(150)]
    calls = [command(f"{number}", outcome=ACKNOWLEDGED if number < 100 else UNKNOWN) for number in range(200)]
    ids = [int(call.request_id) for call in chosen(calls, events, most=40)]
    assert len(ids) <= 45
    assert (min(ids), max(ids) >= 147) == (0, True)
    assert any(90 < number < 100 for number in ids)
