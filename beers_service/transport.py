"""Our RPC entrypoint: Nameko's wire protocol, without the ways in which the stock one loses or repeats calls.

Stock clients notice no difference. What is different, and why:

- A message that cannot be a call is answered with `MalformedRequest`, or goes to the dead-letter queue if it names
  nobody to answer. The stock consumer dies of it, and so does the next one, which gets it again.
- The connection stays until every worker has answered. The stock consumer closes it as soon as it consumes no more,
  so that calls still running are delivered again, and run twice.
- Answer and acknowledgement leave on the channel that the call came on: they arrive together or not at all, without
  a connection for each answer. Not at all means that the call is delivered again, which its request id makes harmless.
- A lost connection is back within seconds of the broker, a frozen broker holds nobody for ever, and the process
  starts and stops while there is none.
- A call whose caller has given up is not run.
"""

import inspect
import logging
import time
from functools import partial
from typing import Any

import amqp
import orjson
from amqp import spec
from eventlet.event import Event
from nameko.exceptions import (
    ContainerBeingKilled,
    IncorrectSignature,
    MethodNotFound,
    UnserializableValueError,
    serialize,
)
from nameko.extensions import Entrypoint, SharedExtension
from structlog.typing import FilteringBoundLogger

from beers_runtime import configuration, logs
from beers_runtime.configuration import ConfigurationError
from beers_service import incoming
from beers_service.broker import BROKER_ERRORS, SEND_TIMEOUT, Broker, backoff, drop, interrupt, send
from beers_service.incoming import CONTENT_TYPE, Message
from beers_service.unreadable import RequestChannel, tolerate

EXCHANGE = "nameko-rpc"
DEAD_LETTERS_MAXIMUM = 100_000
"""How many messages the dead-letter queue keeps; the oldest go first."""

GOODBYE = 3
"""Seconds that the broker has to answer our goodbye."""


