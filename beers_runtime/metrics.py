"""Metrics: what a process counts, and its answer to Prometheus, which reads it over HTTP.

Counting costs a call as little as it can: numbers are plain attributes of whoever knows them anyway, and are only put
into a metric's form when somebody asks. What has to be measured goes into `Histogram`, a tenth of the library's cost a
value: it takes no lock. So each is written to by one thread, or by green threads alone.
"""

import platform
import re
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from itertools import accumulate
from socket import SHUT_RDWR, socket
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, Info, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString
from structlog.typing import FilteringBoundLogger

from beers_runtime.configuration import Address, ConfigurationError

DURATIONS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of buckets, in seconds: from a call at rest to one that has waited until its deadline."""

SHORT_DURATIONS: Final = (0.00025, 0.0005, *DURATIONS)
"""The same, for what takes less than a call."""

NUMBERS: Final = tuple(float(1 << power) for power in range(11))
"""Upper bounds of buckets for numbers of things: 1, 2, 4 and so on to 1,024."""

_PATIENCE = 1.0
"""Seconds that one who has connected has until its request is complete."""

_ANSWER = 10.0
"""Seconds for the answer, waiting for its turn included: what Prometheus waits, if nobody tells it otherwise."""

_PLACES = 16
"""How many may be connected at a time, to ask or to be answered."""

_PAUSE = 0.0002
"""Seconds that whoever formats metrics leaves to the others, again and again."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class Distribution:
    """How values of one kind are distributed: how many lie in each bucket, and their sum."""

    __slots__ = ("_bounds", "_counts", "_latest", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        # By bucket: the latest value that was part of a trace, the trace, and when it came.
        self._latest: dict[int, tuple[float, str, float]] = {}

    def observe(self, value: float, times: int = 1, traceparent: str | None = None) -> None:
        """Count *value*, so many *times*; *traceparent* is the trace that it was part of, if there was one."""
        bucket = bisect_left(self._bounds, value)
        self._counts[bucket] += times
        self._sum += value * times
        if traceparent:
            self._latest[bucket] = (value, traceparent, time.time())

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self._counts)

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Put it into *family* under these *labels*."""
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        latest = dict(self._latest)
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        for bucket, (bound, number) in enumerate(zip(bounds, accumulate(self._counts), strict=True)):
            exemplar = _exemplar(*latest[bucket]) if bucket in latest else None
            buckets.append((bound, number) if exemplar is None else (bound, number, exemplar))
        family.add_metric(labels, buckets, self._sum)


class Histogram:
    """A metric that is a distribution for each combination of its labels' values."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = bounds
        self._labels = labels
        self._children: dict[tuple[str, ...], Distribution] = {}
        if not labels:
            self.labelled()

    def labelled(self, *values: str) -> Distribution:
        """Return the distribution for these *values* of the labels; to be kept, rather than asked for each time."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = Distribution(self._bounds)
        return child

    def children(self) -> Mapping[tuple[str, ...], Distribution]:
        """Return the distributions that there are, by the values of the labels."""
        return dict(self._children)

    def family(self) -> HistogramMetricFamily:
        """Return it as Prometheus knows it; its samples are made while they are read, with pauses between them."""
        family = self._empty()
        family.samples = _Samples(self._made)
        return family

    def _made(self) -> Iterator[Sample]:
        for values, child in self.children().items():
            family = self._empty()
            child.add_to(family, values)
            yield from family.samples
            # A thousand lines take ten milliseconds or more. Whoever serves calls is to wait for a few lines at most.
            time.sleep(_PAUSE)

    def _empty(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=self._labels)


class _Samples(list[Sample]):
    """Samples that come one by one, made by *make*."""

    def __init__(self, make: Callable[[], Iterator[Sample]]) -> None:
        super().__init__()
        self._make = make

    def __iter__(self) -> Iterator[Sample]:
        return self._make()


def gauge(name: str, documentation: str, value: float | None) -> GaugeMetricFamily:
    """Return a gauge without labels; None for one that has no value now."""
    family = GaugeMetricFamily(name, documentation)
    if value is not None:
        family.add_metric((), value)
    return family


def gauges(name: str, documentation: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """Return a gauge with one *label*: its *values* by the label's."""
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for labelled, value in values.items():
        family.add_metric((labelled,), value)
    return family


def counter(name: str, documentation: str, value: float) -> CounterMetricFamily:
    """Return a counter without labels; its *name* without the ``_total`` that it gets."""
    return CounterMetricFamily(name, documentation, value=value)


