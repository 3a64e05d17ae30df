"""How the writer gathers commands, and what it says when the store fails it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import pytest

from beers_service.domain import commands
from beers_service.domain.commands import Command
from beers_service.domain.errors import DeadlinePassed, OutcomeUnknown, Overloaded, StoreUnavailable
from beers_service.ports import StoredAnswer
from beers_service.store.memory import MemoryStore, MemoryTransaction
from beers_service.writer import BATCH, WAITING, Outcome, Request, Writer

PATIENCE = 10
"""Seconds after which a test gives up."""


class GatedStore(MemoryStore):
    """A store whose transactions wait at a gate, and fail as they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.batches: list[int] = []
        self.before_commit: Callable[[MemoryTransaction], None] = lambda _transaction: None
        self.after_commit: Callable[[], None] = lambda: None

    @contextmanager
    def transaction(self) -> Iterator[MemoryTransaction]:
        self.begun.set()
        assert self.gate.wait(PATIENCE)
        with super().transaction() as transaction:
            yield transaction
            self.before_commit(transaction)
        self.batches.append(len(transaction.given))
        self.after_commit()


@pytest.fixture
def store() -> GatedStore:
    return GatedStore()


@pytest.fixture
def writer(store: GatedStore) -> Writer:
    return Writer(store, store, lambda: datetime(2026, 11, 23, tzinfo=UTC), lambda: None)


def request(name: str, deadline: float = float("inf")) -> Request:
    return Request((commands.add(name),), name, "conversation", deadline=deadline)


class Caller(threading.Thread):
    """Submits requests from a thread of its own."""

    def __init__(self, writer: Writer, *requests: Request) -> None:
        super().__init__(daemon=True)
        self._writer = writer
        self._requests = requests
        self.outcomes: list[Outcome] = []
        self.start()

    def run(self) -> None:
        with suppress(SystemExit):
            self.outcomes = self._writer.submit(self._requests)

    def result(self) -> list[Outcome]:
        self.join(PATIENCE)
        assert not self.is_alive()
        return self.outcomes


def hold_leader(store: GatedStore, writer: Writer) -> Caller:
    """Return a caller that is within its transaction and stays there until the gate opens."""
    store.gate.clear()
    store.begun.clear()
    leader = Caller(writer, request("leader"))
    assert store.begun.wait(PATIENCE)
    return leader


