"""Handles events as they come, many at a time; whoever fails is tried again later, and nobody waits for it."""

import time
from collections import Counter
from functools import partial
from threading import Lock
from typing import Any

import amqp
from eventlet.greenpool import GreenPool

from beers_service.consuming import Spawn
from beers_service.domain.errors import OutcomeUnknown, StoreUnavailable
from beers_service.subscriber.arrivals import Event
from beers_service.subscriber.beyond import put_aside
from beers_service.subscriber.catalogue import Page
from beers_service.subscriber.desk import NOT_TAKEN, Desk, Stopped
from beers_service.subscriber.inbox import DEAD, WAITING, HandlerFailed, OtherLog

TICK = 0.25
"""Seconds between two looks of the one who keeps the inbox small and whole."""

LOOKS = 6
"""After so many times the patience in silence the catalogue is asked whether the log is longer."""

OVERDUE = 30.0
"""Seconds after which an event that should have come back from its retry queue counts as lost."""

_MANY = 100_000


class AnyOrder:
    """Settles messages in green threads of their own.

    Args:
        desk: Where.
        head: How far the log reached when the consumer was born; what it has not got of that it fetches at once.
    """

    def __init__(self, desk: Desk, head: int) -> None:
        self._desk = desk
        self._head = head
        # A position that is surely in the log: the next one follows it, a farther one has to be in the log as well.
        self._seen = 0
        self._asking = Lock()
        self._hands = GreenPool(_MANY)  # what bounds them is the prefetch
        self._in_hand: Counter[int] = Counter()
        self._skipped: set[int] = set()
        self._changed = True
        # After a start the first look is due soon: the silence may be an old one.
        self._heard = time.monotonic() - desk.patience * (LOOKS - 1)
        self._keeper: Any = None
        self._keeping = GreenPool(1)

    def start(self, spawn: Spawn) -> None:
        """Begin to keep the inbox."""
        self._keeper = spawn(self._keep_always, identifier="inbox")

    def on_message(self, channel: amqp.Channel, message: Any) -> None:
        """Take a message; see `consuming.ConsumingLoop`."""
        self._heard = time.monotonic()
        self._hands.spawn(self._desk.take, channel, message, self._settle_arrived)

    def finish(self) -> None:
        """Wait for what is in hand; nothing new comes by now."""
        self._hands.waitall()
        self._keeping.waitall()
        if self._keeper is not None:
            self._keeper.kill()
        if self._skipped:
            # Left out they would be fetched again, or keep the other order from starting.
            try:
                self._move_mark()
            except (StoreUnavailable, OutcomeUnknown, OtherLog) as error:
                self._desk.logger.warning("inbox not kept", error=str(error))

    def _settle_arrived(self, event: Event) -> None:
        """Settle an event that came in a message: who leaps ahead is believed when the log is that long."""
        position = event.position
        if position > self._seen + 1:
            head = self._desk.ask(partial(self._reach, position)).head
            if position > head:
                put_aside(self._desk, event, head)
                return
        self._seen = max(self._seen, position)
        self._desk.metrics.saw(position)
        self._settle(event)

    def _reach(self, position: int) -> Page:
        """Return how far the log reaches; without asking, if *position* follows what is known here."""
        desk = self._desk
        # One asks for all: they leap together, when another instance has what lies between.
        with self._asking:
            if desk.loop.stopping:
                raise Stopped
            self._seen = max(self._seen, desk.inbox.reach())
            if position <= self._seen + 1:
                return Page(desk.log_id, position, [], {})
            page = desk.catalogue.head()
            if page.log_id == desk.log_id:
                self._seen = max(self._seen, page.head)
            return page

    def _settle(self, event: Event) -> None:
        if not self._desk.wanted(event):
            # Forgotten by a crash, it counts as missing, is fetched and skipped again.
            self._skipped.add(event.position)
            return
        self._in_hand[event.position] += 1
        try:
            self._handle(event)
        finally:
            self._in_hand[event.position] -= 1
            if not self._in_hand[event.position]:
                del self._in_hand[event.position]
            self._changed = True

    def _handle(self, event: Event) -> None:
        inbox = self._desk.inbox
        try:
            with inbox.transaction() as connection:
                if inbox.claim(connection, event.position):
                    self._desk.run(event, connection)
        except HandlerFailed as failed:
            self._set_aside(event, failed.error, event.attempts + 1)

    def _set_aside(self, event: Event, error: Exception, attempts: int) -> None:
        desk = self._desk
        due = desk.due(attempts)
        if due is None:
            desk.bury(event, error, attempts)
            desk.inbox.set_aside(event.position, DEAD, attempts)
        else:
            # Noted first: what waits in a queue must not look missing.
            desk.inbox.set_aside(event.position, WAITING, attempts, due)
            desk.mailbox.retry(event.message, attempts)
            desk.tell_failure(event, error, attempts, due)

    def _keep_always(self) -> None:
        """Move the mark, and fetch what is missing, until stopped."""
        patience = self._desk.patience
        suspect, since = 0, 0.0
        hurry = self._head > 0
        while not self._desk.loop.stopping:
            try:
                if self._skipped or self._changed:
                    self._desk.patiently(self._move_mark)
                if time.monotonic() - self._heard > patience * LOOKS:
                    self._heard = time.monotonic()
                    self._head = max(self._head, self._desk.ask(self._desk.catalogue.head).head)
                missing = self._desk.inbox.first_missing(self._head, time.time() - OVERDUE)
                if missing is None:
                    suspect, hurry = 0, False
                elif missing != suspect and not hurry:
                    suspect, since = missing, time.monotonic()
                elif hurry or time.monotonic() - since > patience:
                    suspect, hurry = 0, self._fetch(missing)
            except Stopped:
                return
            except (StoreUnavailable, OutcomeUnknown, *NOT_TAKEN) as error:
                self._desk.logger.warning("inbox not kept", error=str(error) or type(error).__name__)
            except Exception:
                # To raise here would end the process.
                self._desk.logger.exception("inbox not kept")
            self._desk.loop.wait(0 if hurry else TICK)

    def _move_mark(self) -> None:
        self._changed = False
        skipped, self._skipped = self._skipped, set()
        try:
            if skipped:
                self._desk.inbox.skip(sorted(skipped))
            self._desk.metrics.reached(self._desk.inbox.move_mark())
        except BaseException:
            self._skipped |= skipped
            self._changed = True
            raise

    def _fetch(self, missing: int) -> bool:
        """Fetch a page of events from the position *missing* on, and settle those that are missing.

        Returns:
            Whether there were any: then more may be missing, and at once.
        """
        desk = self._desk
        page = desk.ask(partial(desk.catalogue.events, missing - 1))
        self._head = max(self._head, page.head)
        if not page.events:
            return False
        unknown = desk.inbox.unknown([event.position for event in page.events], time.time() - OVERDUE)
        unknown = {position: tried for position, tried in unknown.items() if position not in self._in_hand}
        lacking = [event for event in page.events if event.position in unknown and event.position not in self._skipped]
        if lacking:
            desk.logger.info("events fetched", first=lacking[0].position, count=len(lacking))
            desk.metrics.fetched(len(lacking))
        for event in lacking:
            if desk.loop.stopping:
                raise Stopped
            # In the pool, so that a stop waits for it.
            again = unknown[event.position]
            self._keeping.spawn(self._settle_fetched, event, again).wait()
        return bool(lacking)

    def _settle_fetched(self, event: Event, attempts: int) -> None:
        """Settle an event that came in an answer. What fails to be settled stays missing, and is fetched again."""
        try:
            self._desk.patiently(lambda: self._settle(event.tried(attempts)))
        except Stopped:
            return
        except NOT_TAKEN as error:
            self._desk.logger.warning("event not settled", error=str(error) or type(error).__name__)
            self._desk.loop.wait(1)
