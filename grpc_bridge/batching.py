"""Adaptive batching: Nagle's algorithm without its timer.

With few batches in flight a call leaves at once; with many, calls gather until an answer frees a slot. So an idle
bridge adds no latency, and a busy one shares the cost of a message, a commit and a disk flush among many calls.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from beers_runtime.tracing import Span
from grpc_bridge.errors import CallFailed, overloaded

_NEWS = (0.3, 0.1)
"""How much the latest answer counts for the pace, if its batch was full or slower than that: for the average that soon
tells of a service which has become slow, and for the one that a few quick answers in a row do not deceive."""
_LEAST = 0.03
"""How much the answer to an emptier batch counts at least: after a pause it is soon known that all is well."""
_LONGEST_STEP = 1.0  # seconds
_CLEARED_FOR = 5e-5
"""Seconds, for each call that waits, until those that nobody wants any more are looked for again: so that takes less
than a hundredth of the time, however many wait and however many are refused."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may travel, and how much may wait.

    Attributes:
        in_flight: Batches on the way before calls gather.
        calls: Calls in one batch.
        size: Bytes of one batch; a call that is larger travels alone.
        rows: Beers or events that the answers to one batch hold together, as far as they can be foreseen.
        waiting: Calls that may gather; more are refused.
        patience: Seconds for which a call may have to wait for its answer, as far as can be foreseen; what comes when
            it would be more is refused. A slow service makes a short queue.
        lease: Seconds for which a batch keeps its slot. One that is lost, or with an instance that hangs, must not
            stop the others; the limit on calls bounds what can be on the way even so.
    """

    in_flight: int = 2
    calls: int = 256
    size: int = 512 * 1024
    rows: int = 1000
    waiting: int = 1000
    patience: float = 1.0
    lease: float = 1.0


Measure = Callable[[int, float], None]
"""Takes each batch that was answered: how many calls it held, and the seconds from its leaving to the answer."""


class Call:
    """One call on its way through the bus.

    Attributes:
        body: The call as the service's `execute` reads it, in JSON.
        reads: Whether it changes nothing.
        rows: How many beers or events the answer may hold.
        deadline: When the caller gets a failure at the latest, in the time of the event loop.
        request_id: That of a command; empty for a read.
        answer: Becomes the service's answer, or the failure.
        span: That of its sending, until it has left; None if its trace is not sampled.
    """

    __slots__ = ("answer", "body", "deadline", "reads", "request_id", "rows", "span")

    def __init__(
        self,
        body: bytes,
        *,
        reads: bool,
        rows: int,
        deadline: float,
        request_id: str,
        answer: asyncio.Future[object],
        span: Span | None = None,
    ) -> None:
        self.body = body
        self.reads = reads
        self.rows = rows
        self.deadline = deadline
        self.request_id = request_id
        self.answer = answer
        self.span = span


class Batch:
    """Calls that travel in one message, commands before reads.

    Attributes:
        number: Identifies the batch among those of this process.
        calls: In the order in which the answers will come.
        deadline: The latest of its calls' deadlines.
        left_at: When it left for the first time, in the time of the event loop.
    """

    __slots__ = ("calls", "deadline", "holds_slot", "left_at", "number", "timer")

    def __init__(self, number: int, calls: list[Call], left_at: float) -> None:
        calls.sort(key=_reads)
        self.number = number
        self.calls = calls
        self.deadline = max(call.deadline for call in calls)
        self.left_at = left_at
        self.holds_slot = True
        self.timer: asyncio.TimerHandle | None = None

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for an answer."""
        return not all(call.answer.done() for call in self.calls)

    def body(self) -> bytes:
        """Return the message."""
        return b'{"args":[],"kwargs":{"calls":[' + b",".join([call.body for call in self.calls]) + b"]}}"

    def resolve(self, answers: list[object]) -> None:
        """Hand each caller the answer to its call."""
        for call, answer in zip(self.calls, answers, strict=True):
            if not call.answer.done():
                call.answer.set_result(answer)

    def fail(self, failure: CallFailed) -> None:
        """Hand every caller the same *failure*."""
        for call in self.calls:
            if not call.answer.done():
                call.answer.set_exception(failure)


