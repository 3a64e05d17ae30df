"""The Nameko extension: from ``@subscribe`` to messages that are settled by handlers."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Literal, TypeVar, cast

import amqp
import structlog
from eventlet import spawn_n
from eventlet.event import Event as Signal
from eventlet.greenthread import GreenThread
from eventlet.support.greenlets import GreenletExit
from nameko.exceptions import ContainerBeingKilled
from nameko.extensions import Entrypoint
from sqlalchemy import Connection
from structlog.typing import FilteringBoundLogger

from beers_runtime import configuration
from beers_runtime.configuration import ConfigurationError
from beers_runtime.topology import SUBSCRIPTIONS
from beers_service.broker import BROKER_ERRORS, Broker, backoff, drop, refusal
from beers_service.consuming import ConsumingLoop, changed_queue, not_permitted
from beers_service.domain.errors import OutcomeUnknown, StoreUnavailable
from beers_service.spans import handled, tracing_of
from beers_service.store.engine import connect
from beers_service.subscriber.any_order import AnyOrder
from beers_service.subscriber.arrivals import Event
from beers_service.subscriber.catalogue import Catalogue, CatalogueAway, CatalogueRefused
from beers_service.subscriber.desk import Desk, Stopped
from beers_service.subscriber.inbox import HandlerFailed, Inbox, Life
from beers_service.subscriber.log_order import LogOrder
from beers_service.subscriber.mailbox import Mailbox
from beers_service.subscriber.metrics import ConsumerMetrics

DELAYS = (1.0, 5.0, 30.0, 300.0)
"""Seconds before each next attempt at an event whose handler has failed."""

PREFETCH = 100
"""How many events one instance takes at a time that settles them one after another."""

LONGEST_PAUSE = 3600.0
"""Seconds that a handler may let its transaction wait; PostgreSQL ends it then."""


_Method = TypeVar("_Method", bound=Callable[..., Any])


class Interrupted(Exception):
    """A handler raised what Nameko does not catch, such as `eventlet.Timeout`. Args: what it was, in words."""


class HandlerKilled(Exception):
    """A handler's worker ended without a result; the event will be delivered again. Args: how it ended."""


