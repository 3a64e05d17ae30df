"""Whether a call costs more the more beers there are: the same calls on stores of several sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks import payload
from benchmarks.comparison import contenders, filling
from benchmarks.comparison.contenders import MICROSECONDS, Client, Contender, Server, Unary
from benchmarks.comparison.figures import Figure
from benchmarks.comparison.ground import Ground, Product
from benchmarks.comparison.load import MeasuringError, Run, Shape
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1

SHAPE = Shape(8, 4)
"""Enough calls at a time to keep the product busy: the cost of a call is then its share of the time."""

DEPTH = 1000
"""The page that lies far behind the first: with ten beers a page, even the smallest store has that many."""

PAGE = 10
STRIDE = 999
"""Beers of each of the pages by which the thousandth is reached; that many pages are one tenth of a hundred."""

CATCH_UP = 10_000
"""Events that a watcher has missed. The smallest store has as many of its last kind, and one of another kind costs him
up to a third more or less: so they are alike in stores of every size."""


def kinds(size: int) -> list[Contender]:
    """Return what is measured on a store of *size* beers."""

    def server(ground: Ground) -> Server:
        return contenders.of(grown(ground, size))

    def unary(name: str, method: str, request: bytes = b"", writes: int = 0) -> Contender:
        return Unary(
            _name(name, size),
            f"{name} with {size:,} beers",
            server,
            (method,),
            request or payload.add_request(),
            writes=writes,
            shape=SHAPE,
            unit=MICROSECONDS,
            figure=cost,
        )

    middle = v1.GetBeerRequest(beer_id=size // 2).SerializeToString()
    return [
        unary("add", "AddBeer", writes=1),
        unary("get", "GetBeer", middle),
        unary("history", "ListBeerEvents", middle),
        unary("list page 1", "ListBeers", _page()),
        unary("list page 1 by name", "ListBeers", _page(order_by="name")),
        unary("list page 1 of a style", "ListBeers", _page(style="Style 7")),
        unary("look for a text in vain", "ListBeers", _page(query="nowhere")),
        Deep(_name("list page 1,000", size), size, ""),
        Deep(_name("list page 1,000 by name", size), size, "name"),
        Client(
            _name("watch catch-up", size),
            f"an event of {CATCH_UP:,} that a watcher has missed, with {size:,} beers",
            lambda ground: grown(ground, size),
            lambda product, _warm_up, _seconds: ("grpc_watch", product.address, "past", *_missed(product)),
            unit="µs/event",
            figure=lambda line: 1_000_000 / float(line["rate"]),
        ),
    ]


def grown(ground: Ground, size: int) -> Product:
    """Start the product on a store of *size* beers."""

    def fill() -> bool:
        ground.say(f"filling a store with {size:,} beers")
        filling.fill(ground.folder / f"{_short(size)}.db", size)
        return True

    ground.once(f"store of {size}", fill)
    return ground.product(_short(size))


@dataclass
class Deep:
    """A page far behind the first, reached by its token as a client reaches it."""

    name: str
    size: int
    order_by: str
    unit: str = MICROSECONDS
    _page: Unary = field(init=False)

    @property
    def what(self) -> str:
        """What is measured."""
        return f"list page {DEPTH:,}{' by ' + self.order_by if self.order_by else ''} with {self.size:,} beers"

    def start(self, ground: Ground) -> None:
        """Walk there, and take the token."""
        address = grown(ground, self.size).address
        token = ""
        # The last beer of page 999, in larger steps: a token knows its place and the order, not the size of a page.
        for _ in range(PAGE):
            request = v1.ListBeersRequest(page_size=STRIDE, page_token=token, order_by=self.order_by)
            response = contenders.answer(ground, address, "ListBeers", request.SerializeToString())
            token = v1.ListBeersResponse.FromString(response).next_page_token
        if not token:
            raise MeasuringError(f"there is no page {DEPTH:,} with {self.size:,} beers")
        self._page = Unary(
            self.name,
            self.what,
            lambda _ground: Server(address),
            ("ListBeers",),
            _page(page_token=token, order_by=self.order_by),
            shape=SHAPE,
            unit=MICROSECONDS,
            figure=cost,
        )
        self._page.start(ground)

    def measure(self, warm_up: float, seconds: float) -> contenders.Measured:
        """Measure a round."""
        return self._page.measure(warm_up, seconds)


def curves(figures: Mapping[str, Figure], sizes: Sequence[int]) -> dict[str, dict[int, Figure]]:
    """Return the figures by what was measured and by size."""
    found: dict[str, dict[int, Figure]] = {}
    for size in sizes:
        for name, figure in figures.items():
            kind, _, at = name.rpartition(" @ ")
            if at == _short(size):
                found.setdefault(kind, {})[size] = figure
    return found


def cost(run: Run) -> float:
    """Return what a call of *run* took of the time, in microseconds."""
    return 1_000_000 / run.rate


def _name(kind: str, size: int) -> str:
    return f"{kind} @ {_short(size)}"


def _short(size: int) -> str:
    return f"{size // 1_000_000}m" if size >= 1_000_000 else f"{size // 1000}k"  # noqa: PLR2004 - a million


def _page(page_token: str = "", order_by: str = "", style: str = "", query: str = "") -> bytes:
    request = v1.ListBeersRequest(page_size=PAGE, page_token=page_token, order_by=order_by, style=style, query=query)
    return request.SerializeToString()


def _missed(product: Product) -> tuple[int, int]:
    head = product.head()
    return head - CATCH_UP, head
