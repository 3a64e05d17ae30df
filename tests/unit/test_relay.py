"""How the relay gets every event to the bus, in order, whatever the bus and the store do."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import pytest
import structlog

from beers_service import relay
from beers_service.domain import commands
from beers_service.domain.errors import StoreUnavailable
from beers_service.ports import EventRecord, PublishingFailed
from beers_service.relay import Relay
from beers_service.store.memory import MemoryStore
from beers_service.writer import Request, Writer

PATIENCE = 10


class Bus:
    """A bus that keeps what it is told, and fails as it is told to."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.windows: list[int] = []
        self.times: list[float] = []
        self.fail: Callable[[list[int]], None] = lambda _positions: None
        self.closed = False

    def publish(self, events: Sequence[EventRecord]) -> None:
        positions = [event.position for event in events]
        self.windows.append(len(positions))
        self.times.append(time.monotonic())
        self.fail(positions)
        self.told += positions

    def keep_alive(self) -> None:
        """Nothing to keep alive."""

    def close(self) -> None:
        self.closed = True


class Scene:
    """A store, a bus, and the relay between them in a thread of its own."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.bus = Bus()
        self.log = structlog.testing.CapturingLogger()
        self.relay = Relay(self.store, self.store, self.bus, structlog.wrap_logger(self.log, processors=[]))
        self.thread = threading.Thread(target=self.relay.run, daemon=True)
        self._writer = Writer(self.store, self.store, lambda: datetime(2026, 11, 23, tzinfo=UTC), self.relay.wake)
        self._added = 0

    def add(self, number: int) -> None:
        requests = [Request((commands.add("x"),), f"{self._added + index}", "c") for index in range(number)]
        self._added += number
        self._writer.submit(requests)

    def stop(self) -> None:
        self.relay.stop()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    if scene.thread.is_alive():
        scene.stop()


def test_everything_in_the_log_is_told_in_order_in_windows(scene: Scene) -> None:
    scene.add(1200)
    scene.thread.start()
    eventually(lambda: scene.store.lead() == 1200)
    assert scene.bus.told == list(range(1, 1201))
    assert scene.bus.windows == [500, 500, 200]


def test_events_that_come_one_by_one_share_a_window_but_for_the_first(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "REST", 1.0)
    scene.thread.start()
    scene.add(1)
    eventually(lambda: scene.bus.told == [1])
    for _ in range(3):
        scene.add(1)
    eventually(lambda: scene.bus.told == [1, 2, 3, 4])
    assert scene.bus.windows == [1, 3]
    assert scene.bus.times[1] - scene.bus.times[0] >= relay.REST


def test_a_stop_does_not_wait_for_the_rest_between_two_windows(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "REST", 2.0 * PATIENCE)
    scene.thread.start()
    scene.add(1)
    eventually(lambda: scene.bus.told == [1])
    scene.stop()


def test_a_commit_wakes_the_relay_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beers_service.relay.POLL", 3600)
    scene.thread.start()
    for _ in range(3):
        scene.add(1)
        eventually(lambda: len(scene.bus.told) == scene.store.head().position)


def test_what_was_not_confirmed_is_told_again_and_nothing_is_skipped(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beers_service.relay.WINDOW", 10)
    failures = iter([True, False, True, True, False, False, True])

    def fail(positions: list[int]) -> None:
        if next(failures, False):
            # Some of the window has gone out all the same.
            scene.bus.told += positions[:3]
            raise PublishingFailed("no confirm")

    scene.bus.fail = fail
    scene.add(50)
    scene.thread.start()
    eventually(lambda: scene.store.lead() == 50)
    assert list(dict.fromkeys(scene.bus.told)) == list(range(1, 51))


@pytest.mark.parametrize("error", [StoreUnavailable("gone"), ValueError("a bug")])
def test_no_failure_ends_the_relay(scene: Scene, error: Exception) -> None:
    failures = iter([error, error])

    def fail(_positions: list[int]) -> None:
        if failure := next(failures, None):
            raise failure

    scene.bus.fail = fail
    scene.add(1)
    scene.thread.start()
    eventually(lambda: scene.bus.told == [1])
    assert len(scene.log.calls) == 2


def test_a_failure_after_all_was_well_is_the_first_one_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beers_service.relay.WINDOW", 1)
    made: list[int] = []

    def pauses() -> Iterator[float]:
        made.append(0)
        for _ in itertools.repeat(None):
            made[-1] += 1
            yield 0.001

    monkeypatch.setattr("beers_service.relay.backoff", pauses)
    scene.relay = Relay(scene.store, scene.store, scene.bus, structlog.wrap_logger(scene.log, processors=[]))
    scene.thread = threading.Thread(target=scene.relay.run, daemon=True)
    failures = iter([True, True, False, False, True, False])

    def fail(_positions: list[int]) -> None:
        if next(failures, False):
            raise PublishingFailed("no confirm")

    scene.bus.fail = fail
    scene.add(3)
    scene.thread.start()
    eventually(lambda: scene.bus.told == [1, 2, 3])
    scene.stop()
    assert [number for number in made if number] == [2, 1], "pauses in a row"


def test_what_is_told_but_cannot_be_remembered_is_told_ever_more_seldom(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Iterator[float]] = []

    def pauses() -> Iterator[float]:
        made.append(itertools.repeat(0.001))
        return made[-1]

    def full(_position: int) -> bool:
        if len(scene.bus.told) == 5:
            scene.relay.stop()
        raise StoreUnavailable("full")

    monkeypatch.setattr("beers_service.relay.backoff", pauses)
    monkeypatch.setattr(scene.store, "advance", full)
    scene.relay = Relay(scene.store, scene.store, scene.bus, structlog.wrap_logger(scene.log, processors=[]))
    scene.thread = threading.Thread(target=scene.relay.run, daemon=True)
    scene.add(1)
    scene.thread.start()
    scene.thread.join(PATIENCE)
    assert scene.bus.told == [1] * 5
    assert len(made) == 1


def test_stopping_finishes_the_window_in_hand(scene: Scene) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def fail(_positions: list[int]) -> None:
        inside.set()
        assert go_on.wait(PATIENCE)

    scene.bus.fail = fail
    scene.add(3)
    scene.thread.start()
    assert inside.wait(PATIENCE)
    scene.relay.stop()
    go_on.set()
    scene.stop()
    assert scene.store.lead() == 3
    assert scene.bus.closed


def test_a_relay_that_is_deposed_tells_no_more_until_it_leads_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beers_service.relay.POLL", 0.01)
    monkeypatch.setattr(scene.store, "advance", lambda _position: False)
    leading = iter([0, None, None, 0])
    monkeypatch.setattr(scene.store, "lead", lambda: next(leading, None))
    scene.add(1)
    scene.thread.start()
    eventually(lambda: scene.bus.told == [1, 1])


def test_a_gap_is_never_told_over(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.add(3)
    whole = scene.store.records
    monkeypatch.setattr(
        scene.store, "records", lambda after, limit: [e for e in whole(after, limit) if e.position != 2]
    )
    scene.thread.start()
    eventually(lambda: len(scene.log.calls) > 0)
    assert scene.bus.told == []


def test_a_relay_tells_how_far_the_bus_is_behind_and_since_when(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beers_service.relay.WINDOW", 2)
    monkeypatch.setattr("beers_service.relay.backoff", lambda: iter([0.001] * 1000))
    away = True

    def fail(_positions: list[int]) -> None:
        if away:
            raise PublishingFailed("no", refused=True)

    scene.bus.fail = fail
    scene.add(5)
    relay = scene.relay
    assert (relay.leading, relay.store_up) == (False, False)
    scene.thread.start()
    eventually(lambda: relay.failures["refused"] > 1)
    assert (relay.leading, relay.store_up, relay.position, relay.head, relay.published) == (True, True, 0, 5, 0)
    assert relay.oldest == datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1e6
    away = False
    eventually(lambda: relay.position == 5 and relay.oldest is None)
    assert (relay.head, relay.published, set(relay.failures)) == (5, 5, {"refused"})


def test_a_relay_without_a_store_leads_nothing_and_says_so(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beers_service.relay.backoff", lambda: iter([0.001] * 1000))
    monkeypatch.setattr("beers_service.relay.POLL", 0.001)
    scene.thread.start()
    eventually(lambda: scene.relay.leading and scene.relay.store_up)

    def away() -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(scene.store, "lead", away)
    monkeypatch.setattr(scene.store, "records", lambda *_arguments: away())
    eventually(lambda: scene.relay.failures["store"] > 1)
    assert not scene.relay.leading
    assert not scene.relay.store_up
