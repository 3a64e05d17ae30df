"""Who is compared: all the contenders, in the order of their turns."""

from collections.abc import Callable
from pathlib import Path

from benchmarks import payload
from benchmarks.comparison import contenders
from benchmarks.comparison import ground as grounds
from benchmarks.comparison.contenders import BEERS, EVENTS, MILLISECONDS, Client, Contender, Server, Unary
from benchmarks.comparison.figures import percentiles
from benchmarks.comparison.ground import Ground, Product
from benchmarks.comparison.load import Run, Shape
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1

OUTSTANDING = 64
WATCHERS = (1, 10, 100)
ALONE = Shape(1, 1)
GET = v1.GetBeerRequest(beer_id=1).SerializeToString()
LIST = v1.ListBeersRequest(page_size=50).SerializeToString()
MIX = (("GetBeer",) * 4 + ("ListBeers",) + ("GetBeer",) * 4) * 2 + ("ListBeers", "AddBeer")
"""Eighty per cent reads of one beer, fifteen of a page, five writes, evenly dealt."""

SOME = 100
"""Beers in the store before the first is read: enough for a page of fifty and more."""


def all_of_them() -> list[Contender]:
    """Return the contenders whose figures the ratios are made of, and those that are reported beside them."""
    return [
        Unary("grpc_echo", "bare grpc.aio on uvloop: the ceiling of a process", contenders.grpc_echo),
        Unary("grpc_echo_per_core", "the same in a process for each core", contenders.grpc_echo_per_core),
        Client(
            "nameko_rpc",
            f"stock Nameko echo, ClusterRpcProxy, {OUTSTANDING} outstanding",
            contenders.nameko_rpc,
            lambda uri, warm_up, seconds: ("nameko_calls", uri, "echo", OUTSTANDING, warm_up, seconds),
        ),
        Client(
            "nameko_rpc_latency",
            "p50 of one call at a time of the same",
            contenders.nameko_rpc,
            lambda uri, warm_up, seconds: ("nameko_calls", uri, "echo", 1, warm_up, seconds),
            unit=MILLISECONDS,
            figure=lambda line: float(line["p50_ms"]),
        ),
        Client(
            "nameko_rpc_lean",
            f"the same service, {OUTSTANDING} outstanding from a lean client on kombu's transport",
            contenders.nameko_rpc,
            lambda uri, warm_up, seconds: ("lean_calls", uri, "echo", OUTSTANDING, warm_up, seconds),
        ),
        Client(
            "nameko_rpc_idle",
            f"a service that does nothing, ClusterRpcProxy, {OUTSTANDING} outstanding",
            contenders.idle_service,
            lambda uri, warm_up, seconds: ("nameko_calls", uri, "idle", OUTSTANDING, warm_up, seconds),
        ),
        Client(
            "nameko_rpc_unanswered",
            "calls that ClusterRpcProxy publishes when nobody is there to answer",
            contenders.nameko_rpc,
            lambda uri, warm_up, seconds: ("nameko_publishes", uri, warm_up, seconds),
        ),
        Unary("nameko_grpc", "nameko-grpc echo on Nameko 3.0.0rc", contenders.nameko_grpc),
        Unary(
            "naive_bridge",
            "threaded gRPC server, a ClusterRpcProxy opened for each call; our service and store",
            contenders.naive("each"),
            writes=1,
        ),
        Unary(
            "naive_bridge_kept",
            "the same with a ClusterRpcProxy kept for each thread",
            contenders.naive("kept"),
            writes=1,
        ),
        *through_the_bridge("", "SQLite", contenders.sqlite),
        Unary(
            "beers_add_one_bridge",
            "durable AddBeer, SQLite, through a single bridge",
            lambda ground: contenders.of(contenders.one_bridge(ground)),
            writes=1,
        ),
        Unary(
            "beers_get_one_bridge",
            "GetBeer, SQLite, through a single bridge",
            _some_behind(contenders.one_bridge),
            ("GetBeer",),
            GET,
        ),
        Unary(
            "beers_add_quiet",
            "durable AddBeer, SQLite, LOG_LEVEL=WARNING",
            lambda ground: contenders.of(contenders.quiet(ground)),
            writes=1,
        ),
        Unary(
            "beers_add_traced",
            "durable AddBeer, SQLite, one call in ten traced",
            contenders.traced(0.1),
            writes=1,
        ),
        Unary(
            "beers_add_traced_all",
            "durable AddBeer, SQLite, every call traced",
            contenders.traced(1.0),
            writes=1,
        ),
        Client(
            "beers_add_latency",
            "p50 of one AddBeer at a time, SQLite, Python's synchronous client",
            _with_request,
            lambda at, warm_up, seconds: ("grpc_calls", at[0].address, "AddBeer", at[1], warm_up, seconds),
            unit=MILLISECONDS,
            figure=lambda line: float(line["p50_ms"]),
        ),
        Unary(
            "beers_add_latency_h2load",
            "the same from h2load, which costs no client's time in Python",
            lambda ground: contenders.of(contenders.sqlite(ground)),
            writes=1,
            shape=ALONE,
            unit=MILLISECONDS,
            figure=p50,
        ),
        Client(
            "beers_rpc_add",
            f"durable add by RPC, SQLite, ClusterRpcProxy, {OUTSTANDING} outstanding",
            contenders.sqlite,
            lambda product, warm_up, seconds: (
                *("nameko_calls", product.amqp_uri, "beers", OUTSTANDING),
                *(warm_up, seconds),
            ),
            stored="calls",
        ),
        *through_the_bridge("_postgresql", "PostgreSQL", contenders.postgresql),
        Client(
            "import",
            "ImportBeers, one stream, SQLite",
            contenders.sqlite,
            lambda product, _warm_up, seconds: ("grpc_import", product.address, seconds),
            unit=BEERS,
            stored="sent",
        ),
        *(watch(number) for number in WATCHERS),
    ]


