"""The one way in: many commands, one transaction.

Group commit without a thread of its own: whoever finds nobody writing becomes the leader, takes what is waiting, his
own request included, commits it, wakes those whose requests he carried, and hands the lead to the first that still
waits. This is the writer queue of LevelDB (db/db_impl.cc, ``BuildBatchGroup``); it adds no delay when idle and grows
its batches by itself under load.

A request id that was answered before is answered again from the log; nothing runs twice.
"""

import hashlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import get_args

import orjson

from beers_service.domain import errors
from beers_service.domain.beer import Beer, decide, evolve
from beers_service.domain.commands import Add, Command
from beers_service.domain.errors import (
    REFUSALS,
    BeersError,
    DeadlinePassed,
    OutcomeUnknown,
    Overloaded,
    RequestIdReused,
)
from beers_service.histories import beer_until
from beers_service.ports import BeerReader, EventLog, Head, LogTransaction, StoredAnswer, StoredEvent
from beers_service.spans import Spans

Clock = Callable[[], datetime]

Measure = Callable[[int, float, Sequence[StoredEvent]], None]
"""Takes each transaction that was committed: how many commands it carried, its seconds, and its events."""

BATCH = 512
"""How many commands one transaction carries at most; a single request may bring more."""

WAITING = 10_000
"""How many commands may wait; past that the writer is overloaded."""


