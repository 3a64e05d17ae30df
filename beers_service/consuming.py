"""The loop that consumes from a queue whatever happens to the broker; calls and subscriptions both live on it.

A lost connection is back within seconds of the broker, a frozen broker holds nobody for ever, and the process starts
and stops while there is none. The connection stays until its owner has nothing left to acknowledge on it.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import amqp
from amqp import spec
from eventlet.event import Event
from structlog.typing import FilteringBoundLogger

from beers_runtime.configuration import ConfigurationError
from beers_service.broker import BROKER_ERRORS, Broker, backoff, drop, interrupt, refusal
from beers_service.inflow import Inflow
from beers_service.unreadable import RequestChannel, tolerate

GOODBYE = 3
"""Seconds that the broker has to answer our goodbye."""

REFUSED_PAUSE = 10.0
"""Seconds until a process whose rights were taken away looks again."""

Message = Any
"""An `amqp.basic_message.Message` as it was delivered."""

Spawn = Callable[..., Any]
"""Starts a green thread whose failure ends the service: `nameko.containers.ServiceContainer.spawn_managed_thread`."""


class ConsumingLoop:
    """Consumes from one queue, over as many connections as it takes, until it is stopped.

    Args:
        queue: The queue.
        broker: Where it is.
        prefetch: How many messages may be in hand at a time.
        prepare: Declares on a new channel whatever is needed.
        on_message: Takes a channel and a message that came on it. It runs in the thread that reads from the connection,
            and may raise nothing but a broken connection.
        spawn: Starts green threads.
        setting: What decides how queues are declared, for the one line that tells of one that was declared otherwise.
        logger: Where troubles are told.

    Attributes:
        stopping: Whether it has been told to stop.
        connections: How many connections it has consumed on.
    """

    def __init__(
        self,
        queue: str,
        *,
        broker: Broker,
        prefetch: int,
        prepare: Callable[[amqp.Channel], None],
        on_message: Callable[[amqp.Channel, Message], None],
        spawn: Spawn,
        setting: str,
        logger: FilteringBoundLogger,
    ) -> None:
        tolerate()
        self._queue = queue
        self._broker = broker
        self._prefetch = prefetch
        self._prepare = prepare
        self._on_message = on_message
        self._spawn = spawn
        self._setting = setting
        self._logger = logger
        self._channel: Any = None
        self._consumer_tag = ""
        self._thread: Any = None
        self._first_attempt = Event()
        self._has_consumed = False
        self._stop_requested = Event()
        self.stopping = False
        self.connections = 0

    @property
    def consuming(self) -> bool:
        """Whether there is a connection that messages come on."""
        return self._channel is not None

    def start(self) -> None:
        """Begin to consume; return once that has succeeded, or has failed and is being tried again."""
        self._thread = self._spawn(self._consume_always, identifier=f"consumer of {self._queue}")
        self._first_attempt.wait()

    def stop_consuming(self) -> None:
        """Take no more messages. What was taken can still be acknowledged."""
        if self.stopping:
            return
        self.stopping = True
        self._stop_requested.send()
        if self._channel is not None:
            self._say(self._channel, spec.Basic.Cancel, "sb", (self._consumer_tag, False))

    def stop(self) -> None:
        """Part from the broker, when nothing is left to be acknowledged."""
        self.stop_consuming()
        if self._channel is not None:
            # Whatever was sent before is processed before the broker answers. The consuming thread reads the answer.
            self._say(self._channel.connection, spec.Connection.Close, "BsBB", (200, "", 0, 0))
        self._join(GOODBYE)

    def kill(self) -> None:
        """Part from the broker at once: what has not been acknowledged will be delivered again."""
        self.stopping = True
        self._join(0)

    def wait(self, seconds: float) -> None:
        """Wait so long, or until the loop is told to stop."""
        self._stop_requested.wait(seconds)

    def lose(self, channel: Any) -> None:
        """End the connection of *channel*, if it has not ended yet; the consuming thread notices."""
        if channel is not None and channel.connection is not None:
            interrupt(channel.connection)

    def _join(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while self._channel is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._channel is not None:
            self.lose(self._channel)
        if self._thread is not None:
            self._thread.kill()

    def _consume_always(self) -> None:
        """Consume until stopped, over as many connections as it takes."""
        try:
            self._reconnect_always()
        finally:
            # Its failure ends the container, which comes back to us: nobody may kill the thread that does that.
            self._thread = None
            self._attempted()

    def _reconnect_always(self) -> None:
        pauses = backoff()
        while not self.stopping:
            began = time.monotonic()
            try:
                self._consume()
            except BROKER_ERRORS as error:
                # The broker says the same of an acknowledgement that it does not expect; another connection mends that.
                if isinstance(error, amqp.exceptions.PreconditionFailed) and error.method_sig == spec.Queue.Declare:
                    raise changed_queue(error, self._setting) from error
                if self.stopping:
                    break
                refused = refusal(error)
                if refused and not self._has_consumed:
                    raise not_permitted(refused) from error
                if time.monotonic() - began > self._broker.heartbeat:
                    pauses = backoff()
                pause = REFUSED_PAUSE if refused else next(pauses)
                # Whoever has worked before will do so again once somebody has mended the rights.
                tell = self._logger.error if refused else self._logger.warning
                tell(
                    "broker connection lost",
                    error=refused or str(error) or type(error).__name__,
                    retry_in=round(pause, 2),
                )
                self._attempted()
                self.wait(pause)

    def _attempted(self) -> None:
        if not self._first_attempt.ready():
            self._first_attempt.send()

    def _consume(self) -> None:
        """Consume on a new connection until it is lost or closed."""
        connection = self._broker.connect()
        try:
            channel = RequestChannel(connection)
            channel.open()
            self._prepare(channel)
            channel.basic_qos(0, self._prefetch, a_global=False)
            self._consumer_tag = channel.basic_consume(self._queue, callback=partial(self._take, channel))
            self._channel = channel
            self._has_consumed = True
            self.connections += 1
            self._logger.info("consuming", queue=self._queue)
            self._attempted()
            inflow = Inflow(connection)
            heart = self._spawn(partial(self._beat, connection), identifier="heartbeat")
            try:
                while connection.connected:
                    try:
                        inflow.drain()
                    except TimeoutError:
                        # Nothing came. Whether the broker is still there is the heartbeat's business.
                        continue
            finally:
                heart.kill()
        finally:
            self._channel = None
            drop(connection)

    def _take(self, channel: amqp.Channel, message: Message) -> None:
        if self.stopping:
            # It was under way when we stopped: another instance, or the next one, takes it.
            channel.basic_reject(message.delivery_tag, requeue=True)
        else:
            self._on_message(channel, message)

    def _beat(self, connection: amqp.Connection) -> None:
        """Exchange heartbeats; end *connection* if the broker misses two of its own."""
        while connection.connected:
            time.sleep(self._broker.heartbeat / 4)
            try:
                connection.heartbeat_tick()
            except BROKER_ERRORS as error:
                self._logger.warning("broker is silent", error=str(error))
                interrupt(connection)
                return

    def _say(self, speaker: Any, method: Any, signature: str, arguments: tuple[Any, ...]) -> None:
        """Send a method whose answer the consuming thread will read."""
        try:
            speaker.send_method(method, signature, arguments)
        except BROKER_ERRORS:
            self.lose(self._channel)


def queue_arguments(queue_type: str) -> dict[str, Any]:
    """Return the arguments that declare a queue of this type, ``classic`` or ``quorum``."""
    return {"x-queue-type": "quorum"} if queue_type == "quorum" else {}


def not_permitted(refused: str) -> ConfigurationError:
    """Return the error that tells in one line of a right that the user in AMQP_URI lacks; *refused* says which."""
    return ConfigurationError(f"AMQP_URI: {refused} (`beers admin rabbitmq-permissions` tells who needs which rights)")


def changed_queue(error: amqp.exceptions.PreconditionFailed, setting: str) -> ConfigurationError:
    """Return the error that tells in one line of a queue that was declared otherwise before."""
    return ConfigurationError(
        f"{setting}: a queue was declared otherwise before ({error.reply_text}); "
        "set that as it was, or delete the queue once it is empty"
    )
