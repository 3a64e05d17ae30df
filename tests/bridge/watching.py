"""A client that watches, of a bridge with a scripted service behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from tests.bridge.running_bridge import RunningBridge, running_bridge
from tests.bridge.scripted_service import ScriptedService, scripted_service

PATIENCE = 15
"""Seconds after which a test gives up."""

Responses = list[v1.WatchBeersResponse]


class Watching:
    """A client that watches.

    Attributes:
        responses: What came so far.
    """

    def __init__(self, running: RunningBridge, **request: Any) -> None:
        self.responses: Responses = []
        self._call = running.beers.WatchBeers(v1.WatchBeersRequest(**request))

    @property
    def positions(self) -> list[int]:
        return [event.position for response in self.responses for event in response.events.events]

    @property
    def kinds(self) -> list[str | None]:
        return [response.WhichOneof("response") for response in self.responses]

    async def until(self, position: int) -> None:
        """Read until the event at *position* came."""
        async with asyncio.timeout(PATIENCE):
            while position not in self.positions:
                await self._read()

    async def until_kind(self, kind: str) -> v1.WatchBeersResponse:
        """Read until a response of this *kind* comes, and return it."""
        async with asyncio.timeout(PATIENCE):
            while await self._read() != kind:
                pass
        return self.responses[-1]

    async def end(self) -> grpc.aio.AioRpcError:
        """Read until the stream ends, and return its error."""
        async with asyncio.timeout(PATIENCE):
            try:
                while True:
                    await self._read()
            except grpc.aio.AioRpcError as error:
                return error

    def cancel(self) -> None:
        self._call.cancel()

    async def _read(self) -> str | None:
        response = await self._call.read()
        assert isinstance(response, v1.WatchBeersResponse), "the stream ended without a status"
        self.responses.append(response)
        return response.WhichOneof("response")


@asynccontextmanager
async def watched(uri: str, **changes: Any) -> AsyncIterator[tuple[ScriptedService, RunningBridge]]:
    async with scripted_service(uri) as service, running_bridge(uri, **changes) as running:
        yield service, running
