"""What spans the service makes of calls, commits and events that belong together or do not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from beers_runtime.tracing import Attributes, Kind, Span, Tracing, ids
from beers_service.calls import Calls
from beers_service.domain.errors import StoreUnavailable
from beers_service.methods import Call
from beers_service.ports import EventRecord, PublishingFailed
from beers_service.relay import Relay
from beers_service.spans import Spans
from beers_service.store.memory import MemoryStore
from beers_service.writer import Writer

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@dataclass
class Ended:
    span: Span
    name: str
    attributes: dict[str, Any]
    error: str
    links: list[Span]


class Scene:
    """A service without its messages, and the spans that it made."""

    def __init__(self, rate: float = 0.0) -> None:
        self.ended: list[Ended] = []
        self.told: list[EventRecord] = []
        self.fails = False
        self.store = MemoryStore()
        spans = Spans(Tracing(self._take, rate=rate), "sqlite")
        logger = structlog.wrap_logger(structlog.testing.CapturingLogger(), processors=[])
        writer = Writer(self.store, self.store, lambda: NOW, lambda: None, spans=spans)
        self.calls = Calls(writer, self.store, logger, spans=spans)
        self.relay = Relay(self.store, self.store, self, logger, spans=spans)

    def run(self, *traceparents: str | None, method: str = "add", edge: bool = False, **arguments: Any) -> list[Any]:
        arguments = arguments or {"name": "x"}
        calls = [
            Call(method, arguments, f"{len(self.ended)}-{index}", "c", traceparent=traceparent)
            for index, traceparent in enumerate(traceparents)
        ]
        return self.calls.run(calls, edge=edge)

    def tell(self) -> None:
        """Have the relay tell one window."""
        with pytest.raises(PublishingFailed if self.fails else StopIteration):
            self.relay._relay()

    def publish(self, window: Sequence[EventRecord]) -> None:
        if self.fails:
            raise PublishingFailed("no")
        self.told += window

    def keep_alive(self) -> None:
        raise StopIteration  # all has been told

    def close(self) -> None:
        pass

    def named(self, name: str) -> list[Ended]:
        return [ended for ended in self.ended if ended.name == name]

    def _take(
        self, span: Span, name: str, _kind: Kind, attributes: Attributes, error: str, links: Iterable[Span]
    ) -> None:
        self.ended.append(Ended(span, name, dict(attributes), error, list(links)))


def traceparent(trace: int, *, sampled: bool = True) -> str:
    return f"00-{trace:032x}-{trace:016x}-0{int(sampled)}"


def test_calls_of_several_traces_in_one_message_each_have_their_own_span_and_commit() -> None:
    scene = Scene()
    scene.run(traceparent(1), None, traceparent(2), traceparent(3, sampled=False))
    calls, commits = scene.named("process beers.add"), scene.named("commit")
    assert [int(call.span.trace_id, 16) for call in calls] == [1, 2]
    assert [int(call.span.parent_id, 16) for call in calls] == [1, 2]
    assert [commit.span.parent_id for commit in commits] == [call.span.span_id for call in calls]
    # Both are one transaction, and say so.
    assert [commit.links for commit in commits] == [[], [commits[0].span]]
    assert {commit.attributes["db.operation.batch.size"] for commit in commits} == {4}
    assert {call.attributes["messaging.batch.message_count"] for call in calls} == {4}
    stored = [record.traceparent for record in scene.store.records(0, 9)]
    assert stored == [calls[0].span.traceparent, None, calls[1].span.traceparent, traceparent(3, sampled=False)]


def test_an_event_is_told_in_the_trace_of_its_call_and_the_others_as_they_were() -> None:
    scene = Scene()
    scene.run(traceparent(1), None, traceparent(3, sampled=False))
    (call,) = scene.named("process beers.add")
    scene.tell()
    (published,) = scene.named("publish BeerAdded")
    assert (published.span.trace_id, published.span.parent_id) == (call.span.trace_id, call.span.span_id)
    assert [event.traceparent for event in scene.told] == [
        *(published.span.traceparent, None, traceparent(3, sampled=False))
    ]
    assert [event.position for event in scene.told] == [1, 2, 3]


def test_many_events_of_one_call_share_a_span_and_a_commit() -> None:
    scene = Scene()
    beers = [{"name": "x", "request_id": f"r{number}"} for number in range(5)]
    scene.run(traceparent(1), method="import_beers", beers=beers)
    scene.tell()
    (commit,), (published,) = scene.named("commit"), scene.named("publish BeerAdded")
    assert commit.attributes["db.operation.batch.size"] == 5
    assert published.attributes["messaging.batch.message_count"] == 5
    assert {event.traceparent for event in scene.told} == {published.span.traceparent}


def test_what_fails_to_be_told_shows_and_is_told_again_in_the_same_trace() -> None:
    scene = Scene()
    scene.run(traceparent(1))
    scene.fails = True
    scene.tell()
    scene.fails = False
    scene.tell()
    first, second = scene.named("publish BeerAdded")
    assert (first.error, second.error) == ("PublishingFailed", "")
    assert first.span.parent_id == second.span.parent_id
    assert [event.traceparent for event in scene.told] == [second.span.traceparent]


def test_an_error_is_one_if_it_is_ours_and_an_outcome_if_it_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    scene.run(traceparent(1), method="rename", beer_id=7, name="x")

    def away() -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(scene.store, "transaction", away)
    scene.run(traceparent(2))
    refused, failed = scene.named("process beers.rename") + scene.named("process beers.add")
    assert (refused.error, refused.attributes["beers.outcome"]) == ("", "BeerNotFound")
    assert (failed.error, failed.attributes["beers.outcome"]) == ("StoreUnavailable", "StoreUnavailable")
    assert [commit.error for commit in scene.named("commit")] == ["", "StoreUnavailable"]


def test_a_method_that_is_none_gives_no_span_its_name() -> None:
    scene = Scene()
    scene.run(traceparent(1), method="s3cret" * 100, name="x")
    assert [ended.name for ended in scene.ended] == ["process beers.(malformed)"]


def test_what_a_caller_left_open_is_decided_where_it_comes_in_and_nowhere_else() -> None:
    scene = Scene(rate=1.0)
    scene.run(None, method="get", beer_id=1)
    assert scene.ended == []
    scene.run(None, method="get", beer_id=1, edge=True)
    (root,) = scene.ended
    assert root.span.parent_id == ""
    assert ids(root.span.traceparent)["trace_id"] == root.span.trace_id
