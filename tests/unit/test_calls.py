"""What the RPC methods make of the store, where that takes more than a broker to see."""

from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from beers_service import calls
from beers_service.calls import Call, Calls
from beers_service.store.memory import MemoryStore
from beers_service.writer import Writer

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def test_a_rare_event_is_looked_for_in_calls_that_are_all_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "SCAN_MAXIMUM", 10)
    store = MemoryStore()
    run = Calls(Writer(store, store, lambda: NOW, lambda: None), store, structlog.get_logger())
    methods = [("add", {"name": "b"})] * 25 + [("remove", {"beer_id": 3})]
    run.run([Call(method, arguments, f"call-{index}", "c") for index, (method, arguments) in enumerate(methods)])

    def page(after: int) -> tuple[list[int], int]:
        (answer,) = run.run([Call("events", {"after": after, "types": ["BeerRemoved"]}, "read", "c")])
        return [event["position"] for event in answer["events"]], answer["through"]

    assert [page(0), page(10), page(20)] == [([], 10), ([], 20), ([26], 26)]


@pytest.mark.parametrize(
    ("given", "logged"),
    [
        (None, "call-0"),
        ("import 7", "import 7"),
        ("", "(malformed)"),
        ("\x1b[2J", "(malformed)"),
        ("x" * 3_000_000, "(malformed)"),
        ({"a": ["b"]}, "(malformed)"),
    ],
)
def test_only_a_request_id_that_is_one_reaches_the_log(given: Any, logged: str) -> None:
    store = MemoryStore()
    lines = structlog.testing.LogCapture()
    logger = structlog.wrap_logger(None, processors=[lines])
    run = Calls(Writer(store, store, lambda: NOW, lambda: None), store, logger)
    run.run([Call("add", {"name": "b", "request_id": given}, "call-0", "c"), Call("\x1b[2J", {}, "call-1", "c")])
    command, read = lines.entries
    assert command["request_id"] == logged
    assert read["method"] == "(malformed)"