def counters(name: str, documentation: str, label: str, values: Mapping[str, float]) -> CounterMetricFamily:
    """Return a counter with one *label*: its *values* by the label's."""
    family = CounterMetricFamily(name, documentation, labels=[label])
    for labelled, value in values.items():
        family.add_metric((labelled,), value)
    return family


def describe_process(registry: CollectorRegistry, component: str) -> None:
    """Have *registry* tell which version of which *component* runs."""
    info = Info("beers_build", "What runs here.", registry=registry)
    info.info({"version": version("beers"), "component": component, "python": platform.python_version()})


def registry_of(component: str, collector: Collector) -> CollectorRegistry:
    """Return what a process of ours exports: what *collector* collects, the process itself and its build.

    The collector runs in the thread that answers Prometheus, and is to ask neither the store nor the broker.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    describe_process(registry, component)
    return registry


class Exporter:
    """Answers Prometheus from a thread of its own: a green one where threads are, as in the service.

    It works out one answer at a time: nobody needs more, and that takes time from those who serve calls. Whoever has
    yet to ask, or is slow to read, holds nobody up.

    Args:
        registry: What to tell.
        address: Where to listen.
        logger: Told where.

    Raises:
        ConfigurationError: If the address is taken, or not ours.
    """

    def __init__(self, registry: CollectorRegistry, address: Address, logger: FilteringBoundLogger) -> None:
        try:
            self._server = _Server(address)
        except OSError as error:
            raise ConfigurationError(
                f"METRICS_PORT={address.port}: cannot listen on that port of {address.host}: {error.strerror or error}"
            ) from error
        self._server.set_app(make_wsgi_app(registry, disable_compression=True))
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
        logger.info("metrics listening", host=address.host, port=address.port)

    def stop(self) -> None:
        """Answer no more; it takes half a second at most. Without it, that ends with the process."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingMixIn, WSGIServer):
    """Has a thread for each who is connected; of too many, the one that has been about to ask for longest has to go."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 4 * _PLACES  # whoever finds no room there tries again only after a second

    def __init__(self, address: Address) -> None:
        self.address_family = address.family()
        self._places = threading.Semaphore(_PLACES)
        self._turn = threading.Lock()
        # Since when, those first who have waited for longest.
        self._asking: dict[socket, float] = {}
        self._answered: dict[socket, float] = {}
        super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        # Not the one between: it asks for the host's name, for which the network may take long.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def set_app(self, application: Any) -> None:
        """Have *application* answer, one request at a time; what it returns is sent beside the next."""

        def answer(environ: Any, start_response: Any) -> Any:
            with self._turn:
                return application(environ, start_response)

        super().set_app(answer)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Have a thread of its own read the *request*, as soon as there is room."""
        if not self._places.acquire(blocking=False):
            for oldest in list(self._asking)[:1]:
                self._leave(self._asking, oldest)
            while not self._places.acquire(timeout=_PATIENCE / 10):
                self._leave_slow(_PATIENCE)  # they keep others out now
        self._asking[request] = time.monotonic()
        super().process_request(request, client_address)

    def has_asked(self, request: socket) -> bool:
        """Note that a *request* is complete; return whether that was in time."""
        if self._asking.pop(request, None) is None:
            return False
        self._answered[request] = time.monotonic()
        return True

    def service_actions(self) -> None:
        """Leave those who take too long; called twice a second, and whenever somebody connects."""
        self._leave_slow(_ANSWER)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection, and let another one in."""
        self._asking.pop(request, None)
        self._answered.pop(request, None)
        super().shutdown_request(request)
        self._places.release()

    def _leave_slow(self, answer: float) -> None:
        now = time.monotonic()
        for connected, patience in ((self._asking, _PATIENCE), (self._answered, answer)):
            for request, since in connected.copy().items():
                if now - since > patience:
                    self._leave(connected, request)

    def _leave(self, connected: dict[socket, float], request: socket) -> None:
        if connected.pop(request, None) is not None:
            with suppress(OSError):  # it has gone already
                request.shutdown(SHUT_RDWR)  # wakes its thread, which closes it


class _Handler(WSGIRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Answer one request."""
        with suppress(ConnectionError):  # whoever asks has gone, or took too long
            super().handle()

    def parse_request(self) -> bool:
        """Read the rest of the request; return whether it is to be answered."""
        return super().parse_request() and self.server.has_asked(self.connection)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing: it happens every few seconds."""


def _exemplar(value: float, traceparent: str, at: float) -> Exemplar | None:
    found = _TRACEPARENT.fullmatch(traceparent)
    return Exemplar({"trace_id": found[1]}, value, at) if found else None
