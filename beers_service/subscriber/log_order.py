"""Handles events one after another in the order of the log; a failure holds up its own beer and no other."""

import queue
import time
from functools import partial
from typing import Any

import amqp

from beers_service.consuming import Spawn
from beers_service.domain.errors import OutcomeUnknown, StoreUnavailable
from beers_service.subscriber.any_order import LOOKS
from beers_service.subscriber.arrivals import Event
from beers_service.subscriber.beyond import put_aside
from beers_service.subscriber.desk import NOT_TAKEN, Desk, Stopped
from beers_service.subscriber.inbox import DEAD, PARKED, HandlerFailed, OtherLog

GLANCE = 1.0
"""Seconds between two looks for parked events that nobody has reason to expect."""

NOTE = 1.0
"""Seconds between two notes in the inbox of how far we have come over events that nobody wants."""


class LogOrder:
    """Settles messages in one green thread.

    The broker gives them to one instance at a time, and the mark in the inbox is moved by whoever takes the next
    position: should another instance have taken over unnoticed, one of the two finds it moved.

    Args:
        desk: Where.
        head: How far the log reached when the consumer was born; what it has not got of that it fetches at once.
    """

    def __init__(self, desk: Desk, head: int) -> None:
        self._desk = desk
        self._head = head
        self._arrived: queue.Queue[tuple[amqp.Channel, Any]] = queue.Queue()
        self._thread: Any = None
        self._busy = False
        # The mark in the inbox, and how far we have come: events that nobody wants lie between.
        self._mark = self._reached = -1
        self._next_note = 0.0
        self._next_look_at_parked = 0.0
        # After a start the first look is due soon: the silence may be an old one.
        self._heard = time.monotonic() - desk.patience * (LOOKS - 1)

    def start(self, spawn: Spawn) -> None:
        """Begin to settle what comes."""
        self._thread = spawn(self._work_always, identifier="events in order")

    def on_message(self, channel: amqp.Channel, message: Any) -> None:
        """Take a message; see `consuming.ConsumingLoop`."""
        self._heard = time.monotonic()
        self._arrived.put((channel, message))

    def finish(self) -> None:
        """Wait for the event in hand. What has not been begun goes back to the queue with the connection."""
        while self._busy:
            time.sleep(0.01)
        if self._thread is not None:
            self._thread.kill()
        if self._reached > self._mark:
            # Left out they would be fetched again.
            try:
                self._note_reached()
            except (StoreUnavailable, OutcomeUnknown, OtherLog) as error:
                self._desk.logger.warning("inbox not kept", error=str(error))

    def _work_always(self) -> None:
        seen = -1
        while not self._desk.loop.stopping:
            self._busy = True
            pause = GLANCE
            try:
                if self._mark < 0:
                    self._desk.patiently(self._reload)
                    seen = self._mark
                if self._head > self._reached:
                    self._fill(self._head)
                pause = self._try_parked()
                if time.monotonic() - self._heard > self._desk.patience * LOOKS:
                    self._heard = time.monotonic()
                    seen = self._look(seen)
            except Stopped:
                return
            except (StoreUnavailable, OutcomeUnknown, *NOT_TAKEN) as error:
                self._desk.logger.warning("event not settled", error=str(error) or type(error).__name__)
                self._desk.loop.wait(1)
            except Exception:
                # To raise here would end the process.
                self._desk.logger.exception("event not settled")
            finally:
                self._busy = False
            self._take_next(pause)

    def _take_next(self, patience: float) -> None:
        """Settle the next message, if one comes within *patience* seconds."""
        try:
            channel, message = self._arrived.get(timeout=patience) if patience > 0 else self._arrived.get_nowait()
        except queue.Empty:
            return
        if self._desk.loop.stopping:
            return
        self._busy = True
        try:
            self._desk.take(channel, message, self._settle)
        finally:
            self._busy = False

    def _settle(self, event: Event) -> None:
        if event.position <= self._reached:
            if self._desk.inbox.is_dead(event.position):
                self._try_again(event, DEAD)
            return
        if event.position > self._reached + 1:
            head = self._fill(event.position - 1)
            if event.position > self._reached + 1:
                put_aside(self._desk, event, head)
                return
        self._step(event)

    def _step(self, event: Event) -> None:
        """Settle the event that follows the last one."""
        if event.position <= self._reached:
            return
        desk, inbox = self._desk, self._desk.inbox
        if not desk.wanted(event):
            self._reached = event.position
            desk.metrics.reached(event.position)
            if time.monotonic() >= self._next_note:
                self._note_reached()
            return
        try:
            with inbox.transaction() as connection:
                ours = inbox.advance(connection, self._mark, event.position)
                if ours and inbox.has_parked_before(connection, event):
                    inbox.park(connection, event, 0, 0)
                elif ours:
                    desk.run(event, connection)
        except HandlerFailed as failed:
            ours = self._set_aside(event, failed.error)
        if ours:
            self._mark = self._reached = event.position
            desk.metrics.reached(self._mark)
        else:
            self._reload()
            self._settle(event)

    def _set_aside(self, event: Event, error: Exception) -> bool:
        """Pass over an event that has failed for the first time; return False if another instance went on from here."""
        desk, inbox = self._desk, self._desk.inbox
        due = desk.due(1)
        if due is None:
            desk.bury(event, error, 1)
        with inbox.transaction() as connection:
            if not inbox.advance(connection, self._mark, event.position):
                return False
            if due is None:
                inbox.bury(connection, event, 1)
            else:
                inbox.park(connection, event, 1, due)
        self._next_look_at_parked = 0.0
        if due is not None:
            desk.tell_failure(event, error, 1, due)
        return True

    def _try_parked(self) -> float:
        """Try the parked events that are due; return how many seconds there are to the next one, at most `GLANCE`."""
        while not self._desk.loop.stopping and time.monotonic() >= self._next_look_at_parked:
            found = self._desk.inbox.parked()
            pause = GLANCE if found is None else min(found[1] - time.time(), GLANCE)
            if found is None or pause > 0:
                self._next_look_at_parked = time.monotonic() + pause
            else:
                self._desk.patiently(partial(self._try_again, found[0], PARKED))
        return self._next_look_at_parked - time.monotonic()

    def _try_again(self, event: Event, state: str) -> None:
        """Try an event that is parked or dead; if its type is not wanted any more, it is done."""
        desk, inbox = self._desk, self._desk.inbox
        try:
            with inbox.transaction() as connection:
                ours = inbox.take_back(connection, event.position, state) and desk.wanted(event)
                # A replayed letter does not overtake the one before it that has failed again.
                if ours and inbox.has_parked_before(connection, event):
                    inbox.park(connection, event, event.attempts, 0)
                elif ours:
                    desk.run(event, connection)
        except HandlerFailed as failed:
            attempts = event.attempts + 1
            due = desk.due(attempts)
            if due is None:
                desk.bury(event, failed.error, attempts)
            with inbox.transaction() as connection:
                # Another instance may have done it meanwhile.
                if inbox.take_back(connection, event.position, state):
                    if due is None:
                        inbox.bury(connection, event, attempts)
                    else:
                        inbox.park(connection, event, attempts, due)
            if due is not None:
                desk.tell_failure(event, failed.error, attempts, due)

    def _fill(self, last: int) -> int:
        """Fetch and settle the events up to *last* or the end of the log; return how far that is known to reach."""
        desk, head = self._desk, last
        while self._reached < last:
            first = self._reached + 1
            page = desk.ask(partial(desk.catalogue.events, self._reached))
            desk.logger.info("events fetched", first=first, count=len(page.events))
            desk.metrics.fetched(len(page.events))
            for event in page.events:
                if desk.loop.stopping:
                    raise Stopped
                if event.position <= last:
                    desk.patiently(partial(self._step, event))
            if not page.events:
                head = page.head
                break
        return head

    def _look(self, seen: int) -> int:
        """Take stock after a silence: return the mark, and fetch what came after it if it is still *seen* there."""
        if self._reached > self._mark:
            self._desk.patiently(self._note_reached)
        else:
            self._reload()
        if self._mark == seen:
            self._fill(self._desk.ask(self._desk.catalogue.head).head)
        return self._mark

    def _note_reached(self) -> None:
        """Move the mark over events that nobody wants, unless another instance went on from here."""
        with self._desk.inbox.transaction() as connection:
            ours = self._desk.inbox.advance(connection, self._mark, self._reached)
        self._next_note = time.monotonic() + NOTE
        if ours:
            self._mark = self._reached
        else:
            self._reload()

    def _reload(self) -> None:
        life = self._desk.inbox.life()
        self._mark = self._reached = 0 if life is None else life.mark
        self._desk.metrics.reached(self._mark)