@dataclass(frozen=True, slots=True)
class Request:
    """Commands that are carried out together or not at all.

    Attributes:
        commands: At least one.
        request_id: Names the request for ever.
        correlation_id: The conversation that it is part of.
        expected_version: The version that the beer must have; None if any will do.
        deadline: Until when it is worth doing, in seconds of `time.monotonic`.
        traceparent: The trace that it is part of, as W3C Trace Context writes it; None if there is none.
        actor: Who makes it, as others know them; None if nobody says.
    """

    commands: tuple[Command, ...]
    request_id: str
    correlation_id: str
    expected_version: int | None = None
    deadline: float = float("inf")
    traceparent: str | None = None
    actor: str | None = None

    def fingerprint(self) -> str:
        """Return what tells this request's commands from all others, whatever it is called and whoever makes it.

        A request that comes again from another actor, whose name has changed or who took over the work, is the same
        request: it gets the answer that is there, and its events keep the actor who made it first.
        """
        content = [[type(command).__name__, _values(command)] for command in self.commands]
        canonical = orjson.dumps([content, self.expected_version], option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(canonical, digest_size=16).hexdigest()


Outcome = list[Beer] | Exception
"""What became of a request: its beers, one for each command, or why not."""


@dataclass(slots=True, eq=False)
class _Entry:
    """The requests of one caller while they wait."""

    requests: Sequence[Request]
    size: int
    wake: threading.Event = field(default_factory=threading.Event)
    outcomes: Sequence[Outcome | StoredAnswer] | None = None
    leads: bool = False


class Writer:
    """Carries out requests.

    Args:
        log: Where events are appended.
        reader: Where past answers are read.
        clock: Tells the time, in UTC.
        committed: Called with no argument after every transaction that appended something.
        measure: Takes what each transaction was like.
        spans: Gets a span for each transaction and trace that is sampled; None: there are none.

    Attributes:
        waiting: How many commands wait.
        head: The position of the last event that it has appended.
        failed: How many transactions have failed, by the reason.
    """

    def __init__(
        self,
        log: EventLog,
        reader: BeerReader,
        clock: Clock,
        committed: Callable[[], None],
        measure: Measure | None = None,
        spans: Spans | None = None,
    ) -> None:
        self._log = log
        self._reader = reader
        self._clock = clock
        self._committed = committed
        self._measure = measure
        self.head = 0
        self.failed: Counter[str] = Counter()
        self._spans = spans or Spans()
        self._lock = threading.Lock()
        self._queue: deque[_Entry] = deque()
        self.waiting = 0
        self._led = False

    def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        """Carry out *requests* and return their outcomes, in order, once they are durable.

        Requests of one call share a transaction with each other and with those of other callers, yet each is
        accepted or refused by itself. The call returns at the latest when the last deadline has passed.
        """
        return [
            self._replay(outcome, request.deadline) if isinstance(outcome, StoredAnswer) else outcome
            for request, outcome in zip(requests, self.settle(requests), strict=True)
        ]

    def settle(self, requests: Sequence[Request]) -> list[Outcome | StoredAnswer]:
        """Do what `submit` does for callers to whom it is enough that a request was answered before.

        They get its stored answer, which costs nothing; to fold it back to beers takes a read for each.
        """
        if not requests:
            return []
        entry = _Entry(requests, size=sum(len(request.commands) for request in requests))
        with self._lock:
            if self.waiting and self.waiting + entry.size > WAITING:
                return [Overloaded("too many commands are waiting")] * len(requests)
            self._queue.append(entry)
            self.waiting += entry.size
            entry.leads = not self._led
            self._led = True
        if not entry.leads:
            self._follow(entry)
        if entry.leads:
            self._lead()
        if entry.outcomes is None:
            return [DeadlinePassed(request.request_id) for request in requests]
        return list(entry.outcomes)

    def _follow(self, entry: _Entry) -> None:
        """Wait until a leader has carried out *entry* or made its owner the leader, or until it is too late."""
        latest = max(request.deadline for request in entry.requests)
        remaining = None if latest == float("inf") else latest - time.monotonic()
        try:
            if entry.wake.wait(remaining):
                return
        except BaseException:
            # This thread is being killed: what nobody has taken is not carried out, and the lead goes to another one.
            with self._lock:
                self._withdraw(entry)
                if entry.leads:
                    self._pass_on()
            raise
        with self._lock:
            if not entry.leads:
                self._withdraw(entry)

    def _withdraw(self, entry: _Entry) -> None:
        # Taken by a leader in the meantime, it may still be committed: the outcome is then unknown.
        if entry in self._queue:
            self._queue.remove(entry)
            self.waiting -= entry.size

    def _lead(self) -> None:
        """Commit one batch, then pass the lead on."""
        with self._lock:
            batch = self._next_batch()
        outcomes: list[Outcome | StoredAnswer] = []
        try:
            outcomes = self._carry_out([request for entry in batch for request in entry.requests])
        finally:
            # Also when this thread is being killed: nobody may wait for a leader that is gone.
            done = 0
            for entry in batch:
                entry.outcomes = outcomes[done : done + len(entry.requests)] or [
                    OutcomeUnknown(request.request_id) for request in entry.requests
                ]
                done += len(entry.requests)
                entry.wake.set()
            with self._lock:
                self._pass_on()

    def _pass_on(self) -> None:
        """Hand the lead to the first that waits."""
        self._led = bool(self._queue)
        if self._queue:
            self._queue[0].leads = True
            self._queue[0].wake.set()

    def _next_batch(self) -> list[_Entry]:
        batch: list[_Entry] = []
        size = 0
        while self._queue and (not batch or size + self._queue[0].size <= BATCH):
            entry = self._queue.popleft()
            batch.append(entry)
            size += entry.size
            self.waiting -= entry.size
        return batch

    def _carry_out(self, requests: Sequence[Request]) -> list[Outcome | StoredAnswer]:
        """Return an outcome for each of *requests*, in order."""
        try:
            return self._commit(requests)
        except OutcomeUnknown:
            self.failed["outcome_unknown"] += 1
            return [OutcomeUnknown(request.request_id) for request in requests]
        except BeersError as error:
            self.failed["store_unavailable"] += 1
            return [error] * len(requests)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the callers and not to the leader
            self.failed["error"] += 1
            if len(requests) == 1:
                return [error]
            # One of them cannot be stored. It must not take the others with it, nor cost each a transaction of its own.
            half = len(requests) // 2
            return self._carry_out(requests[:half]) + self._carry_out(requests[half:])

    def _commit(self, requests: Sequence[Request]) -> list[Outcome | StoredAnswer]:
        now = time.monotonic()
        with self._spans.commit(requests), self._log.transaction() as transaction:
            batch = _Batch(transaction, max(self._clock(), transaction.head.time), requests)
            outcomes = [
                DeadlinePassed(request.request_id) if request.deadline < now else batch.run(request)
                for request in requests
            ]
            batch.append(transaction)
        if self._measure is not None:
            commands = sum(len(request.commands) for request in requests)
            self._measure(commands, time.monotonic() - now, batch.events)
        if batch.events:
            self.head = batch.events[-1].position
            self._committed()
        return outcomes

    def _replay(self, answer: StoredAnswer, deadline: float) -> Outcome:
        """Return what *answer* was when it was given, if it can be found out by the *deadline*."""
        if answer.refusal is not None:
            name, arguments = answer.refusal
            refusal: Exception = getattr(errors, name)(*arguments)
            return refusal
        try:
            return [self._as_of_version(beer_id, version, deadline) for beer_id, version in answer.beers]
        except DeadlinePassed:
            return DeadlinePassed(answer.request_id)
        except BeersError as error:
            return error

    def _as_of_version(self, beer_id: int, version: int, deadline: float) -> Beer:
        beer = beer_until(self._reader, beer_id, None, version=version, deadline=deadline)
        if beer is None or beer.version != version:
            raise LookupError(f"the log lacks version {version} of beer {beer_id}")
        return beer


class _Batch:
    """The requests of one transaction: decides them in order, each on what those before it left."""

    def __init__(self, transaction: LogTransaction, now: datetime, requests: Sequence[Request]) -> None:
        self._now = now
        self._log_id, self._position = transaction.head.log_id, transaction.head.position
        self._last_beer_id, self._last_time = transaction.head.last_beer_id, transaction.head.time
        self._answers = transaction.answers({request.request_id for request in requests})
        self._beers = transaction.beers(
            {
                command.beer_id
                for request in requests
                if request.request_id not in self._answers
                for command in request.commands
                if not isinstance(command, Add)
            }
        )
        self._changed: dict[int, Beer] = {}
        self._given: list[StoredAnswer] = []
        self.events: list[StoredEvent] = []

    def run(self, request: Request) -> Outcome | StoredAnswer:
        """Decide one request: its beers, a refusal, or the answer that it had before."""
        fingerprint = request.fingerprint()
        earlier = self._answers.get(request.request_id)
        if earlier is not None:
            return earlier if earlier.fingerprint == fingerprint else RequestIdReused(request.request_id)
        try:
            beers = self._decide(request)
        except REFUSALS as refusal:
            self._answer(request, fingerprint, (), (type(refusal).__name__, refusal.args))
            return refusal
        self._answer(request, fingerprint, tuple([(beer.id, beer.version) for beer in beers]), None)
        return beers

    def append(self, transaction: LogTransaction) -> None:
        """Hand everything that was decided to the transaction."""
        if self._given:
            time = self._now if self.events else self._last_time
            head = Head(self._log_id, self._position, self._last_beer_id, time)
            transaction.append(head, self.events, self._changed, self._given, self._now)

    def _decide(self, request: Request) -> list[Beer]:
        """Decide all commands of *request*; nothing of it is kept if one is refused."""
        position, last_beer_id, now = self._position, self._last_beer_id, self._now
        events: list[StoredEvent] = []
        changed: dict[int, Beer] = {}
        beers: list[Beer] = []
        for command in request.commands:
            if isinstance(command, Add):
                beer_id = last_beer_id = last_beer_id + 1
                beer = None
            else:
                beer_id = command.beer_id
                beer = changed.get(beer_id) or self._changed.get(beer_id) or self._beers.get(beer_id)
            for data in decide(beer, command, request.expected_version):
                position += 1
                beer = changed[beer_id] = evolve(beer, data, beer_id=beer_id, time=now)
                events.append(
                    StoredEvent(
                        position=position,
                        beer_id=beer_id,
                        version=beer.version,
                        time=now,
                        request_id=request.request_id,
                        correlation_id=request.correlation_id,
                        data=data,
                        traceparent=request.traceparent,
                        actor=request.actor,
                    )
                )
            if beer is None:
                raise LookupError(f"the decision on {command} left no beer")
            beers.append(beer)
        self._position, self._last_beer_id = position, last_beer_id
        self.events += events
        self._changed.update(changed)
        return beers

    def _answer(
        self,
        request: Request,
        fingerprint: str,
        beers: tuple[tuple[int, int], ...],
        refusal: tuple[str, tuple[str, ...]] | None,
    ) -> None:
        answer = StoredAnswer(request.request_id, fingerprint, beers, refusal)
        # The same id may come again within this batch.
        self._answers[request.request_id] = answer
        self._given.append(answer)


_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in get_args(Command)}


def _values(command: Command) -> dict[str, object]:
    # `dataclasses.asdict` yields the same and takes ten times as long: it copies what nobody changes.
    return {name: getattr(command, name) for name in _FIELDS[type(command)]}