class Pace:
    """How long a full batch takes while there is always one on its way.

    It counts batches, not calls: a service that is slow for each message answers many calls with the next one. But
    where each call takes its time, what was quick with a few says little: that counts less, the emptier the batch was.

    Attributes:
        seconds: From one answer to the next: the slower of two fading averages; 0 while nothing is known.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._averages = (0.0, 0.0)
        self._since: float | None = None

    def answered(self, now: float, *, busy: bool, fullness: float = 1.0) -> None:
        """Note the answer to a batch of this *fullness*, and whether the service is *busy* with others since."""
        if self._since is not None:
            step, part = now - self._since, min(1.0, fullness)
            soon, steady = (
                average + (min(step, _LONGEST_STEP) - average) * (news if step > average else max(_LEAST, news * part))
                for average, news in zip(self._averages, _NEWS, strict=True)
            )
            # What takes longer is a pause, of a disk or an instance that ended, and says little of the pace: to the
            # average that is slow to forget, nothing.
            self._averages = (soon, steady if step <= _LONGEST_STEP else self._averages[1])
            self.seconds = max(self._averages)
        self._since = now if busy else None

    def rest(self) -> None:
        """Forget when the last answer came: the next one comes when it can."""
        self._since = None


class Batcher:
    """Gathers calls into batches and remembers those that are on their way.

    It starts held: `resume` lets batches leave. Within one turn of the event loop all calls share a batch.

    Attributes:
        refused: How many calls it has not taken on.
    """

    def __init__(self, send: Callable[[Batch], None], limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._send = send
        self._limits = limits
        self._loop = loop
        self.refused = 0
        self._waiting: deque[Call] = deque()
        self._on_the_way: dict[int, Batch] = {}
        self._slots = limits.in_flight
        self._numbers = 0
        self._held = True
        self._flush_scheduled = False
        self._pace = Pace()
        self._rows = 0  # that the answers to those that wait may hold
        self._cleared_until = 0.0

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """How many batches have left and not been answered."""
        return len(self._on_the_way)

    def crowded(self, busy: int = 0) -> bool:
        """Tell whether as many calls wait as may.

        Args:
            busy: How many calls were let in and have not ended. Those of them that are not here yet will wait as well;
                some of a crowd that is let in at once would otherwise only be refused later, when that costs more.
                They count for one batch at most: some are answered already, and some may never come.
        """
        limits = self._limits
        if len(self._waiting) >= limits.waiting:
            self._clear()
        waiting = len(self._waiting)
        if waiting >= limits.waiting:
            return True
        if not waiting or self._held:
            return False
        here = self._batches(waiting, self._rows)
        away = sum(len(batch.calls) for batch in self._on_the_way.values())
        entering = min(1.0, here * max(0, busy - waiting - away) / waiting)
        # Those on their way count: a slow service has many of them, since none keeps its slot for longer than a lease.
        # And so does the one that the next call would travel in.
        batches = len(self._on_the_way) + here + entering + 1
        return batches * self._pace.seconds > limits.patience

    def add(self, call: Call) -> None:
        """Take *call* on.

        Raises:
            CallFailed: Overloaded, if too many calls wait already.
        """
        if self.crowded():
            self.refused += 1
            raise overloaded("too many calls are waiting for the service")
        self._waiting.append(call)
        self._rows += call.rows
        self._schedule_flush()

    def hold(self) -> None:
        """Let no batch leave until `resume`."""
        self._held = True
        self._pace.rest()

    def resume(self) -> None:
        """Let batches leave again."""
        self._held = False
        self._schedule_flush()

    def on_the_way(self) -> list[Batch]:
        """Return the batches that have left and not been answered, oldest first."""
        return list(self._on_the_way.values())

    def take(self, number: int) -> Batch | None:
        """Give up the batch with this number, since its answer came; None if nobody waits for it any more."""
        batch = self._on_the_way.pop(number, None)
        if batch is not None:
            if batch.timer is not None:
                batch.timer.cancel()
            self._free_slot(batch)
            busy = bool(self._on_the_way or self._waiting)
            fullness = self._batches(len(batch.calls), sum(call.rows for call in batch.calls))
            self._pace.answered(self._loop.time(), busy=busy, fullness=fullness)
        return batch

    def fail_all(self, failure: CallFailed) -> None:
        """Fail every call, whether it waits or is on its way."""
        for batch in self.on_the_way():
            self.take(batch.number)
            batch.fail(failure)
        while self._waiting:
            call = self._pop()
            if not call.answer.done():
                call.answer.set_exception(failure)

    def _batches(self, calls: int, rows: int) -> float:
        """Return how many full batches so many *calls* make, whose answers may hold so many *rows*."""
        return max(calls / self._limits.calls, rows / self._limits.rows)

    def _schedule_flush(self) -> None:
        if self._waiting and self._slots > 0 and not self._held and not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        while self._slots > 0 and not self._held:
            calls = list(self._gathered())
            if not calls:
                return
            self._numbers += 1
            batch = Batch(self._numbers, calls, self._loop.time())
            self._slots -= 1
            self._on_the_way[batch.number] = batch
            batch.timer = self._loop.call_later(self._limits.lease, self._end_lease, batch)
            self._send(batch)

    def _gathered(self) -> Iterator[Call]:
        limits = self._limits
        count = size = rows = 0
        while self._waiting and count < limits.calls:
            call = self._waiting[0]
            if call.answer.done():  # expired, or its caller went away
                self._pop()
                continue
            size += len(call.body)
            rows += call.rows
            if count and (size > limits.size or rows > limits.rows):
                return
            count += 1
            yield self._pop()

    def _clear(self) -> None:
        """Drop the calls that nobody wants any more, which else stay until their turn comes: not while we are held."""
        now = self._loop.time()
        if now < self._cleared_until:
            return
        self._cleared_until = now + len(self._waiting) * _CLEARED_FOR
        self._waiting = deque(call for call in self._waiting if not call.answer.done())
        self._rows = sum(call.rows for call in self._waiting)

    def _pop(self) -> Call:
        call = self._waiting.popleft()
        self._rows -= call.rows
        return call

    def _end_lease(self, batch: Batch) -> None:
        self._free_slot(batch)
        batch.timer = self._loop.call_at(batch.deadline, self.take, batch.number)

    def _free_slot(self, batch: Batch) -> None:
        if batch.holds_slot:
            batch.holds_slot = False
            self._slots += 1
            self._schedule_flush()


def _reads(call: Call) -> bool:
    return call.reads
