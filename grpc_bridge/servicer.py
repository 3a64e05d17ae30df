"""beers.v1.BeersService: each request as a call of the service's RPC, each answer as a response; nothing else.

What a field may hold is the service's to judge. Refused here is only what cannot be put into a call at all.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from grpc_bridge import presenting
from grpc_bridge.auth import READ, WRITE
from grpc_bridge.bus import Caller
from grpc_bridge.calls import Reception
from grpc_bridge.errors import invalid_field
from grpc_bridge.feed import Feed, Filter, Head, out_of_range
from grpc_bridge.identifiers import identifiers
from grpc_bridge.importing import Import
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.received import Call
from grpc_bridge.watching import Watches, position_of

SERVICE = "beers.v1.BeersService"

_DEFAULT_PAGE = 50
_LARGEST_PAGE = 1000
_MOST_BEERS = 1000
_DETAILS = ("brewery", "style", "abv", "ibu", "description")

_Described = v1.AddBeerRequest | v1.NewBeer
_Command = (
    v1.AddBeerRequest
    | v1.RenameBeerRequest
    | v1.UpdateBeerRequest
    | v1.RemoveBeerRequest
    | v1.RestoreBeerRequest
    | v1.BatchAddBeersRequest
)
_Versioned = v1.RenameBeerRequest | v1.UpdateBeerRequest | v1.RemoveBeerRequest | v1.RestoreBeerRequest


class BeersServicer:
    """Serves beers.v1.BeersService by calling the service through *bus*, and *feed* for those who watch."""

    def __init__(
        self, bus: Caller, feed: Feed, watches: Watches, new_request_id: Callable[[], str] | None = None
    ) -> None:
        self._bus = bus
        self._feed = feed
        self._watches = watches
        self._new_request_id = new_request_id or identifiers()

    def methods(self, reception: Reception) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
        """Return the methods, each behind *reception*, and what it takes to be let in."""
        method = reception.method
        return {
            "AddBeer": method("AddBeer", self.add_beer, v1.AddBeerRequest, WRITE),
            "RenameBeer": method("RenameBeer", self.rename_beer, v1.RenameBeerRequest, WRITE),
            "UpdateBeer": method("UpdateBeer", self.update_beer, v1.UpdateBeerRequest, WRITE),
            "RemoveBeer": method("RemoveBeer", self.remove_beer, v1.RemoveBeerRequest, WRITE),
            "RestoreBeer": method("RestoreBeer", self.restore_beer, v1.RestoreBeerRequest, WRITE),
            "GetBeer": method("GetBeer", self.get_beer, v1.GetBeerRequest, READ),
            "BatchGetBeers": method("BatchGetBeers", self.batch_get_beers, v1.BatchGetBeersRequest, READ),
            "ListBeers": method("ListBeers", self.list_beers, v1.ListBeersRequest, READ),
            "BatchAddBeers": method("BatchAddBeers", self.batch_add_beers, v1.BatchAddBeersRequest, WRITE),
            "ImportBeers": reception.client_stream("ImportBeers", self.import_beers, v1.ImportBeersRequest, WRITE),
            "ListBeerEvents": method("ListBeerEvents", self.list_beer_events, v1.ListBeerEventsRequest, READ),
            "WatchBeers": reception.server_stream("WatchBeers", self.watch_beers, v1.WatchBeersRequest, READ),
        }

    async def add_beer(self, request: v1.AddBeerRequest, call: Call) -> v1.AddBeerResponse:
        """Add a beer."""
        beer = await self._command("add", _described(request), request, call)
        return v1.AddBeerResponse(beer=presenting.beer(beer))

    async def rename_beer(self, request: v1.RenameBeerRequest, call: Call) -> v1.RenameBeerResponse:
        """Give a beer another name."""
        beer = await self._command("rename", _versioned(request) | {"name": request.name}, request, call)
        return v1.RenameBeerResponse(beer=presenting.beer(beer))

    async def update_beer(self, request: v1.UpdateBeerRequest, call: Call) -> v1.UpdateBeerResponse:
        """Change the details that the mask names, or, without one, those that are set."""
        beer = await self._command("update", _versioned(request) | _changes(request), request, call)
        return v1.UpdateBeerResponse(beer=presenting.beer(beer))

    async def remove_beer(self, request: v1.RemoveBeerRequest, call: Call) -> v1.RemoveBeerResponse:
        """Take a beer out of the catalogue."""
        beer = await self._command("remove", _versioned(request), request, call)
        return v1.RemoveBeerResponse(beer=presenting.beer(beer))

    async def restore_beer(self, request: v1.RestoreBeerRequest, call: Call) -> v1.RestoreBeerResponse:
        """Bring a removed beer back."""
        beer = await self._command("restore", _versioned(request), request, call)
        return v1.RestoreBeerResponse(beer=presenting.beer(beer))

    async def batch_add_beers(self, request: v1.BatchAddBeersRequest, call: Call) -> v1.BatchAddBeersResponse:
        """Add all of the beers or none."""
        kwargs = {"beers": [_described(beer, f"beers[{index}].") for index, beer in enumerate(request.beers)]}
        beers = await self._command("add_many", kwargs, request, call, rows=len(request.beers))
        return v1.BatchAddBeersResponse(beers=[presenting.beer(beer) for beer in beers])

    async def import_beers(self, chunks: AsyncIterator[v1.ImportBeersRequest], call: Call) -> v1.ImportBeersResponse:
        """Add the beers of a stream, each accepted or refused by itself."""
        return await Import(self._bus, call, _described).run(chunks)

    async def get_beer(self, request: v1.GetBeerRequest, call: Call) -> v1.GetBeerResponse:
        """Read a beer as it is or was."""
        kwargs: dict[str, Any] = {"beer_id": request.beer_id}
        match request.WhichOneof("as_of"):
            case "as_of_position":
                kwargs["as_of"] = request.as_of_position
            case "as_of_time":
                kwargs["as_of"] = _rfc3339(request.as_of_time)
        beer = await self._read("get", kwargs, call)
        return v1.GetBeerResponse(beer=presenting.beer(beer))

    async def batch_get_beers(self, request: v1.BatchGetBeersRequest, call: Call) -> v1.BatchGetBeersResponse:
        """Read many beers."""
        ids = list(request.beer_ids)
        beers = await self._read("get_many", {"beer_ids": ids}, call, rows=len(ids))
        return v1.BatchGetBeersResponse(beers=[presenting.beer(beer) for beer in beers])

    async def list_beers(self, request: v1.ListBeersRequest, call: Call) -> v1.ListBeersResponse:
        """Read a page of the catalogue."""
        kwargs = _page(request) | {
            "query": request.query,
            "brewery": request.brewery,
            "style": request.style,
            "order_by": request.order_by,
            "show_removed": request.show_removed,
        }
        page = await self._read("list", kwargs, call, rows=_rows(kwargs["page_size"]))
        return v1.ListBeersResponse(
            beers=[presenting.beer(beer) for beer in page["beers"]], next_page_token=page["next_page_token"]
        )

    async def list_beer_events(self, request: v1.ListBeerEventsRequest, call: Call) -> v1.ListBeerEventsResponse:
        """Read a page of a beer's history."""
        kwargs = _page(request) | {"beer_id": request.beer_id}
        page = await self._read("history", kwargs, call, rows=_rows(kwargs["page_size"]))
        return v1.ListBeerEventsResponse(
            events=[presenting.event(envelope) for envelope in page["events"]],
            next_page_token=page["next_page_token"],
        )

    async def watch_beers(self, request: v1.WatchBeersRequest, _call: Call) -> AsyncGenerator[bytes, None]:
        """Follow the log."""
        wanted = _filter(request)
        head = await self._feed.head()
        async with aclosing(self._watches.watch(head, _start(request, head), wanted)) as responses:
            async for response in responses:
                yield response

    async def _command(self, method: str, kwargs: dict[str, Any], request: _Command, call: Call, rows: int = 1) -> Any:
        # Even a client that gives no id is not to have its command run twice by a redelivery or re-send.
        call.request_id = kwargs["request_id"] = request.request_id or self._new_request_id()
        return await self._bus.call(
            method,
            kwargs,
            deadline=call.deadline,
            correlation_id=call.correlation_id,
            traceparent=call.traceparent,
            request_id=call.request_id,
            actor=call.actor,
            rows=rows,
        )

    async def _read(self, method: str, kwargs: dict[str, Any], call: Call, rows: int = 1) -> Any:
        return await self._bus.call(
            method,
            kwargs,
            deadline=call.deadline,
            correlation_id=call.correlation_id,
            traceparent=call.traceparent,
            rows=rows,
        )


