"""The bridge as a whole: what it is made of, how it starts and how it ends."""

import asyncio
import errno
import socket
from collections.abc import Coroutine
from functools import partial
from typing import Any

import grpc
from structlog.typing import FilteringBoundLogger

from beers_runtime.configuration import ConfigurationError
from beers_runtime.metrics import Exporter, registry_of
from beers_runtime.tracing_settings import FLUSH, start
from grpc_bridge import health, reflection, seed_servicer, servicer
from grpc_bridge.auth import READ, Door
from grpc_bridge.availability import Absence, Availability, Patience
from grpc_bridge.batching import Limits
from grpc_bridge.bus import Bus
from grpc_bridge.calls import Reception
from grpc_bridge.discovery import ConsulRegistry, NoRegistry, Registry
from grpc_bridge.errors import CallFailed
from grpc_bridge.feed import Feed
from grpc_bridge.health import Health
from grpc_bridge.intake import FindHandler, Intake
from grpc_bridge.journal import Journal
from grpc_bridge.metrics import BridgeMetrics, Measures
from grpc_bridge.probing import Prober
from grpc_bridge.serving import Serving
from grpc_bridge.settings import Settings
from grpc_bridge.shedding import Desk
from grpc_bridge.tls import ServerTls
from grpc_bridge.watching import Watches

_LARGEST_REQUEST = 8 * 1024 * 1024
"""Bytes. More than gRPC's 4 MB, so that of a text that is far too long the service can say which one it is."""

_LARGEST_METADATA = 16 * 1024
"""Bytes of a call's metadata: room for the longest token that is looked at, and as much again."""

_LAST_WORDS = 0.3
"""Seconds before the end of the grace at which calls without an answer are told so, rather than cut off."""


_SERVING = "serving"
"""The task that looks after the gRPC server."""

_UNHEARD = 2
"""How many times the calls that we take may wait to be taken. What is more gRPC cancels, without a word."""

_FEWEST_UNHEARD = 1000
"""How many may wait at least, however few we take: they are to be told so by us."""

_STREAMS_SHARE = 0.9
"""How much of the grace of an old connection a stream may last: then it ends with our words, before that is cut off."""

_KEEPALIVE = 30
"""Seconds without a sign of a client after which it is asked for one, and that it then has to give it."""

_KEEPALIVE_ALLOWED = 5
"""Seconds between two such questions of a client's; gRPC parts from one that asks more often."""


class CannotListen(Exception):
    """The address cannot be listened on. The message is one line."""


