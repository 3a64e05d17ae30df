"""A bridge in the test's own event loop, and a client of each of its contracts."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpc_bridge.availability import Absence, Patience
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc
from grpc_bridge.proto.pb import beers_pb2_grpc as pb_grpc
from grpc_bridge.server import Bridge
from grpc_bridge.settings import Settings

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

QUICK = Patience(silence=0.6, service=0.3, broker=2.0, reunion=0.3)
"""So that tests need not wait as long as people can."""


@dataclass(frozen=True)
class RunningBridge:
    bridge: Bridge
    target: str
    channel: grpc.aio.Channel
    lines: list[Any]

    @property
    def beers(self) -> "v1_grpc.BeersServiceAsyncStub":
        return v1_grpc.BeersServiceStub(self.channel)

    @property
    def seed(self) -> "pb_grpc.BeersAsyncStub":
        return pb_grpc.BeersStub(self.channel)

    @property
    def health(self) -> Any:
        return health_pb2_grpc.HealthStub(self.channel)

    async def check(self, service: str = "") -> int:
        response = await self.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=1)
        return int(response.status)

    async def until(self, absence: Absence | None, *, refusing: bool = False, timeout: float = 10) -> None:  # noqa: ASYNC109
        """Wait until the bridge knows that this is missing, and until it refuses calls if that is asked for."""
        availability = self.bridge.availability
        reached = asyncio.Event()

        def look() -> None:
            if availability.absence is absence and availability.refusing is refusing:
                reached.set()

        availability.on_change(look)
        look()
        async with asyncio.timeout(timeout):
            await reached.wait()

    async def until_logged(self, event: str, patience: float = 10) -> Any:
        """Wait until the bridge has logged that *event*, and return its first line."""
        async with asyncio.timeout(patience):
            while True:
                for line in self.lines:
                    if line["event"] == event:
                        return line
                await asyncio.sleep(0.01)

    def calls_logged(self) -> list[Any]:
        return [line for line in self.lines if line["event"] == "call"]


@asynccontextmanager
async def running_bridge(
    uri: str, patience: Patience = QUICK, *, wait: bool = True, **changes: Any
) -> AsyncIterator[RunningBridge]:
    """Start a bridge, wait until it serves unless told otherwise, and stop it afterwards."""
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    lines = structlog.testing.LogCapture()
    logger = structlog.wrap_logger(
        structlog.PrintLogger(),
        processors=[lines],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    )
    chosen = {"port": 0, "grace": 2.0, "probe_interval": 0.1, "broker_patience": 1.0} | changes
    bridge = Bridge(Settings(amqp_uri=uri, **chosen), logger, patience)
    await bridge.start()
    target = f"127.0.0.1:{bridge.port}"
    async with grpc.aio.insecure_channel(target, options=[("grpc.enable_retries", 0)]) as channel:
        running = RunningBridge(bridge, target, channel, lines.entries)
        try:
            if wait:
                await running.until(None)
            yield running
        finally:
            await bridge.stop()


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    """Return the error that the *call* ends with."""
    try:
        response = await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"it was answered: {response}")


def trailers(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    return dict(error.trailing_metadata() or ())


def details(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """Return the google.rpc details of *error* by the name of their type."""
    status = Status.FromString(trailers(error)["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    found: dict[str, Any] = {}
    for packed in status.details:
        name = packed.type_url.rpartition(".")[2]
        detail = getattr(error_details_pb2, name)()
        packed.Unpack(detail)
        found[name] = detail
    return found