class RequestConsumer(SharedExtension):
    """Takes calls from the queue ``rpc-<service>``, gives each a worker, and sends its answer.

    All RPC methods of a service share it.
    """

    def __init__(self) -> None:
        self._methods: dict[str, Rpc] = {}
        self._stopping = False
        self._channel: Any = None
        self._consumer_tag = ""
        self._thread: Any = None
        self._first_attempt = Event()
        self._stop_requested = Event()

    def setup(self) -> None:
        """Read the configuration; see `nameko.extensions.Extension.setup`."""
        tolerate()
        config = self.container.config
        self._queue = f"rpc-{self.container.service_name}"
        self._dead_letters = f"{self.container.service_name}.dead-letters"
        self._queue_type = configuration.choice(config, "QUEUE_TYPE", ("classic", "quorum"))
        self._heartbeat = configuration.integer(config, "HEARTBEAT", 1, 3600)
        self._broker = Broker(configuration.amqp_uri(config), self._heartbeat, ssl=config.get("AMQP_SSL"))
        self._logger = logger_of(config)

    def register(self, method: "Rpc") -> None:
        """Have the calls of *method* given to it."""
        self._methods[f"{self.container.service_name}.{method.method_name}"] = method

    def start(self) -> None:
        """Begin to consume; return once that has succeeded, or has failed and is being tried again."""
        self._thread = self.container.spawn_managed_thread(self._consume_always, identifier="request consumer")
        self._first_attempt.wait()

    def stop_consuming(self) -> None:
        """Take no more calls. Those that run go on, and their answers will be sent."""
        if self._stopping:
            return
        self._stopping = True
        self._stop_requested.send()
        if self._channel is not None:
            self._say(self._channel, spec.Basic.Cancel, "sb", (self._consumer_tag, False))

    def stop(self) -> None:
        """Part from the broker; the container calls this when all workers have answered."""
        self.stop_consuming()
        if self._channel is not None:
            # Whatever was sent before is processed before the broker answers. The consuming thread reads the answer.
            self._say(self._channel.connection, spec.Connection.Close, "BsBB", (200, "", 0, 0))
        self._join(GOODBYE)

    def kill(self) -> None:
        """Part from the broker at once: what has not been answered will be delivered again."""
        self._stopping = True
        self._join(0)

    def _join(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while self._channel is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._channel is not None:
            self._lose(self._channel)
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
        while not self._stopping:
            began = time.monotonic()
            try:
                self._consume()
            except amqp.exceptions.PreconditionFailed as error:
                raise ConfigurationError(_changed_queue(error, self._queue_type)) from error
            except BROKER_ERRORS as error:
                if self._stopping:
                    break
                if time.monotonic() - began > self._heartbeat:
                    pauses = backoff()
                pause = next(pauses)
                self._logger.warning(
                    "broker connection lost", error=str(error) or type(error).__name__, retry_in=round(pause, 2)
                )
                self._attempted()
                self._stop_requested.wait(pause)

    def _attempted(self) -> None:
        if not self._first_attempt.ready():
            self._first_attempt.send()

    def _consume(self) -> None:
        """Consume on a new connection until it is lost or closed."""
        connection = self._broker.connect()
        try:
            channel = RequestChannel(connection)
            channel.open()
            self._declare(channel)
            channel.basic_qos(0, self.container.max_workers, a_global=False)
            self._consumer_tag = channel.basic_consume(self._queue, callback=partial(self._on_message, channel))
            self._channel = channel
            self._logger.info("consuming", queue=self._queue)
            self._attempted()
            heart = self.container.spawn_managed_thread(partial(self._beat, connection), identifier="heartbeat")
            try:
                while connection.connected:
                    try:
                        connection.drain_events(timeout=SEND_TIMEOUT)
                    except TimeoutError:
                        # Nothing came. Whether the broker is still there is the heartbeat's business.
                        continue
            finally:
                heart.kill()
        finally:
            self._channel = None
            drop(connection)

    def _declare(self, channel: amqp.Channel) -> None:
        arguments = {"x-queue-type": "quorum"} if self._queue_type == "quorum" else {}
        channel.exchange_declare(EXCHANGE, "topic", durable=True, auto_delete=False)
        channel.queue_declare(self._queue, durable=True, auto_delete=False, arguments=arguments)
        channel.queue_bind(self._queue, EXCHANGE, f"{self.container.service_name}.*")
        limit = {"x-max-length": DEAD_LETTERS_MAXIMUM}
        channel.queue_declare(self._dead_letters, durable=True, auto_delete=False, arguments=arguments | limit)

    def _beat(self, connection: amqp.Connection) -> None:
        """Exchange heartbeats; end *connection* if the broker misses two of its own."""
        while connection.connected:
            time.sleep(self._heartbeat / 4)
            try:
                connection.heartbeat_tick()
            except BROKER_ERRORS as error:
                self._logger.warning("broker is silent", error=str(error))
                interrupt(connection)
                return

    def _on_message(self, channel: amqp.Channel, message: Message) -> None:
        """Give a message its worker. Runs in the consuming thread and raises nothing but a broken connection."""
        if self._stopping:
            # It was under way when we stopped: another instance, or the next one, takes it.
            channel.basic_reject(message.delivery_tag, requeue=True)
            return
        try:
            reply_to = incoming.reply_to(message)
        except incoming.Unanswerable as error:
            self._bury(channel, message, str(error))
            return
        try:
            method, args, kwargs, context = self._parse(message, reply_to)
            self.container.spawn_worker(
                method, args, kwargs, context_data=context, handle_result=partial(self._handle_result, channel, message)
            )
        except ContainerBeingKilled:
            # Unacknowledged, it goes back to the queue when the connection ends.
            return
        except Exception as error:  # noqa: BLE001 - what is wrong with a call is told to its caller
            self._answer(channel, message, None, error)

    def _parse(self, message: Message, reply_to: str) -> tuple["Rpc", list[Any], dict[str, Any], dict[str, Any]]:
        """Return the method that is called, its arguments and the call's context; raises what the caller is told."""
        method = self._methods.get(message.delivery_info["routing_key"])
        if method is None:
            raise MethodNotFound(message.delivery_info["routing_key"].partition(".")[2])
        args, kwargs = incoming.arguments(message)
        method.check(args, kwargs)
        return method, args, kwargs, incoming.context(message, reply_to)

    def _handle_result(
        self, channel: amqp.Channel, message: Message, _worker: object, result: Any, exc_info: Any
    ) -> tuple[Any, Any]:
        """Answer for a worker. It must not raise: that would end the process."""
        error = None if exc_info is None else exc_info[1]
        sent = self._answer(channel, message, result, error)
        if sent is not error:
            return None, (type(sent), sent, sent.__traceback__ if sent else None)
        return result, exc_info

    def _answer(
        self, channel: amqp.Channel, message: Message, result: Any, error: Exception | None
    ) -> Exception | None:
        """Send the answer to *message* and acknowledge it; return the error that was sent."""
        try:
            body = orjson.dumps({"result": result, "error": None if error is None else serialize(error)})
        except TypeError:
            error = UnserializableValueError(result)
            body = orjson.dumps({"result": None, "error": serialize(error)})
        properties = message.properties
        try:
            send(
                channel,
                body,
                EXCHANGE,
                properties["reply_to"],
                content_type=CONTENT_TYPE,
                content_encoding="utf-8",
                # As durable as the question.
                delivery_mode=properties.get("delivery_mode", 1),
                **{name: properties[name] for name in ("correlation_id",) if name in properties},
            )
            channel.basic_ack(message.delivery_tag)
        except BROKER_ERRORS as broken:
            # The broker will deliver the call again; its request id keeps it from running again.
            self._logger.warning("answer not sent", error=str(broken) or type(broken).__name__)
            self._lose(channel)
        return error

    def _bury(self, channel: amqp.Channel, message: Message, reason: str) -> None:
        """Move *message* to the dead-letter queue."""
        key = message.delivery_info["routing_key"]
        self._logger.error(
            "message rejected", reason=reason, routing_key=key if incoming.is_identifier(key) else "(malformed)"
        )
        headers = {"x-reason": reason, "x-routing-key": message.delivery_info["routing_key"]}
        send(channel, message.body, "", self._dead_letters, delivery_mode=2, application_headers=headers)
        channel.basic_ack(message.delivery_tag)

    def _say(self, speaker: Any, method: Any, signature: str, arguments: tuple[Any, ...]) -> None:
        """Send a method whose answer the consuming thread will read."""
        try:
            speaker.send_method(method, signature, arguments)
        except BROKER_ERRORS:
            self._lose(self._channel)

    def _lose(self, channel: Any) -> None:
        """End the connection of *channel*, if it has not ended yet; the consuming thread notices."""
        if channel is not None and channel.connection is not None:
            interrupt(channel.connection)


class Rpc(Entrypoint):
    """Makes a method of the service callable; use it as ``@rpc``."""

    consumer = RequestConsumer()

    def setup(self) -> None:
        """Register the method; see `nameko.extensions.Extension.setup`."""
        method = getattr(self.container.service_cls, self.method_name)
        self._signature = inspect.signature(method)
        self.consumer.register(self)

    def stop(self) -> None:
        """Take no more calls."""
        self.consumer.stop_consuming()

    def check(self, args: list[Any], kwargs: dict[str, Any]) -> None:
        """Raise `IncorrectSignature` if the method cannot be called with these arguments."""
        try:
            # With a place for `self`, so that nobody passes an argument of that name.
            self._signature.bind(None, *args, **kwargs)
        except TypeError as error:
            raise IncorrectSignature(str(error)) from error


rpc = Rpc.decorator


def logger_of(config: dict[str, Any]) -> FilteringBoundLogger:
    """Return the logger that the runner put into *config*; under `nameko run`, which has none, make it."""
    if "LOGGER" not in config:
        config["LOGGER"] = logs.configure(
            process="service",
            level=configuration.choice(config, "LOG_LEVEL", logs.LEVELS),
            style=configuration.choice(config, "LOG_FORMAT", logs.STYLES),
        )
        # It tells of every refused command as of a crash, with a traceback; our own line says all there is to it.
        logging.getLogger("nameko.containers").setLevel(logging.ERROR)
    logger: FilteringBoundLogger = config["LOGGER"]
    return logger


def _changed_queue(error: amqp.exceptions.PreconditionFailed, queue_type: str) -> str:
    return (
        f"QUEUE_TYPE={queue_type}: a queue was declared otherwise before ({error.reply_text}); "
        "set QUEUE_TYPE as it was, or delete the queue once it is empty"
    )