def _described(request: _Described, prefix: str = "") -> dict[str, Any]:
    kwargs: dict[str, Any] = {"name": request.name}
    if request.brewery:
        kwargs["brewery"] = request.brewery
    if request.style:
        kwargs["style"] = request.style
    if request.HasField("abv"):
        kwargs["abv"] = _finite(request.abv, f"{prefix}abv")
    if request.HasField("ibu"):
        kwargs["ibu"] = _finite(request.ibu, f"{prefix}ibu")
    if request.description:
        kwargs["description"] = request.description
    return kwargs


def _versioned(request: _Versioned) -> dict[str, Any]:
    kwargs: dict[str, Any] = {"beer_id": request.beer_id}
    if request.HasField("expected_version"):
        kwargs["expected_version"] = request.expected_version
    return kwargs


def _changes(request: v1.UpdateBeerRequest) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for detail in _masked(request.update_mask.paths) or _details_set(request):
        if detail in ("abv", "ibu"):
            given = request.HasField("abv") if detail == "abv" else request.HasField("ibu")
            changes[detail] = _finite(getattr(request, detail), detail) if given else None
        else:
            changes[detail] = getattr(request, detail)
    return changes


def _masked(paths: Sequence[str]) -> Sequence[str]:
    if "*" in paths:
        return _DETAILS
    for path in paths:
        if path == "name":
            raise invalid_field("update_mask", "must not name name: RenameBeer changes it")
        if path not in _DETAILS:
            raise invalid_field("update_mask", f"must name only {', '.join(_DETAILS)}, or be *")
    return paths


