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

import logging
from collections import Counter
from functools import partial
from typing import Any

import amqp
import orjson
from nameko.exceptions import (
    ContainerBeingKilled,
    IncorrectSignature,
    MalformedRequest,
    MethodNotFound,
    UnserializableValueError,
    serialize,
)
from nameko.extensions import Entrypoint, SharedExtension
from structlog.typing import FilteringBoundLogger

from beers_runtime import configuration, logs
from beers_runtime.topology import RPC_EXCHANGE as EXCHANGE
from beers_service import incoming
from beers_service.answers import Answers
from beers_service.broker import Broker, send
from beers_service.consuming import ConsumingLoop, queue_arguments
from beers_service.dead_letters import Verdict, dead_letters_of, letter_of
from beers_service.frames import Answer
from beers_service.incoming import Message, Signature
from beers_service.unreadable import MARK

DEAD_LETTERS_MAXIMUM = 100_000
"""How many messages the dead-letter queue keeps; the oldest go first."""


_REASONS: dict[type[Exception], str] = {
    MalformedRequest: "malformed",
    MethodNotFound: "unknown_method",
    IncorrectSignature: "bad_arguments",
}
"""What to count messages as that are answered with these errors."""


class RequestConsumer(SharedExtension):
    """Takes calls from the queue ``rpc-<service>``, gives each a worker, and sends its answer.

    All RPC methods of a service share it.

    Attributes:
        loop: Brings the calls; None before `setup`.
        rejected: How many messages were no calls, by the reason.
        answers_lost: How many answers could not be sent.
    """

    def __init__(self) -> None:
        self.loop: ConsumingLoop | None = None
        self.rejected: Counter[str] = Counter()
        self.answers_lost = 0
        self._methods: dict[str, Rpc] = {}

    def setup(self) -> None:
        """Read the configuration; see `nameko.extensions.Extension.setup`."""
        config = self.container.config
        self._queue = f"rpc-{self.container.service_name}"
        self._dead_letters = dead_letters_of(self.container.service_name)
        self._queue_type = configuration.choice(config, "QUEUE_TYPE", ("classic", "quorum"))
        heartbeat = configuration.integer(config, "HEARTBEAT", 1, 3600)
        self._logger = logger_of(config)
        self.loop = self._loop = ConsumingLoop(
            self._queue,
            broker=Broker(configuration.amqp_uri(config), heartbeat, ssl=config.get("AMQP_SSL")),
            prefetch=self.container.max_workers,
            prepare=self._declare,
            on_message=self._on_message,
            spawn=self.container.spawn_managed_thread,
            setting=f"QUEUE_TYPE={self._queue_type}",
            logger=self._logger,
        )

    def register(self, method: "Rpc") -> None:
        """Have the calls of *method* given to it."""
        self._methods[f"{self.container.service_name}.{method.method_name}"] = method

    def start(self) -> None:
        """Begin to consume; return once that has succeeded, or has failed and is being tried again."""
        self._loop.start()

    def stop_consuming(self) -> None:
        """Take no more calls. Those that run go on, and their answers will be sent."""
        self._loop.stop_consuming()

    def stop(self) -> None:
        """Part from the broker; the container calls this when all workers have answered."""
        self._loop.stop()

    def kill(self) -> None:
        """Part from the broker at once: what has not been answered will be delivered again."""
        self._loop.kill()

    def _declare(self, channel: amqp.Channel) -> None:
        arguments = queue_arguments(self._queue_type)
        self._answers = Answers(channel, EXCHANGE, partial(self._not_sent, channel))
        channel.exchange_declare(EXCHANGE, "topic", durable=True, auto_delete=False)
        channel.queue_declare(self._queue, durable=True, auto_delete=False, arguments=arguments)
        channel.queue_bind(self._queue, EXCHANGE, f"{self.container.service_name}.*")
        limit = {"x-max-length": DEAD_LETTERS_MAXIMUM}
        channel.queue_declare(self._dead_letters, durable=True, auto_delete=False, arguments=arguments | limit)
        # They lead nowhere: a right to publish that is missing is to show now, not with the first answer or letter.
        for exchange in (EXCHANGE, ""):
            send(channel, b"", exchange, "nowhere")

    def _on_message(self, channel: amqp.Channel, message: Message) -> None:
        """Give a message its worker. Runs in the consuming thread and raises nothing but a broken connection."""
        answers = self._answers
        answers.expect()
        try:
            reply_to = incoming.reply_to(message)
        except incoming.Unanswerable as error:
            self.rejected["unreadable" if MARK in message.properties else "unanswerable"] += 1
            self._bury(channel, answers, message, str(error))
            return
        try:
            method, args, kwargs, context = self._parse(message, reply_to)
            self.container.spawn_worker(
                method, args, kwargs, context_data=context, handle_result=partial(self._handle_result, answers, message)
            )
        except ContainerBeingKilled:
            # Unacknowledged, it goes back to the queue when the connection ends.
            return
        except Exception as error:  # noqa: BLE001 - what is wrong with a call is told to its caller
            self.rejected[_REASONS.get(type(error), "error")] += 1
            self._answer(answers, message, None, error)

    def _parse(self, message: Message, reply_to: str) -> tuple["Rpc", list[Any], dict[str, Any], dict[str, Any]]:
        """Return the method that is called, its arguments and the call's context; raises what the caller is told."""
        method = self._methods.get(message.delivery_info["routing_key"])
        if method is None:
            raise MethodNotFound(message.delivery_info["routing_key"].partition(".")[2])
        args, kwargs = incoming.arguments(message)
        method.check(args, kwargs)
        return method, args, kwargs, incoming.context(message, reply_to)

    def _handle_result(
        self, answers: Answers, message: Message, _worker: object, result: Any, exc_info: Any
    ) -> tuple[Any, Any]:
        """Answer for a worker. It must not raise: that would end the process."""
        error = None if exc_info is None else exc_info[1]
        sent = self._answer(answers, message, result, error)
        if sent is not error:
            return None, (type(sent), sent, sent.__traceback__ if sent else None)
        return result, exc_info

    def _answer(self, answers: Answers, message: Message, result: Any, error: Exception | None) -> Exception | None:
        """Send the answer to *message* and acknowledge it; return the error that was sent."""
        try:
            body = orjson.dumps({"result": result, "error": None if error is None else serialize(error)})
        except TypeError:
            error = UnserializableValueError(result)
            body = orjson.dumps({"result": None, "error": serialize(error)})
        given = message.properties
        answer = Answer(body, given["reply_to"], given.get("correlation_id"), given.get("delivery_mode", 1))
        answers.give(message.delivery_tag, answer)
        return error

    def _not_sent(self, channel: amqp.Channel, broken: Exception, number: int) -> None:
        """Say that answers could not be sent.

        The broker will deliver the calls again; their request ids keep them from running again.
        """
        self.answers_lost += number
        self._logger.warning("answers not sent", number=number, error=str(broken) or type(broken).__name__)
        self._loop.lose(channel)

    def _bury(self, channel: amqp.Channel, answers: Answers, message: Message, reason: str) -> None:
        """Move *message* to the dead-letter queue."""
        key = message.delivery_info["routing_key"]
        self._logger.error(
            "message rejected", reason=reason, routing_key=key if incoming.is_identifier(key) else "(malformed)"
        )
        letter = letter_of(message, self._queue, Verdict(reason))
        send(channel, letter.body, "", self._dead_letters, **letter.properties)
        answers.settle(message.delivery_tag)


