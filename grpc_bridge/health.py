"""grpc.health.v1: what is served now, told to who asks and to who watches.

Not grpcio's own servicer: that holds a lock while it writes to a watcher, so that one who does not read stops every
change of status, and its watches stay open while the server stops and eat the whole grace.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)

from grpc_bridge.received import Undecodable, decoding

SERVICE = "grpc.health.v1.Health"
LIVENESS = "liveness"
"""Serves as long as this process works, whatever else is away: an orchestrator restarts it otherwise."""

_SERVING = HealthCheckResponse.SERVING
_NOT_SERVING = HealthCheckResponse.NOT_SERVING


class Health:
    """The statuses of *services* and of the server as a whole, which change together, and of `LIVENESS`."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._following = ("", *services)
        self._statuses = dict.fromkeys(self._following, _NOT_SERVING) | {LIVENESS: _SERVING}
        self._changed = asyncio.Event()
        self._draining = False

    @property
    def serving(self) -> bool:
        """Whether the server as a whole is said to serve."""
        return self._statuses[""] == _SERVING

    def set_serving(self, *, serving: bool) -> None:
        """Change the status of all but `LIVENESS`, unless the end has been announced."""
        status = _SERVING if serving and not self._draining else _NOT_SERVING
        if status != self._statuses[""]:
            self._statuses.update(dict.fromkeys(self._following, status))
            self._wake_watchers()

    def drain(self) -> None:
        """Announce the end: nothing serves any more, and watches end once they have said so."""
        self.set_serving(serving=False)
        self._draining = True
        self._wake_watchers()

    def methods(self) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
        """Return the methods. They are exempt from every limit: who overloads a server must still see that it lives."""
        return {
            "Check": grpc.unary_unary_rpc_method_handler(
                self._check, decoding(HealthCheckRequest), HealthCheckResponse.SerializeToString
            ),
            "List": grpc.unary_unary_rpc_method_handler(
                self._list, decoding(HealthListRequest), HealthListResponse.SerializeToString
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                self._watch, decoding(HealthCheckRequest), HealthCheckResponse.SerializeToString
            ),
        }

    async def _check(
        self, request: HealthCheckRequest | Undecodable, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> HealthCheckResponse:
        service = await _service(request, context)
        status = self._statuses.get(service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return HealthCheckResponse(status=status)

    async def _list(
        self, _request: HealthListRequest | Undecodable, _context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> HealthListResponse:
        statuses = {service: HealthCheckResponse(status=status) for service, status in self._statuses.items()}
        return HealthListResponse(statuses=statuses)

    async def _watch(
        self, request: HealthCheckRequest | Undecodable, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[HealthCheckResponse]:
        service = await _service(request, context)
        told = None
        while True:
            changed = self._changed
            status = self._statuses.get(service, HealthCheckResponse.SERVICE_UNKNOWN)
            if status != told:
                yield HealthCheckResponse(status=status)
                told = status
            elif self._draining:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
            else:
                await changed.wait()

    def _wake_watchers(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _service(request: HealthCheckRequest | Undecodable, context: "grpc.aio.ServicerContext[Any, Any]") -> str:
    if isinstance(request, Undecodable):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is no protobuf message of its type")
    return request.service