def through_the_bridge(suffix: str, store: str, product: Callable[[Ground], Product]) -> list[Contender]:
    """Return the four kinds of load on the bridges."""

    def empty(ground: Ground) -> Server:
        return contenders.of(product(ground))

    with_some = _some_behind(product)
    return [
        Unary(f"beers_add{suffix}", f"durable AddBeer, {store}", empty, writes=1),
        Unary(f"beers_get{suffix}", f"GetBeer, {store}", with_some, ("GetBeer",), GET),
        Unary(f"beers_list50{suffix}", f"ListBeers, a page of 50, {store}", with_some, ("ListBeers",), LIST),
        Unary(
            f"beers_mix{suffix}",
            f"80 % GetBeer, 15 % ListBeers, 5 % AddBeer, {store}",
            with_some,
            MIX,
            payload.mixed_request(),
            writes=MIX.count("AddBeer"),
        ),
    ]


def watch(watchers: int) -> Contender:
    """Return the contender that watches with so many watchers."""
    return Client(
        f"watch_{watchers}",
        f"live events delivered to {watchers} watcher{'s' * (watchers > 1)} in all, SQLite",
        contenders.sqlite,
        lambda product, warm_up, seconds: ("grpc_watch", product.address, "live", watchers, warm_up, seconds),
        unit=EVENTS,
    )


def p50(run: Run) -> float:
    """Return the median latency of *run*, in milliseconds."""
    return percentiles(run.latencies_ms)["p50"]


def _with_request(ground: Ground) -> tuple[Product, Path]:
    file = ground.folder / "add"
    file.write_bytes(payload.add_request())
    return contenders.sqlite(ground), file


def _some_behind(product: Callable[[Ground], Product]) -> Callable[[Ground], Server]:
    """Return what starts *product* and sees to it that there are beers to read."""

    def started(ground: Ground) -> Server:
        behind = product(ground)
        ground.once(f"some in {behind.database_url}", lambda: _fill(behind))
        return contenders.of(behind)

    return started


def _fill(product: Product) -> bool:
    grounds.client(["-m", "benchmarks.clients.grpc_import", product.address, f"{SOME}beers"])
    return True