class Rpc(Entrypoint):
    """Makes a method of the service callable; use it as ``@rpc``."""

    consumer = RequestConsumer()

    def setup(self) -> None:
        """Register the method; see `nameko.extensions.Extension.setup`."""
        self._signature = Signature(getattr(self.container.service_cls, self.method_name))
        self.consumer.register(self)

    def stop(self) -> None:
        """Take no more calls."""
        self.consumer.stop_consuming()

    def check(self, args: list[Any], kwargs: dict[str, Any]) -> None:
        """Raise `IncorrectSignature` if the method cannot be called with these arguments."""
        self._signature.check(args, kwargs)


rpc = Rpc.decorator


def logger_of(config: dict[str, Any], process: str = "service") -> FilteringBoundLogger:
    """Return the logger that the runner put into *config*; if there is none yet, make it for this *process*."""
    if "LOGGER" not in config:
        config["LOGGER"] = logs.configure(
            process=process,
            level=configuration.choice(config, "LOG_LEVEL", logs.LEVELS),
            style=configuration.choice(config, "LOG_FORMAT", logs.STYLES),
        )
        # It tells of every refused command as of a crash, with a traceback; our own line says all there is to it.
        logging.getLogger("nameko.containers").setLevel(logging.ERROR)
    logger: FilteringBoundLogger = config["LOGGER"]
    return logger
