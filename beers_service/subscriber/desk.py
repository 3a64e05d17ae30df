"""What both orders of handling do alike: read a message, put it aside for good, and wait for the inbox."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import amqp
from sqlalchemy import Connection
from structlog.typing import FilteringBoundLogger

from beers_service.broker import BROKER_ERRORS, backoff
from beers_service.confirms import Unconfirmed
from beers_service.consuming import ConsumingLoop
from beers_service.dead_letters import Verdict
from beers_service.domain.errors import OutcomeUnknown, StoreUnavailable
from beers_service.subscriber.arrivals import Event, Malformed, event_of
from beers_service.subscriber.catalogue import Catalogue, CatalogueAway, CatalogueRefused, Page
from beers_service.subscriber.inbox import Inbox, OtherLog
from beers_service.subscriber.mailbox import Mailbox
from beers_service.subscriber.metrics import ConsumerMetrics

NOT_TAKEN = (*BROKER_ERRORS, Unconfirmed)
"""What it raises when the broker has not taken a message."""


class Stopped(Exception):
    """The subscription stops while something waits; what is in hand will be delivered again."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where the messages of one subscription are worked on.

    Attributes:
        loop: Brings the messages.
        mailbox: Takes those that cannot be done now, or not at all.
        inbox: Knows what is done.
        catalogue: Knows what is missing.
        run: Runs the handler in a transaction of the inbox; raises `HandlerFailed`.
        types: The types that the handler wants; empty: all.
        delays: Seconds before each next attempt.
        patience: Seconds that a position may be missing before it is asked for.
        logger: Where troubles are told.
        log_id: The log that is followed.
        leave: Ends the process, since the log is another one by now: what is done about that is decided at a start.
        metrics: Told what happens.
        former_logs: The ids that the log had before, as far as the catalogue has told; see `catalogue.Page`.
    """

    loop: ConsumingLoop
    mailbox: Mailbox
    inbox: Inbox
    catalogue: Catalogue
    run: Callable[[Event, Connection], None]
    types: Collection[str]
    delays: Sequence[float]
    patience: float
    logger: FilteringBoundLogger
    log_id: str
    leave: Callable[[], None]
    metrics: ConsumerMetrics
    former_logs: dict[str, int] = field(default_factory=dict)

    def take(self, channel: amqp.Channel, message: Any, settle: Callable[[Event], None]) -> None:
        """Have *settle* do what *message* asks for, and acknowledge it; without that it will be delivered again."""
        try:
            event = self._read(message)
            if isinstance(event, Malformed):
                self.logger.error("message rejected", reason=str(event), queue=self.mailbox.queue)
                self.mailbox.bury(message, Verdict(str(event)))
                self.metrics.buried("malformed")
            else:
                self.patiently(partial(settle, event))
            channel.basic_ack(message.delivery_tag)
        except Stopped:
            return
        except NOT_TAKEN as error:
            self.logger.warning("message not settled", error=str(error) or type(error).__name__)
            self.loop.lose(channel)
        except Exception:
            # Not even a bug of ours may end the process or lose the message.
            self.logger.exception("message not settled")
            self.loop.wait(1)
            self.loop.lose(channel)

    def patiently(self, step: Callable[[], None]) -> None:
        """Take a step that needs the inbox, again and again until its database is there; raises `Stopped`."""
        for pause in backoff():
            try:
                step()
            except (StoreUnavailable, OutcomeUnknown) as error:
                self.logger.warning("inbox unavailable", error=str(error), retry_in=round(pause, 2))
                self._pause(pause)
            except OtherLog as error:
                self.leave()
                raise Stopped from error
            else:
                return

    def ask(self, question: Callable[[], Page]) -> Page:
        """Ask the catalogue, again and again until it answers; raises `Stopped`."""
        for pause in backoff(longest=10):
            try:
                page = question()
            except CatalogueAway as error:
                tell = self.logger.error if isinstance(error, CatalogueRefused) else self.logger.warning
                tell("catalogue unavailable", error=str(error), retry_in=round(pause, 2))
            else:
                if page.log_id != self.log_id:
                    self.leave()
                    raise Stopped
                self.metrics.saw(page.head)
                self.former_logs.update(page.former_logs)
                return page
            self._pause(pause)
        raise AssertionError  # backoff never ends

    def wanted(self, event: Event) -> bool:
        """Tell whether the handler wants events of this type."""
        return not self.types or event.type in self.types

    def due(self, attempts: int) -> float | None:
        """Return when an event is to be tried again that has failed so often (seconds since 1970); None: never."""
        return time.time() + self.delays[attempts - 1] if attempts <= len(self.delays) else None

    def bury(self, event: Event, error: Exception, attempts: int) -> None:
        """Copy *event* to the dead letters; raises one of `NOT_TAKEN`."""
        kind = type(error).__name__
        self.logger.error("event given up", position=event.position, type=event.type, attempts=attempts, exception=kind)
        self.mailbox.bury(event.message, Verdict(f"{kind}: {error}", kind, attempts))
        self.metrics.buried("given_up")

    def tell_failure(self, event: Event, error: Exception, attempts: int, due: float) -> None:
        """Tell that a handler has failed and will get *event* again. What it raised is in the log of its worker."""
        self.metrics.retried()
        self.logger.warning(
            "event failed",
            position=event.position,
            type=event.type,
            attempts=attempts,
            exception=type(error).__name__,
            retry_in=round(due - time.time(), 2),
        )

    def _read(self, message: Any) -> Event | Malformed:
        try:
            event = event_of(message)
        except Malformed as malformed:
            return malformed
        if event.log_id == self.log_id:
            return event
        if event.log_id not in self.former_logs:
            self.ask(self.catalogue.head)
        if event.position <= self.former_logs.get(event.log_id, 0):
            return event
        return Malformed(f"it is an event of the log {event.log_id}; this subscriber follows {self.log_id}")

    def _pause(self, seconds: float) -> None:
        if not self.loop.stopping:
            self.loop.wait(seconds)
        if self.loop.stopping:
            raise Stopped