class Subscribe(Entrypoint):
    """Makes a method the handler of the catalogue's events; use it as ``@subscribe``.

    Args:
        types: The types of events that are wanted; none: all.
        database: The subscriber's database: a URL, in which ``${NAME:default}`` stands for a variable of the
            environment as in ``config.yaml``, or the name of a configuration value or variable that holds one.
        born: Where life begins at the first start: ``now``, with what happens from then on, or ``beginning``, with the
            whole past. Later starts go on where the last one ended.
        order: ``any``: many events at a time, and nobody waits for one that fails. ``strict``: one after another in
            the order of the log, over all instances; an event that fails holds up the later events of the same beer,
            and only those. Fixed at the queue's first declaration. To change it later, stop every instance and
            delete the queue; a start is refused while the inbox holds what only the other order would take care of.
        delays: Seconds before each next attempt at an event whose handler has failed.
        patience: Seconds that a position may be missing before it is asked for.
    """

    def __init__(
        self,
        *types: str,
        database: str,
        born: Literal["now", "beginning"] = "now",
        order: Literal["any", "strict"] = "any",
        delays: Sequence[float] = DELAYS,
        patience: float = 5.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if born not in {"now", "beginning"} or order not in {"any", "strict"}:
            raise ValueError("born must be 'now' or 'beginning', order 'any' or 'strict'")
        self._types = types
        self._database = database
        self._from_beginning = born == "beginning"
        self._strict = order == "strict"
        self._delays = delays
        self._patience = patience
        self._order: AnyOrder | LogOrder | None = None
        self._thread: Any = None

    def setup(self) -> None:
        """Read the configuration; see `nameko.extensions.Extension.setup`."""
        # A subscriber has a configuration of its own, which need not say all that ours says.
        config = {"HEARTBEAT": 10, "QUEUE_TYPE": "classic", **self.container.config}
        consumer = self._consumer = f"{self.container.service_name}.{self.method_name}"
        self._agreed = str({**os.environ, **config}.get("FOLLOW_LOG", ""))
        queue = f"{SUBSCRIPTIONS}{consumer}"
        queue_type = configuration.choice(config, "QUEUE_TYPE", ("classic", "quorum"))
        heartbeat = configuration.integer(config, "HEARTBEAT", 1, 3600)
        self._broker = Broker(configuration.amqp_uri(config), heartbeat, ssl=config.get("AMQP_SSL"))
        self._logger = _logger_of(config).bind(consumer=consumer)
        self._tracing = tracing_of(self.container.config, self.container.service_name, self._logger)
        self._setting = f"QUEUE_TYPE={queue_type}, order={'strict' if self._strict else 'any'}"
        self._mailbox = Mailbox(queue, self._delays, queue_type, single=self._strict)
        self._engine = connect(
            _url(config, self._database),
            setting=f"the database of {consumer}",
            application=consumer,
            longest_pause=LONGEST_PAUSE,
        )
        self._inbox = Inbox(self._engine, consumer)
        self._catalogue = Catalogue(self._broker, f"{queue}.reply-")
        self._loop = ConsumingLoop(
            queue,
            broker=self._broker,
            prefetch=PREFETCH if self._strict else self.container.max_workers,
            prepare=self._mailbox.prepare,
            on_message=self._on_message,
            spawn=self.container.spawn_managed_thread,
            setting=self._setting,
            logger=self._logger,
        )
        self._metrics = ConsumerMetrics(consumer, self._loop)

    def start(self) -> None:
        """Begin to follow; whatever is away at first is awaited."""
        self._thread = self.container.spawn_managed_thread(self._begin, identifier="birth")

    def stop(self) -> None:
        """Take no more events, finish those in hand, and part from the broker."""
        self._loop.stop_consuming()
        if self._order is not None:
            self._order.finish()
        self._loop.stop()
        if self._thread is not None:
            self._thread.kill()
        self._engine.dispose()

    def kill(self) -> None:
        """Part from the broker at once: what has not been acknowledged will be delivered again."""
        self._loop.kill()

    def _begin(self) -> None:
        try:
            born = self._be_born()
            if born is not None:
                life, head = born
                self._inbox.log_id = life.log_id
                desk = Desk(
                    loop=self._loop,
                    mailbox=self._mailbox,
                    inbox=self._inbox,
                    catalogue=self._catalogue,
                    run=self._run,
                    types=frozenset(self._types),
                    delays=self._delays,
                    patience=self._patience,
                    logger=self._logger,
                    log_id=life.log_id,
                    leave=lambda: self._end(_other_log_now(life.log_id)),
                    metrics=self._metrics,
                )
                self._order = LogOrder(desk, head) if self._strict else AnyOrder(desk, head)
                self._order.start(self.container.spawn_managed_thread)
                self._loop.start()
        except ConfigurationError as error:
            # Raised further, it would end the container as well, and be printed with all its history.
            self._end(error)
        finally:
            # Its failure ends the container, which comes back to us: nobody may kill the thread that does that.
            self._thread = None

    def _end(self, error: ConfigurationError) -> None:
        # Not from here: the container kills the threads that it manages, this one too.
        spawn_n(self.container.kill, (type(error), error, None))

    def _be_born(self) -> tuple[Life, int] | None:
        """Return the consumer's life, and the head of the log if it has to catch up with that; None if stopped."""
        for pause in backoff(longest=10):
            if self._loop.stopping:
                break
            try:
                self._inbox.prepare()
                life = self._inbox.life()
                if life is not None:
                    self._require_same_order()
                return self._go_on(life) if life is not None else self._first_start()
            except amqp.exceptions.PreconditionFailed as error:
                raise changed_queue(error, self._setting) from error
            except CatalogueRefused as error:
                raise not_permitted(str(error)) from error
            except (StoreUnavailable, OutcomeUnknown, CatalogueAway, *BROKER_ERRORS) as error:
                if refused := refusal(error):
                    raise not_permitted(refused) from error
                why = str(error) or type(error).__name__
                self._logger.warning("subscriber waits", error=why, retry_in=round(pause, 2))
                self._loop.wait(pause)
        return None

    def _require_same_order(self) -> None:
        """Raise `ConfigurationError` if the inbox holds what only the other order would take care of."""
        left = self._inbox.left_by_other_order(strict=self._strict)
        if left:
            order, other = ("strict", "any") if self._strict else ("any", "strict")
            raise ConfigurationError(
                f"order={order}: the inbox still holds {left} event(s) that order={other} has begun; run it with "
                f"order={other} until they are done or dead letters, stop it, and change the order then"
            )

    def _go_on(self, life: Life) -> tuple[Life, int]:
        """Return what `_be_born` does for a consumer that has a *life*; the log may be another one since.

        Raises:
            ConfigurationError: If it has taken events that are not in that log.
        """
        try:
            page = self._catalogue.head()
        except CatalogueAway:
            return life, 0  # what it follows meanwhile is what it knows; an event of another log ends it
        if page.log_id == life.log_id:
            return life, 0
        known = page.former_logs.get(life.log_id)
        shared = known or 0
        log_id, _, position = self._agreed.rpartition(":")
        agreed = log_id == page.log_id and position.isdecimal()
        if agreed:
            shared = min(int(position), page.head)
        if not self._inbox.follow(page.log_id, shared, forget=agreed):
            same, place = "nobody knows which events", "POSITION"
            if known is not None:
                same, place = f"only the events up to position {known}", str(known)
            raise ConfigurationError(
                f"{self._consumer} has come to position {self._inbox.reach()} of the log {life.log_id}; the catalogue "
                f"has the log {page.log_id} now, in which {same} are the same. Undo what it did with later ones, then "
                f"start it with FOLLOW_LOG={page.log_id}:{place}, behind which it goes on"
            )
        self._logger.warning("subscriber goes on in another log", before=life.log_id, log_id=page.log_id, shared=shared)
        return Life(page.log_id, min(life.mark, shared)), page.head

    def _first_start(self) -> tuple[Life, int]:
        connection = self._broker.connect()
        try:
            # The queue before the question: what happens after the answer is in the queue.
            self._mailbox.prepare(connection.channel())
        finally:
            drop(connection)
        page = self._catalogue.head()
        life = Life(page.log_id, 0 if self._from_beginning else page.head)
        self._inbox.begin(life)
        self._logger.info("subscriber born", log_id=life.log_id, mark=life.mark)
        return life, page.head if self._from_beginning else 0

    def _on_message(self, channel: amqp.Channel, message: Any) -> None:
        if self._order is not None:
            self._order.on_message(channel, message)

    def _run(self, event: Event, connection: Connection) -> None:
        """Have a worker handle *event*; raises `HandlerFailed`."""
        finished = Signal()
        began = time.monotonic()

        def settle(_worker: object, result: Any, exc_info: Any) -> tuple[Any, Any]:
            finished.send(None if exc_info is None else exc_info[1])
            return result, exc_info

        def release(thread: GreenThread) -> None:
            # Not by a link: Nameko's comes before, and may raise.
            try:
                thread.wait()
            except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits, and Nameko has it as well
                if not finished.ready():
                    finished.send(HandlerKilled(f"its worker ended with {type(error).__name__}"))

        span = self._tracing.join(event.traceparent)
        traceparent = event.traceparent if span is None else span.traceparent
        context = {"correlation_id": event.document.get("correlation_id"), "traceparent": traceparent}
        try:
            worker = self.container.spawn_worker(
                self,
                (event.copy(), connection),
                {},
                context_data={name: value for name, value in context.items() if value is not None},
                handle_result=settle,
            )
        except ContainerBeingKilled as error:
            raise Stopped from error
        # Nameko does not tell otherwise that a worker has ended without a result.
        spawn_n(release, self.container._worker_threads[worker])  # noqa: SLF001
        failure = finished.wait()
        if span is not None:
            handled(self._tracing, span, self._mailbox.queue, event.document, failure)
        if isinstance(failure, HandlerKilled):
            if self._loop.stopping:
                raise Stopped
            raise failure
        self._metrics.handled(event, time.monotonic() - began, failed=failure is not None)
        if failure is not None:
            raise HandlerFailed(failure)


def subscribe(*types: str, **options: Any) -> Callable[[_Method], _Method]:
    """Return the decorator that makes a method a handler; the arguments are those of `Subscribe`."""
    register: Callable[[_Method], _Method] = Subscribe.decorator(*types, **options)
    return lambda method: register(_interruptible(method))


def _interruptible(method: _Method) -> _Method:
    """Return *method* as one that raises `Interrupted` where Nameko would lose what it raises, and with it the event.

    What ends a green thread or the process goes on doing so.
    """

    @wraps(method)
    def handler(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except (Exception, GreenletExit, SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise Interrupted(f"{type(error).__name__}: {error}") from error

    return cast("_Method", handler)


def _other_log_now(log_id: str) -> ConfigurationError:
    return ConfigurationError(f"the catalogue does not have the log {log_id} any more, which was followed; start again")


def _url(config: dict[str, Any], database: str) -> str:
    if "://" in database:
        return str(configuration.substituted("database", database, os.environ))
    return configuration.text({**os.environ, **config}, database)


def _logger_of(config: dict[str, Any]) -> FilteringBoundLogger:
    """Return the logger that our runner put into *config*, else one that speaks through the subscriber's own logs."""
    given: FilteringBoundLogger | None = config.get("LOGGER")
    if given is not None:
        return given
    made: FilteringBoundLogger = structlog.wrap_logger(
        logging.getLogger("beers_service.subscriber"),
        processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer(key_order=["event"])],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    return made
