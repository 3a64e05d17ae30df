"""What the RPC methods make of the store, where that takes more than a broker to see."""

from datetime import UTC, datetime

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