class Bridge:
    """A gRPC server in front of the service. Needs a running event loop; serves from `start` to `stop`.

    Attributes:
        port: The port that it listens on, once started.
        availability: What it knows of the broker and the service.

    Raises:
        ConfigurationError: If a file that the settings name cannot be used.
    """

    def __init__(self, settings: Settings, logger: FilteringBoundLogger, patience: Patience | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.port = settings.port
        self.availability = Availability(loop.time(), patience)
        self._settings = settings
        self._logger = logger
        self._tasks: list[asyncio.Task[None]] = []
        self._exporter: Exporter | None = None
        measures = self._measures = Measures() if settings.metrics else None
        self._tracing = start(settings.tracing, logger)
        self._bus = Bus(
            settings.amqp_uri,
            availability=self.availability,
            logger=logger,
            limits=Limits(settings.batches_in_flight, waiting=settings.max_waiting, patience=settings.max_wait),
            heartbeat=settings.heartbeat,
            broker_patience=settings.broker_patience,
            measure=None if measures is None else measures.batch,
            tracing=self._tracing,
        )
        self._prober = Prober(
            self._bus,
            self.availability,
            interval=settings.probe_interval,
            patience=settings.broker_patience,
            clock=loop.time,
        )
        self._feed = Feed(self._bus, logger, patience=settings.default_deadline)
        self._watches = Watches(self._feed, checkpoint_interval=settings.watch_checkpoint)
        self._health = Health((servicer.SERVICE, seed_servicer.SERVICE))
        self._door = None
        if settings.tokens is not None or settings.clients is not None:
            self._door = Door(settings.tokens, settings.clients, logger)
        self._reception = Reception(
            max_calls=settings.max_calls,
            max_watches=settings.max_watches,
            default_deadline=settings.default_deadline,
            write_patience=settings.watch_patience,
            journal=Journal(
                logger,
                measure=None if measures is None else measures.call,
                tracing=self._tracing,
                knows_clients=self._door is not None,
            ),
            door=self._door,
            quota=settings.quota,
            longest_stream=settings.connection_grace * _STREAMS_SHARE if settings.connection_age else float("inf"),
        )
        self._tls = None if settings.tls is None else ServerTls(settings.tls, logger)
        self._registry: Registry = NoRegistry()
        if settings.consul is not None:
            self._registry = ConsulRegistry(settings.consul, servicer.SERVICE, logger)
        self._serving = Serving(self._make_server, self._listen, settings.grace, logger)
        self.availability.on_change(self._tell)

    async def start(self) -> None:
        """Listen, and look for the broker; the service may be there or not.

        Raises:
            CannotListen: If the port is taken or the address not ours.
            ConfigurationError: If that is so of the metrics' port.
        """
        self._export()
        self.port = await self._serving.start()
        self._tasks = [
            _task(self._serving.run(), _SERVING),
            _task(self._bus.run(), "bus"),
            _task(self._prober.run(), "prober"),
            _task(self._feed.run(), "feed"),
            _task(self._registry.keep(self.port), "registry"),
        ]
        if self._settings.exposed and self._settings.missing:
            self._logger.warning(
                "insecure: open to other machines", host=self._settings.host, missing=self._settings.missing
            )
        self._logger.info("listening", host=self._settings.host, port=self.port, tls=self._tls is not None)

    async def run(self, stop: asyncio.Event) -> bool:
        """Serve until *stop* is set, then end in order.

        Returns:
            Whether it was told to end; else it has ended by itself for a bug.

        Raises:
            ConfigurationError: If the broker does not let us do what we need, and never has.
        """
        stopped = _task(stop.wait(), "stop")
        done, _ = await asyncio.wait([stopped, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        refusals = [error for task in done - {stopped} if isinstance(error := task.exception(), ConfigurationError)]
        if refusals:
            stopped.cancel()
            await self.stop()
            raise refusals[0]
        for task in done - {stopped}:
            self._logger.error("a part of the bridge ended", part=task.get_name(), exc_info=task.exception())
        stopped.cancel()
        await self.stop()
        return stopped in done

    async def stop(self) -> None:
        """Say so, let calls end, and leave the broker."""
        grace = self._settings.grace
        self._logger.info("stopping", grace=grace)
        self._health.drain()
        # Nobody new is to come when calls are refused.
        await asyncio.gather(self._registry.deregister(), asyncio.sleep(self._settings.drain_delay))
        # A watch never ends by itself, and would take up the whole grace.
        self._feed.drain()
        self._reception.drain()
        loop = asyncio.get_running_loop()
        last = loop.time() + grace
        last_words = loop.call_later(max(0.0, grace - _LAST_WORDS), self._bus.fail_all, CallFailed("ServiceStopping"))
        for task in self._tasks:
            if task.get_name() == _SERVING:  # what it puts in the place of a server that ends is not wanted any more
                task.cancel()
        await self._serving.stop(grace)
        last_words.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._bus.close()
        if self._exporter is not None:
            await asyncio.to_thread(self._exporter.stop)
        await asyncio.to_thread(self._tracing.close, max(0.0, min(FLUSH, last - loop.time())))
        self._logger.info("stopped")

    def _export(self) -> None:
        """Let Prometheus ask for the metrics, if that is wanted."""
        if self._measures is None or self._settings.metrics is None:
            return
        metrics = BridgeMetrics(
            self._measures,
            self._settings,
            reception=self._reception,
            bus=self._bus,
            feed=self._feed,
            watches=self._watches,
            availability=self.availability,
            health=self._health,
        )
        self._exporter = Exporter(registry_of("bridge", metrics), self._settings.metrics, self._logger)

    def _make_server(self) -> Intake:
        settings, reception = self._settings, self._reception
        unheard = max(_FEWEST_UNHEARD, _UNHEARD * settings.max_calls)
        options = [
            ("grpc.so_reuseport", int(settings.reuse_port)),
            # What a client has beyond that waits with the client, and not in our memory before what others send.
            ("grpc.max_concurrent_streams", settings.max_streams),
            # It may refuse a call for which the client has just made room: what has ended is counted for a while.
            ("grpc.http.overload_protection", int(settings.reset_protection)),
            ("grpc.max_receive_message_length", _LARGEST_REQUEST),
            ("grpc.max_send_message_length", -1),
            # gRPC refuses at random between the two, where they differ.
            ("grpc.max_metadata_size", _LARGEST_METADATA),
            ("grpc.absolute_max_metadata_size", _LARGEST_METADATA),
            # Those that we refuse are to get our reason and the time to try again, not gRPC's: by itself it refuses
            # some of a burst beyond 1,000, and all beyond 3,000.
            ("grpc.server.max_pending_requests", unheard),
            ("grpc.server.max_pending_requests_hard_limit", 2 * unheard),
            # A watch may be silent for long: either side may look whether the other is still there.
            ("grpc.keepalive_time_ms", _KEEPALIVE * 1000),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE * 1000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", _KEEPALIVE_ALLOWED * 1000),
            *_aging(settings),
            # gRPC would otherwise let a fast client fill ever larger windows: one import alone took 60 MB.
            ("grpc.http2.bdp_probe", 0),
        ]
        served: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {
            seed_servicer.SERVICE: seed_servicer.SeedServicer(self._bus).methods(reception),
            health.SERVICE: self._health.methods(),
        }
        beers = servicer.BeersServicer(self._bus, self._feed, self._watches).methods(reception)
        desk = Desk(
            servicer.SERVICE,
            beers,
            lambda busy: reception.full or self._bus.crowded(busy),
            reception.refused,
            self._logger,
        )
        others = (grpc.method_handlers_generic_handler(name, methods) for name, methods in served.items())
        door = None if settings.open_reflection else self._door
        reflecting = reflection.handlers([servicer.SERVICE, *served], door, READ)
        taken: dict[str, FindHandler] = {path: partial(desk.handler, path) for path in sorted(desk.unary)}
        check = served[health.SERVICE]["Check"]
        taken[f"/{health.SERVICE}/Check"] = lambda _busy: check
        return Intake(options, [desk, *others, *reflecting], taken)

    def _listen(self, intake: Intake) -> int:
        settings = self._settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._require_free_port()
        try:
            if self._tls is None:
                return intake.server.add_insecure_port(f"{host}:{self.port}")
            return intake.server.add_secure_port(f"{host}:{self.port}", self._tls.credentials)
        except RuntimeError as error:
            raise CannotListen(f"cannot listen on {host}:{self.port}") from error

    def _require_free_port(self) -> None:
        """Find out by ourselves what gRPC would tell in ten lines on standard error."""
        settings = self._settings
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                settings.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if settings.reuse_port:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                probe.bind(address)
        except OSError as error:
            reason = "it is taken; PORT chooses another" if error.errno == errno.EADDRINUSE else error.strerror
            raise CannotListen(f"cannot listen on port {self.port} of {settings.host}: {reason}") from error

    def _tell(self) -> None:
        absence = self.availability.absence
        self._health.set_serving(serving=absence is None)
        if absence is None:
            self._logger.info("serving")
            return
        # Between the connection and the first answer there is nothing to warn of yet.
        expected = absence is Absence.ANSWERS and not self.availability.refusing
        tell = self._logger.info if expected else self._logger.warning
        tell("not serving", reason=absence.value, refusing=self.availability.refusing)


def _aging(settings: Settings) -> list[tuple[str, int]]:
    if not settings.connection_age:
        return []
    return [
        ("grpc.max_connection_age_ms", round(settings.connection_age * 1000)),
        ("grpc.max_connection_age_grace_ms", round(settings.connection_grace * 1000)),
    ]


def _task(work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
    return asyncio.get_running_loop().create_task(work, name=name)
