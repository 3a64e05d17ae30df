"""Calls that arrived together share a commit, though each has a worker of its own.

The writer carries together what waits for it. But a commit to SQLite does not yield: a worker would begin, lead, and
be done before the next one had even begun, and each would have a commit of its own.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import eventlet
from eventlet.event import Event

from beers_service.domain.errors import DeadlinePassed
from beers_service.writer import BATCH, Outcome, Request

Submit = Callable[[Sequence[Request]], list[Outcome]]
"""Carries out requests: `writer.Writer.submit`."""


@dataclass(slots=True, eq=False)
class _Share:
    """The requests of one worker; `outcomes` stays None if whoever was to submit them could not."""

    requests: Sequence[Request]
    outcomes: list[Outcome] | None = None
    settled: Event = field(default_factory=Event)


class Gathering:
    """Stands before the writer: the first worker of a turn waits for the others to begin, and submits for them all.

    It waits for those alone that have been given their call and are only waiting for their turn: there is no delay when
    there are none.

    Args:
        submit: Carries out requests.
        more: Tells whether there are workers that have not begun yet.
    """

    def __init__(self, submit: Submit, more: Callable[[], bool]) -> None:
        self._submit = submit
        self._more = more
        self._shares: list[_Share] = []
        self._size = 0

    def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        """Do what `writer.Writer.submit` does."""
        size = sum(len(request.commands) for request in requests)
        if not size or (not self._shares and not self._more()) or self._size + size > BATCH:
            return self._submit(requests)
        share = _Share(requests)
        self._shares.append(share)
        self._size += size
        if len(self._shares) > 1:
            self._follow(share)
        else:
            self._lead()
        # Whoever was to submit for us could not. What he has done all the same is not done again: see the request ids.
        return self._submit(requests) if share.outcomes is None else share.outcomes

    def _follow(self, share: _Share) -> None:
        latest = max(request.deadline for request in share.requests)
        remaining = None if latest == float("inf") else max(0.0, latest - time.monotonic())
        if share.settled.wait(remaining) is None:
            share.outcomes = [DeadlinePassed(request.request_id) for request in share.requests]

    def _lead(self) -> None:
        shares = self._shares
        try:
            # Green threads run in the order in which they were made ready: those that are to begin run before this one.
            eventlet.sleep(0)
            self._shares, self._size = [], 0
            outcomes = iter(self._submit([request for share in shares for request in share.requests]))
            for share in shares:
                share.outcomes = [next(outcomes) for _ in share.requests]
        except Exception:  # noqa: BLE001 - it belongs to one of them, who gets it when each submits for himself
            return
        finally:
            # Also when this thread is being killed: nobody may wait for it.
            if self._shares is shares:
                self._shares, self._size = [], 0
            for share in shares:
                share.settled.send(True)  # noqa: FBT003 - anything but None
