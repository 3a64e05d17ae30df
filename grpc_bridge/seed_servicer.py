"""pb.Beers, the contract of the original: two calls, and every failure is a BAD answer with gRPC status OK.

But for those whose client is not let in, for which the original had no words: these are gRPC statuses.
"""

from collections.abc import Callable
from typing import Any

import grpc

from grpc_bridge.auth import WRITE
from grpc_bridge.bus import Caller
from grpc_bridge.calls import Reception
from grpc_bridge.errors import CallFailed
from grpc_bridge.identifiers import identifiers
from grpc_bridge.proto.pb import beers_pb2 as pb
from grpc_bridge.received import Call

SERVICE = "pb.Beers"

_LARGEST_ID = 2**31 - 1


class SeedServicer:
    """Serves pb.Beers by calling the service through *bus*."""

    def __init__(self, bus: Caller, new_request_id: Callable[[], str] | None = None) -> None:
        self._bus = bus
        self._new_request_id = new_request_id or identifiers()

    def methods(self, reception: Reception) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
        """Return the methods, each behind *reception*, and what it takes to be let in."""
        return {
            "Add": reception.method(
                "pb.Add",
                self.add,
                pb.BeerAddRequest,
                WRITE,
                lambda message: pb.BeerAddResponse(status=pb.BAD, err_msg=message),
            ),
            "Remove": reception.method(
                "pb.Remove",
                self.remove,
                pb.BeerRemoveRequest,
                WRITE,
                lambda message: pb.BeerRemoveResponse(status=pb.BAD, err_msg=message),
            ),
        }

    async def add(self, request: pb.BeerAddRequest, call: Call) -> pb.BeerAddResponse:
        """Add a beer by its name."""
        if not request.name.strip():
            raise CallFailed("InvalidField", ("name", "cannot be blank"), "name cannot be blank")
        beer = await self._command("add", {"name": request.name}, call)
        if beer["id"] > _LARGEST_ID:
            message = f"added as beer {beer['id']}, an id too large for this contract"
            return pb.BeerAddResponse(name=beer["name"], status=pb.BAD, err_msg=message)
        return pb.BeerAddResponse(id=beer["id"], name=beer["name"], status=pb.OK)

    async def remove(self, request: pb.BeerRemoveRequest, call: Call) -> pb.BeerRemoveResponse:
        """Remove a beer by its id."""
        if request.id < 1:
            raise CallFailed("InvalidField", ("id", "must be from 1"), "invalid id")
        beer = await self._command("remove", {"beer_id": request.id}, call)
        return pb.BeerRemoveResponse(id=beer["id"], name=beer["name"], status=pb.OK)

    async def _command(self, method: str, kwargs: dict[str, Any], call: Call) -> Any:
        call.request_id = kwargs["request_id"] = self._new_request_id()
        return await self._bus.call(
            method,
            kwargs,
            deadline=call.deadline,
            correlation_id=call.correlation_id,
            traceparent=call.traceparent,
            request_id=call.request_id,
            actor=call.actor,
        )
