"""What becomes of the beers of an import, and of those that share its batch."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from beers_service.calls import Calls
from beers_service.domain.errors import DeadlinePassed, InvalidField, OutcomeUnknown, Overloaded, StoreUnavailable
from beers_service.methods import Call
from beers_service.store.memory import MemoryStore
from beers_service.writer import Writer


class FailingStore(MemoryStore):
    """A store that can be told to fail, and counts its reads of histories."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.histories = 0

    def transaction(self) -> Any:
        if self.failure is not None:
            raise self.failure
        return super().transaction()

    def history(self, *arguments: Any, **named: Any) -> Any:
        self.histories += 1
        return super().history(*arguments, **named)


@pytest.fixture
def store() -> FailingStore:
    return FailingStore()


@pytest.fixture
def lines() -> structlog.testing.LogCapture:
    return structlog.testing.LogCapture()


@pytest.fixture
def calls(store: FailingStore, lines: structlog.testing.LogCapture) -> Calls:
    logger = structlog.wrap_logger(
        structlog.PrintLogger(), processors=[lines], wrapper_class=structlog.make_filtering_bound_logger(20)
    )
    return Calls(Writer(store, store, lambda: datetime(2026, 11, 23, tzinfo=UTC), lambda: None), store, logger)


def beers(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "request_id": f"import/{name}"} for name in names]


def call(beers: object, method: str = "import_beers", deadline: float | None = None, **arguments: object) -> Call:
    return Call(method, {"beers": beers, **arguments}, "call-1", "conversation", deadline, "00-trace", "till 3")


def test_the_answer_holds_counts_and_no_beers(calls: Calls, store: FailingStore) -> None:
    (answer,) = calls.run([call(beers("a", "b"))])
    assert answer == {"added": 2, "already_added": 0, "refused": []}
    first, second = store.events(0, 10)
    assert (first.request_id, second.request_id) == ("import/a", "import/b")
    assert (second.correlation_id, second.traceparent, second.actor) == ("conversation", "00-trace", "till 3")


def test_what_was_added_before_is_counted_without_being_read(calls: Calls, store: FailingStore) -> None:
    calls.run([call(beers("a", "b"))])
    assert calls.run([call(beers("a", "c", "b", "c"))]) == [{"added": 1, "already_added": 3, "refused": []}]
    assert store.histories == 0
    assert store.head().position == 3


def test_each_beer_is_refused_by_itself_with_its_place_field_and_reason(calls: Calls) -> None:
    calls.run([call(beers("taken"))])
    wrong: list[Any] = [
        {"name": " ", "request_id": "1"},
        {"name": "a", "abv": 100.01, "request_id": "2"},
        {"name": "a", "color": "red", "request_id": "3"},
        {"name": "a"},
        {"name": "a", "request_id": "ü"},
        {"request_id": "4"},
        "a",
        {"name": "other", "request_id": "import/taken"},
    ]
    (answer,) = calls.run([call([*wrong, *beers("good")])])
    assert (answer["added"], answer["already_added"]) == (1, 0)
    assert [(refusal["index"], refusal["field"]) for refusal in answer["refused"]] == [
        (0, "name"), (1, "abv"), (2, "color"), (3, "request_id"), (4, "request_id"), (5, "name"), (6, ""),
        (7, "request_id"),
    ]  # fmt: skip
    assert answer["refused"][1]["reason"] == "must be a number from 0 to 100"
    assert answer["refused"][7]["reason"].startswith("request_id import/taken was used for another command")


@pytest.mark.parametrize("failure", [StoreUnavailable("gone"), OutcomeUnknown(""), Overloaded("too much")])
def test_what_is_no_fault_of_a_beer_fails_the_call_and_it_can_be_sent_again(
    calls: Calls, store: FailingStore, failure: Exception
) -> None:
    store.failure = failure
    (answer,) = calls.run([call(beers("a", "b"))])
    assert type(answer) is type(failure)
    store.failure = None
    assert calls.run([call(beers("a", "b"))]) == [{"added": 2, "already_added": 0, "refused": []}]


def test_an_import_whose_time_is_over_is_not_carried_out(calls: Calls, store: FailingStore) -> None:
    (answer,) = calls.run([call(beers("a"), deadline=time.time() - 1)])
    assert isinstance(answer, DeadlinePassed)
    assert store.head().position == 0


@pytest.mark.parametrize("wrong", [{"a": 1}, "beers", None, [{}] * 1001])
def test_what_is_no_list_of_beers_is_refused_as_a_whole(calls: Calls, wrong: object) -> None:
    (answer,) = calls.run([call(wrong)])
    assert isinstance(answer, InvalidField)
    assert answer.field == "beers"


def test_nothing_to_import_is_no_error_and_an_argument_too_many_is_one(calls: Calls) -> None:
    nothing, unknown = calls.run([call([]), call([], request_id="r")])
    assert nothing == {"added": 0, "already_added": 0, "refused": []}
    assert str(unknown) == "request_id: is no argument of import_beers"


def test_beside_other_calls_it_takes_its_place_in_their_order(calls: Calls) -> None:
    add = Call("add", {"name": "first"}, "call-0", "conversation")
    get = Call("get", {"beer_id": 2}, "call-2", "conversation")
    first, _, read = calls.run([add, call(beers("second")), get])
    assert (first["id"], read["name"]) == (1, "second")


def test_one_line_tells_of_all_of_them(calls: Calls, lines: structlog.testing.LogCapture) -> None:
    calls.run([call([*beers("a"), {"name": ""}])])
    (line,) = lines.entries
    assert (line["method"], line["outcome"]) == ("import_beers", "ok")
    assert (line["added"], line["already_added"], line["refused"]) == (1, 0, 1)
