"""The contenders: each starts the servers that it needs, and measures one round after a warm-up that it discards."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from beers_cli import processes
from benchmarks import payload
from benchmarks.comparison import ground as grounds
from benchmarks.comparison.figures import percentiles
from benchmarks.comparison.ground import Ground, Product
from benchmarks.comparison.load import STANDARD, H2load, MeasuringError, Run, Shape, check

CALLS, BEERS, EVENTS, MILLISECONDS, MICROSECONDS = "calls/s", "beers/s", "events/s", "ms", "µs/call"

AT_ONCE = 100_000
"""Calls of one run of h2load, which keeps a line of each."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One round.

    Attributes:
        value: The figure.
        latency_ms: Percentiles of the time that a call took; empty if they were not measured.
        rate: Calls a second; the figure itself is another one where costs or latencies are told.
    """

    value: float
    latency_ms: dict[str, float]
    rate: float = 0.0


class Contender(Protocol):
    """Something whose speed is compared."""

    @property
    def name(self) -> str:
        """Its name in results.json."""

    @property
    def unit(self) -> str:
        """What its figure is counted in."""

    @property
    def what(self) -> str:
        """What is measured, in a few words."""

    def start(self, ground: Ground) -> None:
        """Start its servers, unless they run."""

    def measure(self, warm_up: float, seconds: float) -> Measured:
        """Measure one round, about so many *seconds* long.

        Raises:
            MeasuringError: If a call failed, or was not carried out.
        """


@dataclass(frozen=True, slots=True)
class Server:
    """What unary calls are made to.

    Attributes:
        address: Where it listens.
        head: Returns how many events its store holds; None for one that stores nothing.
    """

    address: str
    head: Callable[[], int] | None = None


def of(product: Product) -> Server:
    """Return the bridge of *product*."""
    return Server(product.address, product.head)


@dataclass
class Unary:
    """Unary gRPC calls, made by h2load.

    Attributes:
        server: Starts the server.
        methods: The methods, called in turn.
        request: The message that each of them is sent.
        writes: How many of the methods append an event.
        shape: How many calls are under way at a time.
        figure: What is told of the run.
        offered: Calls a second that begin; None: as many as are answered.
    """

    name: str
    what: str
    server: Callable[[Ground], Server]
    methods: Sequence[str] = ("AddBeer",)
    request: bytes = field(default_factory=payload.add_request)
    writes: int = 0
    shape: Shape = STANDARD
    unit: str = CALLS
    figure: Callable[[Run], float] = lambda run: run.rate
    offered: float | None = None
    _at: Server = field(init=False)
    _load: H2load = field(init=False)
    _bytes: int = field(init=False)
    _rate: float = field(init=False, default=0.0)

    def start(self, ground: Ground) -> None:
        """Start the server, and see what it answers to each method."""
        self._at, self._load = self.server(ground), ground.load
        sizes = {
            method: len(payload.framed(answer(ground, self._at.address, method, self.request)))
            for method in set(self.methods)
        }
        self._bytes = sum(sizes[method] for method in self.methods)

    def measure(self, warm_up: float, seconds: float) -> Measured:
        """Warm up, and run for about so long."""
        rate = self._rate or self._run(self._round(self.shape.calls * 2)).rate
        self._rate = self._run(self._round(rate * warm_up)).rate
        run = self._run(self._round(self._rate * seconds))
        return Measured(self.figure(run), percentiles(run.latencies_ms), run.rate)

    def add(self, calls: int) -> None:
        """Make at least so many calls, whatever time they take, and in several runs: each has its bounds."""
        while calls > 0:
            calls -= self._run(self._round(min(calls, AT_ONCE))).calls

    def _round(self, calls: float) -> int:
        """Return about so many *calls* that each connection makes as many, and calls each method as often."""
        each = self.shape.connections * len(self.methods)
        return max(1, round(calls / each), -(-self.shape.calls // each)) * each

    def _run(self, calls: int) -> Run:
        before = self._at.head() if self._at.head else 0
        run = self._load.run(
            self._at.address, self.methods, self.request, calls, shape=self.shape, offered=self.offered
        )
        check(run, self._bytes * calls // len(self.methods), exact=not self.writes)
        if self._at.head:
            appended, expected = self._at.head() - before, calls * self.writes // len(self.methods)
            if appended != expected:
                raise MeasuringError(f"{expected} events should have been stored, and {appended} were")
        return run


@dataclass
class Client:
    """A client program that makes its calls itself, and tells of them in one line of JSON.

    Attributes:
        server: Starts the server.
        command: Returns the module and the arguments, for a server, a warm-up and a number of seconds.
        figure: What of the line is the figure.
        stored: What of the line is the number of events that have to be in the store; empty if none need be.
    """

    name: str
    what: str
    server: Callable[[Ground], Any]
    command: Callable[[Any, float, float], Sequence[object]]
    unit: str = CALLS
    figure: Callable[[dict[str, Any]], float] = lambda line: line["rate"]
    stored: str = ""
    _at: Any = field(init=False)

    def start(self, ground: Ground) -> None:
        """Start the server."""
        self._at = self.server(ground)

    def measure(self, warm_up: float, seconds: float) -> Measured:
        """Run the program, which warms up by itself."""
        before = self._at.head() if self.stored else 0
        module, *arguments = (str(part) for part in self.command(self._at, warm_up, seconds))
        line = json.loads(grounds.client(["-m", f"benchmarks.clients.{module}", *arguments]))
        if self.stored and self._at.head() - before != line[self.stored]:
            raise MeasuringError(
                f"{line[self.stored]} events should have been stored, and {self._at.head() - before} were"
            )
        value = self.figure(line)
        if value <= 0:
            raise MeasuringError("nothing was counted: the round is too short")
        return Measured(value, {}, line["rate"])


def answer(ground: Ground, address: str, method: str, request: bytes) -> bytes:
    """Call *method* once, decently; return the message that it answers.

    Raises:
        MeasuringError: If the call fails.
    """
    file = ground.folder / "request"
    file.write_bytes(request)
    line = grounds.client(["-m", "benchmarks.clients.grpc_calls", address, method, str(file), "0", "0"])
    return bytes.fromhex(json.loads(line)["answer"])


# ── Servers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def grpc_echo(ground: Ground) -> Server:
    """Start the bare gRPC server."""

    def start() -> Server:
        port = processes.free_port()
        ground.echo("grpc_echo", "benchmarks.contenders.grpc_echo", str(port))
        return Server(f"127.0.0.1:{port}")

    return ground.once("grpc_echo", start)


def grpc_echo_per_core(ground: Ground) -> Server:
    """Start as many bare gRPC servers on one port as a product has bridges."""

    def start() -> Server:
        port = processes.free_port()
        for number in range(grounds.BRIDGES):
            ground.echo(f"grpc_echo-{number + 1}", "benchmarks.contenders.grpc_echo", str(port), "shared")
        return Server(f"127.0.0.1:{port}")

    return ground.once("grpc_echo_per_core", start)


def nameko_grpc(ground: Ground) -> Server:
    """Start the service of nameko-grpc."""

    def start() -> Server:
        port = processes.free_port()
        python = grounds.nameko_grpc(ground.say)
        ground.echo("nameko_grpc", "benchmarks.contenders.nameko_grpc_echo", str(port), python=python)
        return Server(f"127.0.0.1:{port}")

    return ground.once("nameko_grpc", start)


def nameko_rpc(ground: Ground) -> str:
    """Start the stock Nameko service; return the URI of its broker."""

    def start() -> str:
        uri = ground.broker("nameko")
        ground.echo("nameko_rpc", "benchmarks.contenders.nameko_echo", uri)
        return uri

    return ground.once("nameko_rpc", start)


def idle_service(ground: Ground) -> str:
    """Start the service that does nothing, beside the stock one; return the URI of their broker."""
    uri = nameko_rpc(ground)

    def start() -> str:
        ground.echo("idle_service", "benchmarks.contenders.idle_service", uri)
        return uri

    return ground.once("idle_service", start)


def sqlite(ground: Ground) -> Product:
    """Start the product on SQLite, synchronous=FULL, as it comes."""
    return ground.product("sqlite")


def one_bridge(ground: Ground) -> Product:
    """Start the product on SQLite with a single bridge, whatever the number of cores."""
    return ground.product("one-bridge", bridges=1)


def quiet(ground: Ground) -> Product:
    """Start the product on SQLite, without a line in the log for each command."""
    return ground.product("quiet", LOG_LEVEL="WARNING")


def traced(rate: float) -> Callable[[Ground], Server]:
    """Return what starts the product on SQLite with that part of its calls traced, and a collector that drops all."""

    def started(ground: Ground) -> Server:
        def start() -> str:
            port = processes.free_port()
            ground.echo("trace_sink", "benchmarks.contenders.trace_sink", str(port))
            return f"http://127.0.0.1:{port}"

        product = ground.product(
            f"traced-{rate:.0%}",
            OTEL_EXPORTER_OTLP_ENDPOINT=ground.once("trace_sink", start),
            OTEL_TRACES_SAMPLER="parentbased_traceidratio",
            OTEL_TRACES_SAMPLER_ARG=str(rate),
        )
        return of(product)

    return started


def postgresql(ground: Ground) -> Product:
    """Start the product on PostgreSQL, synchronous_commit=on, as it comes."""
    return ground.product("postgresql", ground.once("database", ground.database))


def naive(manner: str) -> Callable[[Ground], Server]:
    """Return what starts the naive bridge in front of the product's own service."""

    def started(ground: Ground) -> Server:
        def start() -> Server:
            product, port = sqlite(ground), processes.free_port()
            name = f"naive_bridge_{manner}"
            ground.echo(name, "benchmarks.contenders.naive_bridge", product.amqp_uri, str(port), manner)
            return Server(f"127.0.0.1:{port}", product.head)

        return ground.once(f"naive {manner}", start)

    return started
