"""Whatever is called in whatever order, every store answers as the plain catalogue does, through the service's entry.

BEERS_TEST_EXAMPLES in the environment says how many sequences of messages are tried on each store; 1,000 take minutes.
A sequence that fails is kept, and made as short as it can be when that is set: it may take minutes too.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import orjson
import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy import Engine, Row, Table

from beers_service.calls import Calls
from beers_service.dependencies import BoundCalls
from beers_service.service import BeersService
from beers_service.store import schema
from beers_service.store.engine import reading, writing
from beers_service.store.memory import MemoryStore

from .asking import beer_ids, filters, messages
from .conftest import Store
from .plain_catalogue import Asked, PlainCatalogue, Refused

GIVEN = os.environ.get("BEERS_TEST_EXAMPLES")
EXAMPLES = int(GIVEN or "25")
STEPS = 12

Emptied = Callable[[], Store]
"""Makes a store that is as empty as a new one."""


class Sequences(RuleBasedStateMachine):
    """Sequences of messages to the service, with the plain catalogue beside it."""

    def __init__(self, emptied: Emptied) -> None:
        super().__init__()
        self._emptied = emptied
        self._messages = 0
        self._commands: list[Asked] = []

    @initialize()
    def begin(self) -> None:
        self._store = self._emptied()
        self._calls = Calls(self._store.writer(), self._store.reader, structlog.get_logger())
        self._plain = PlainCatalogue(self._store.reader.head().log_id, now=self._store.now)

    @rule(asked=messages, again=st.lists(st.integers(0, 99), max_size=2), microseconds=st.integers(-2, 2))
    def message(self, asked: Sequence[Asked], again: Sequence[int], microseconds: int) -> None:
        """Send many calls, some of them again; the clock may have been set back since the last message."""
        asked = [*asked, *(self._commands[number % len(self._commands)] for number in again if self._commands)]
        self._commands += [one for one in asked if "request_id" in one.given]
        self._store.now += timedelta(microseconds=microseconds)
        self._plain.now = self._store.now
        answers = self._execute([{"method": one.method, "kwargs": one.given} for one in asked])
        assert len(answers) == len(asked)
        for index, (one, answer) in enumerate(zip(asked, answers, strict=True)):
            call_id = f"message-{self._messages}-{index}"
            self._compare(answer, partial(self._plain.answer, one, call_id, "conversation"))

    @rule(look=st.sampled_from(["list", "history", "past"]), data=st.data())
    def look(self, look: str, data: st.DataObject) -> None:
        match look:
            case "list":
                self._every_page_of_a_list(data.draw(filters))
            case "history":
                self._every_page_of_a_history(data.draw(beer_ids), data.draw(st.integers(1, 3)))
            case _:
                self._a_beer_at_a_time(data.draw(beer_ids), data.draw(st.integers(-1, 1)), data)

    def _every_page_of_a_list(self, asked: Mapping[str, Any]) -> None:
        beers = self._pages("list", "beers", asked)
        self._compare({"result": beers, "error": None}, lambda: self._plain.listed(**asked))

    def _every_page_of_a_history(self, beer_id: int, page_size: int) -> None:
        try:
            expected: Any = self._plain.history(beer_id)
        except Refused:
            (answer,) = self._execute([{"method": "history", "kwargs": {"beer_id": beer_id}}])
            self._compare(answer, lambda: self._plain.history(beer_id))
        else:
            events = self._pages("history", "events", {"beer_id": beer_id, "page_size": page_size})
            _require_alike(events, expected)

    def _a_beer_at_a_time(self, beer_id: int, later: int, data: st.DataObject) -> None:
        moments = [event["time"] for event in self._plain.log] or ["2026-11-23T12:00:00.000000Z"]
        moment = data.draw(st.sampled_from(moments))
        if later:  # the microsecond before, and the one behind
            number = int(moment[20:26]) + later
            moment = f"{moment[:20]}{min(max(number, 0), 999_999):06}Z"
        asked = Asked("get", {"beer_id": beer_id, "as_of": moment}, {"beer_id": beer_id, "as_of": moment})
        (answer,) = self._execute([{"method": "get", "kwargs": dict(asked.given)}])
        self._compare(answer, lambda: self._plain.answer(asked, "", ""))

    def teardown(self) -> None:
        """See that the log is whole, and that the read model is what it folds to."""
        if not hasattr(self, "_plain"):
            return
        log = self._execute([{"method": "events", "kwargs": {"limit": 1000}}])[0]["result"]
        _require_alike(log["events"], self._plain.log)
        stored = self._pages("list", "beers", {"show_removed": True, "page_size": 1000})
        _require_alike(stored, list(self._plain.beers.values()))

    def _pages(self, method: str, items: str, asked: Mapping[str, Any]) -> list[Any]:
        found: list[Any] = []
        token = ""
        while True:
            (answer,) = self._execute([{"method": method, "kwargs": {**asked, "page_token": token}}])
            assert answer["error"] is None, answer
            page = answer["result"]
            assert len(page[items]) <= asked.get("page_size", 50)
            found += page[items]
            token = page["next_page_token"]
            if not token:
                return found

    def _execute(self, calls: list[dict[str, Any]]) -> list[Any]:
        """Call the service as the bridge does, over what JSON makes of it."""
        self._messages += 1
        service = BeersService()
        context = {"call_id": f"message-{self._messages}", "correlation_id": "conversation"}
        vars(service)["calls"] = BoundCalls(self._calls, context)  # where Nameko puts it for a worker
        answers: list[Any] = orjson.loads(orjson.dumps(service.execute(orjson.loads(orjson.dumps(calls)))))
        return answers

    @staticmethod
    def _compare(answer: Mapping[str, Any], expected: Callable[[], Any]) -> None:
        refusal: tuple[str, ...] = ()
        result = None
        try:
            result = expected()
        except Refused as refused:
            refusal = refused.args
        error = answer["error"] or {"exc_type": None, "exc_args": []}
        assert (error["exc_type"], *error["exc_args"])[: len(refusal) or 1] == (refusal or (None,)), answer
        _require_alike(answer["result"], result)


def _require_alike(told: Any, expected: Any) -> None:
    """Compare all that *expected* knows; whatever else is *told* is not the plain catalogue's business."""
    if isinstance(expected, dict):
        for name in expected.keys() - {"beer"}:
            _require_alike(told[name], expected[name])
    elif isinstance(expected, list):
        assert len(told) == len(expected), (told, expected)
        for one, other in zip(told, expected, strict=True):
            _require_alike(one, other)
    else:
        assert told == expected


@pytest.fixture
def emptied(store: Store) -> Emptied:
    if store.engine is None:
        return _forgetful
    rows = _rows(store.engine)

    def again() -> Store:
        assert store.engine is not None
        with writing(store.engine) as connection:
            for table, kept in rows.items():
                connection.execute(table.delete())
                if kept:
                    connection.execute(table.insert(), [dict(row._mapping) for row in kept])
        store.now = Store.now
        return store

    return again


def _forgetful() -> Store:
    memory = MemoryStore()
    return Store(memory, memory, lambda: memory)


def _rows(engine: Engine) -> dict[Table, Sequence[Row[Any]]]:
    with reading(engine) as connection:
        return {table: connection.execute(table.select()).fetchall() for table in schema.metadata.sorted_tables}


@pytest.mark.timeout(3600 if GIVEN else 120)
def test_whatever_is_called_is_answered_as_the_plain_catalogue_does(emptied: Emptied) -> None:
    machine: Any = partial(Sequences, emptied)  # hypothesis's types want a class, and it wants what makes a machine
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            phases=[phase for phase in Phase if GIVEN or phase not in {Phase.shrink, Phase.explain}],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