def await_waiting(writer: Writer, number: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while writer.waiting != number:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_nothing_to_do_is_done_without_a_transaction(store: GatedStore, writer: Writer) -> None:
    assert writer.submit([]) == []
    assert store.batches == []


def test_what_gathers_during_a_commit_shares_the_next_one(store: GatedStore, writer: Writer) -> None:
    leader = hold_leader(store, writer)
    followers = [Caller(writer, request(f"follower {number}")) for number in range(20)]
    await_waiting(writer, 20)
    store.gate.set()
    assert all(isinstance(caller.result()[0], list) for caller in [leader, *followers])
    assert store.batches == [1, 20]


def test_a_batch_has_a_limit_and_the_lead_is_passed_on(
    store: GatedStore, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beers_service.writer.BATCH", 8)
    leader = hold_leader(store, writer)
    followers = [Caller(writer, request(f"follower {number}")) for number in range(20)]
    await_waiting(writer, 20)
    store.gate.set()
    assert all(isinstance(caller.result()[0], list) for caller in [leader, *followers])
    assert store.batches == [1, 8, 8, 4]
    assert isinstance(Caller(writer, request("one more")).result()[0], list)


def test_a_waiting_request_gives_up_at_its_deadline_and_is_never_run(store: GatedStore, writer: Writer) -> None:
    leader = hold_leader(store, writer)
    impatient = Caller(writer, request("impatient", deadline=time.monotonic() + 0.05))
    assert isinstance(impatient.result()[0], DeadlinePassed)
    store.gate.set()
    leader.result()
    assert isinstance(writer.submit([request("next")])[0], list)
    assert [event.request_id for event in store.events(0, 10)] == ["leader", "next"]


def test_a_request_that_gives_up_while_leading_others_leaves_them_a_leader(store: GatedStore, writer: Writer) -> None:
    leader = hold_leader(store, writer)
    impatient = Caller(writer, request("impatient", deadline=time.monotonic() + 0.05))
    patient = Caller(writer, request("patient"))
    impatient.result()
    store.gate.set()
    leader.result()
    assert isinstance(patient.result()[0], list)


def test_too_many_waiting_commands_are_refused_at_once(
    store: GatedStore, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beers_service.writer.WAITING", 3)
    leader = hold_leader(store, writer)
    waiting = Caller(writer, *(request(f"w{number}") for number in range(3)))
    await_waiting(writer, 3)
    assert isinstance(writer.submit([request("one too many")])[0], Overloaded)
    store.gate.set()
    assert isinstance(leader.result()[0], list)
    assert all(isinstance(outcome, list) for outcome in waiting.result())
    assert WAITING > 3


def test_a_store_that_is_away_fails_all_of_the_batch_and_the_next_one_is_tried(
    store: GatedStore, writer: Writer
) -> None:
    def away(_transaction: MemoryTransaction) -> None:
        raise StoreUnavailable("gone")

    store.before_commit = away
    outcomes = writer.submit([request("a"), request("b")])
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable, StoreUnavailable]
    store.before_commit = lambda _transaction: None
    assert isinstance(writer.submit([request("a")])[0], list)
    assert store.head().position == 1


def test_an_unknown_outcome_names_the_request_and_the_same_request_finds_it_out(
    store: GatedStore, writer: Writer
) -> None:
    def lost() -> None:
        raise OutcomeUnknown("")

    store.after_commit = lost
    outcome = writer.submit([request("a")])[0]
    assert isinstance(outcome, OutcomeUnknown)
    assert "request a" in str(outcome)
    store.after_commit = lambda: None
    assert isinstance(writer.submit([request("a")])[0], list)
    assert store.head().position == 1


def test_a_command_that_cannot_be_stored_does_not_take_the_others_with_it(store: GatedStore, writer: Writer) -> None:
    def picky(transaction: MemoryTransaction) -> None:
        if "poison" in transaction.given:
            raise ValueError("cannot be stored")

    store.before_commit = picky
    outcomes = writer.submit([request("a"), request("poison"), request("b")])
    assert [type(outcome) for outcome in outcomes] == [list, ValueError, list]
    assert [event.request_id for event in store.events(0, 10)] == ["a", "b"]


def test_one_command_that_cannot_be_stored_costs_a_thousand_others_a_few_transactions(
    store: GatedStore, writer: Writer
) -> None:
    attempts = 0

    def picky(transaction: MemoryTransaction) -> None:
        nonlocal attempts
        attempts += 1
        if "700" in transaction.given:
            raise ValueError("cannot be stored")

    store.before_commit = picky
    outcomes = writer.submit([request(str(number)) for number in range(1000)])
    assert [number for number, outcome in enumerate(outcomes) if not isinstance(outcome, list)] == [700]
    assert [event.request_id for event in store.events(0, 1000)] == [str(n) for n in range(1000) if n != 700]
    assert attempts < 25


def test_a_single_caller_may_bring_more_than_a_batch_and_it_is_one_transaction(
    store: GatedStore, writer: Writer
) -> None:
    assert len(writer.submit([request(str(number)) for number in range(2 * BATCH)])) == 2 * BATCH
    assert store.batches == [2 * BATCH]


def test_whoever_needs_no_beers_gets_the_stored_answer_to_what_was_answered_before(writer: Writer) -> None:
    (first,) = writer.settle([request("a")])
    assert isinstance(first, list)
    (again,) = writer.settle([request("a")])
    assert isinstance(again, StoredAnswer)
    assert again.beers == ((1, 1),)
    assert writer.submit([request("a")]) == [first]


def test_a_leader_that_is_killed_leaves_nobody_waiting(store: GatedStore, writer: Writer) -> None:
    def killed(_transaction: MemoryTransaction) -> None:
        store.before_commit = lambda _transaction: None
        raise SystemExit

    store.before_commit = killed
    leader = hold_leader(store, writer)
    follower = Caller(writer, request("follower"))
    await_waiting(writer, 1)
    store.gate.set()
    leader.result()
    assert isinstance(follower.result()[0], list)


def test_a_follower_that_is_killed_when_the_lead_comes_to_it_hands_it_on(
    store: GatedStore, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = hold_leader(store, writer)
    doomed: list[threading.Thread] = []
    wait = threading.Event.wait

    def wait_and_die(event: threading.Event, timeout: float | None = None) -> bool:
        woken = wait(event, timeout)
        if threading.current_thread() in doomed:
            raise SystemExit
        return woken

    monkeypatch.setattr(threading.Event, "wait", wait_and_die)
    killed = Caller(writer, request("killed"))
    await_waiting(writer, 1)
    follower = Caller(writer, request("follower"))
    await_waiting(writer, 2)
    doomed.append(killed)
    store.gate.set()
    assert isinstance(leader.result()[0], list)
    assert killed.result() == []
    assert isinstance(follower.result()[0], list)
    assert isinstance(writer.submit([request("later")])[0], list)
    assert [event.request_id for event in store.events(0, 10)] == ["leader", "follower", "later"]


def test_a_fingerprint_knows_the_command_and_nothing_else() -> None:
    def fingerprint(command: Command, version: int | None = None) -> str:
        return Request((command,), "id", "conversation", expected_version=version).fingerprint()

    add = commands.add("Punk", abv=5)
    assert fingerprint(add) == fingerprint(commands.add(" Punk ", abv=5.0))
    assert Request((add,), "other", "other", deadline=1).fingerprint() == fingerprint(add)
    different: list[Command] = [
        commands.add("Punk"),
        commands.remove(1),
        commands.restore(1),
        commands.update(1, {"abv": None}),
    ]
    assert len({fingerprint(command) for command in (add, *different)}) == 5
    assert fingerprint(add, 0) != fingerprint(add)


def test_a_fingerprint_stays_what_it_is_since_stores_hold_those_of_last_week() -> None:
    def fingerprint(command: Command, version: int | None = None) -> str:
        return Request((command,), "id", "conversation", expected_version=version).fingerprint()

    assert fingerprint(commands.add("Punk", abv=5)) == "38e0d1bb3d931fa46a5f1d7e14c72dfe"
    assert fingerprint(commands.update(1, {"style": "IPA", "abv": None}), 3) == "e325588530b1ce6f868514ba9bb4e38c"