def _details_set(request: v1.UpdateBeerRequest) -> list[str]:
    given = {descriptor.name for descriptor, _ in request.ListFields()}
    return [detail for detail in _DETAILS if detail in given]


def _page(request: v1.ListBeersRequest | v1.ListBeerEventsRequest) -> dict[str, Any]:
    return {"page_size": request.page_size or _DEFAULT_PAGE, "page_token": request.page_token}


def _filter(request: v1.WatchBeersRequest) -> Filter:
    for index, name in enumerate(request.types):
        if name not in presenting.EVENT_TYPES:
            raise invalid_field(f"types[{index}]", f"must be one of {', '.join(presenting.EVENT_TYPES)}")
    if len(request.beer_ids) > _MOST_BEERS:
        raise invalid_field("beer_ids", f"must be at most {_MOST_BEERS} ids")
    for index, beer_id in enumerate(request.beer_ids):
        if beer_id < 1:
            raise invalid_field(f"beer_ids[{index}]", "must be from 1")
    return Filter(frozenset(request.types), frozenset(request.beer_ids))


def _start(request: v1.WatchBeersRequest, head: Head) -> int:
    """Return the position behind which to start, in the log that ends at *head*."""
    match request.WhichOneof("start"):
        case "after_position":
            position = request.after_position
            if position < 0:
                raise invalid_field("after_position", "must be from 0")
        case "resume_token":
            position = position_of(request.resume_token, head)
        case "from_beginning" if request.from_beginning:
            return 0
        case "from_beginning":
            raise invalid_field("from_beginning", "must be true if it is set")
        case "from_now" if not request.from_now:
            raise invalid_field("from_now", "must be true if it is set")
        case _:
            return head.position
    if position > head.position:
        raise out_of_range(position, head, f"position {position} lies beyond the log")
    return position


def _rows(page_size: int) -> int:
    return min(max(page_size, 1), _LARGEST_PAGE)


def _finite(number: float, field: str) -> float:
    if not math.isfinite(number):
        raise invalid_field(field, "must be a number")  # JSON has neither NaN nor infinity
    return number


def _rfc3339(moment: Timestamp) -> str:
    try:
        return moment.ToDatetime().isoformat(timespec="microseconds") + "Z"
    except (ValueError, OverflowError) as error:
        raise invalid_field("as_of_time", "must be a time from year 1 to 9999") from error
