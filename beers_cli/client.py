"""The catalogue as the command line sees it: a gRPC client that tries again where that is safe.

Every command has a request id from the start, so that a second try after a broken connection runs nothing twice.
"""

import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from beers_cli import access
from beers_cli.diagnosis import obstacle
from beers_cli.failure import Failure
from beers_cli.metadata import Metadata
from beers_cli.problem import Problem
from grpc_bridge.proto.beers.v1 import beers_pb2, beers_pb2_grpc

_PAGE = 1000
_FIRST_RETRY = 0.1
_SLOWEST_RETRY = 2.0


def _service_config() -> str:
    """Return how we spread calls over the bridges behind a name: as all clients are told to.

    The rest of that file is for those who leave retries and deadlines to gRPC. It gives up after five attempts; a
    person has said with --timeout how long to go on.
    """
    told = json.loads(files("grpc_bridge").joinpath("service_config.json").read_text(encoding="utf-8"))
    return json.dumps({"loadBalancingConfig": told["loadBalancingConfig"]})


_CHANNEL = (
    ("grpc.service_config", _service_config()),
    # Tries again happen here, where it is known what may be sent twice.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 64 * 2**20),
    # A network that swallows everything is noticed within a minute, also in a stream on which only the server speaks.
    # It sends something every 30 s at the latest, and takes pings for rude only if they come more often than that.
    ("grpc.keepalive_time_ms", 40_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)

Details = dict[str, str | float | None]
"""Fields of a beer by their names; None or "" for what is unknown."""


def delay_before(
    attempt: int, wanted: float | None, *, first: float = _FIRST_RETRY, slowest: float = _SLOWEST_RETRY
) -> float:
    """Return the seconds to wait before try number *attempt*, at least those that the service *wanted*.

    Grows from *first* to *slowest*, and up to half as much again at random, lest many clients come back at once.
    """
    backoff = min(first * 2 ** min(attempt - 1, 30), slowest)
    return float(max(backoff, wanted or 0.0) * random.uniform(1.0, 1.5))  # noqa: S311 - not a secret


@contextmanager
def open_channel(address: str) -> Iterator[grpc.Channel]:
    """Open a channel to *address* in the way of `access.current`; it connects when it is first used."""
    way = access.current()
    way.check(address)
    if way.encrypted:
        channel = grpc.secure_channel(address, way.channel_credentials(), options=_CHANNEL)
    else:
        channel = grpc.insecure_channel(address, options=_CHANNEL)
    try:
        yield grpc.intercept_channel(channel, Metadata(way.token if way.has_token else None))
    except KeyboardInterrupt:
        raise  # it may have come while gRPC began a call, and closing would wait for the end of that for ever
    except BaseException:
        channel.close()
        raise
    channel.close()


class Catalogue:
    """The beers service at an address; use it in a `with` statement."""

    def __init__(self, address: str, timeout: float) -> None:
        """Prepare to call; nothing is sent yet.

        Args:
            address: Host and port of the service.
            timeout: Seconds that each call may take, tries again included.
        """
        self.address = address
        self.timeout = timeout
        self._opened = open_channel(address)

    def __enter__(self) -> Self:
        self.stub = beers_pb2_grpc.BeersServiceStub(self._opened.__enter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def add(self, details: Details, request_id: str) -> beers_pb2.Beer:
        """Add a beer."""
        request = beers_pb2.AddBeerRequest(**_known(details), request_id=request_id or new_request_id())
        return self._beer(self.stub.AddBeer, request)

    def begin_import(self, chunks: Sequence[beers_pb2.ImportBeersRequest]) -> Any:
        """Begin to import *chunks*, once: who calls sees to tries again. The future's result is an ImportBeersResponse.

        Each chunk may take as long as a call.
        """
        return self.stub.ImportBeers.future(iter(chunks), timeout=self.timeout * len(chunks))

    def failure(self, problem: Problem) -> Failure:
        """Return what to tell the person about *problem*."""
        return explained(problem, self.address, self.timeout)

    def rename(self, beer_id: int, name: str, request_id: str, expected_version: int | None) -> beers_pb2.Beer:
        """Give a beer another name."""
        request = beers_pb2.RenameBeerRequest(
            beer_id=beer_id,
            name=name,
            request_id=request_id or new_request_id(),
            expected_version=expected_version,
        )
        return self._beer(self.stub.RenameBeer, request)

    def update(self, beer_id: int, changes: Details, request_id: str, expected_version: int | None) -> beers_pb2.Beer:
        """Change the details of a beer that *changes* names."""
        request = beers_pb2.UpdateBeerRequest(
            beer_id=beer_id,
            **_known(changes),
            update_mask=FieldMask(paths=sorted(changes)),
            request_id=request_id or new_request_id(),
            expected_version=expected_version,
        )
        return self._beer(self.stub.UpdateBeer, request)

    def remove(self, beer_id: int, request_id: str, expected_version: int | None) -> beers_pb2.Beer:
        """Remove a beer."""
        request = beers_pb2.RemoveBeerRequest(
            beer_id=beer_id, request_id=request_id or new_request_id(), expected_version=expected_version
        )
        return self._beer(self.stub.RemoveBeer, request)

    def restore(self, beer_id: int, request_id: str, expected_version: int | None) -> beers_pb2.Beer:
        """Bring a removed beer back."""
        request = beers_pb2.RestoreBeerRequest(
            beer_id=beer_id, request_id=request_id or new_request_id(), expected_version=expected_version
        )
        return self._beer(self.stub.RestoreBeer, request)

    def get(self, beer_id: int, as_of: int | datetime | None = None) -> beers_pb2.Beer:
        """Read a beer, as it is or as it was at a position of the log or at a time."""
        request = beers_pb2.GetBeerRequest(beer_id=beer_id)
        if isinstance(as_of, datetime):
            request.as_of_time.FromDatetime(as_of)
        elif as_of is not None:
            request.as_of_position = as_of
        return self._beer(self.stub.GetBeer, request)

    def list(self, limit: int | None = None, **filters: str | bool) -> Iterator[beers_pb2.Beer]:
        """Yield the beers that match, page by page; at most *limit* of them."""
        page_size = min(limit or _PAGE, _PAGE)
        request = beers_pb2.ListBeersRequest(page_size=page_size, **filters)  # type: ignore[arg-type] # wrong ones raise
        return self._pages(self.stub.ListBeers, request, lambda page: page.beers, limit)

    def history(self, beer_id: int) -> Iterator[beers_pb2.BeerEvent]:
        """Yield what happened to a beer, oldest first."""
        request = beers_pb2.ListBeerEventsRequest(beer_id=beer_id, page_size=_PAGE)
        return self._pages(self.stub.ListBeerEvents, request, lambda page: page.events, None)

    def watch(self, request: beers_pb2.WatchBeersRequest) -> Any:
        """Begin to follow the log, once: who calls sees to tries again. Yields WatchBeersResponse without end."""
        return self.stub.WatchBeers(request)

    def _beer(self, method: Any, request: Any) -> beers_pb2.Beer:
        beer: beers_pb2.Beer = self._call(method, request).beer
        return beer

    def _pages(self, method: Any, request: Any, items: Callable[[Any], Any], limit: int | None) -> Iterator[Any]:
        left = limit
        while True:
            page = self._call(method, request)
            found = items(page) if left is None else items(page)[:left]
            yield from found
            left = None if left is None else left - len(found)
            if not page.next_page_token or left == 0:
                return
            request.page_token = page.next_page_token

    def _call(self, method: Any, request: Any) -> Any:
        """Call *method*, again if need be, and return its answer; raises `Failure`."""
        deadline = time.monotonic() + self.timeout
        attempt = 0
        problem: Problem | None = None
        request_id = getattr(request, "request_id", "")
        while (left := deadline - time.monotonic()) > 0:
            attempt += 1
            try:
                return method(request, timeout=left)
            except grpc.RpcError as error:
                latest = Problem.of(error)
            if problem is None or latest.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
                problem = latest
            never_there = attempt == 1 and problem.nobody_listens
            pause = delay_before(attempt, problem.retry_after)
            if not latest.passing or never_there or time.monotonic() + pause >= deadline:
                break
            time.sleep(pause)
        if problem is None:
            problem = Problem(grpc.StatusCode.DEADLINE_EXCEEDED, "")
        raise explained(problem, self.address, self.timeout, request_id)


def explained(problem: Problem, address: str, timeout: float, request_id: str = "") -> Failure:
    """Return what to tell the person about *problem*, having looked at what is in the way if it is a connection."""
    if problem.nobody_listens:
        found = obstacle(address, access.current())
        if found is not None:
            return found
    return problem.failure(address, timeout, request_id)


def new_request_id() -> str:
    """Return a request id that nobody else has."""
    return f"cli-{uuid.uuid4()}"


def _known(details: Mapping[str, str | float | None]) -> dict[str, Any]:
    return {name: value for name, value in details.items() if value is not None}
