"""What watchers cost, and what they do to each other.

    python -m benchmarks.watching stalled [--events N]     one that does not read, among others that do
    python -m benchmarks.watching idle [--watchers N]      many of them, then events for all

Starts `beers up` in a temporary folder on a free port, and prints one JSON document. Memory is the resident set of the
bridge (VmRSS, which Linux alone tells), in MiB; lag is from an event's commit to its arrival at a watcher.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC
from pathlib import Path
from statistics import quantiles
from typing import Any

import grpc
import uvloop

from beers_cli import processes
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc
from tests.e2e.running import Product

BATCH = 500
CHANNELS = 20
READERS = 3
FANNED_OUT = 2000
PATIENCE = 600.0


class Reader:
    """A watcher that reads, and notes how late it learns of each event."""

    def __init__(self, stub: "v1_grpc.BeersServiceAsyncStub") -> None:
        self.lags: list[float] = []
        self._call = stub.WatchBeers(v1.WatchBeersRequest())

    async def started(self) -> None:
        """Wait until it follows."""
        await self._call.read()

    async def until(self, position: int) -> None:
        """Read on to *position*."""
        async for response in responses(self._call):
            now = time.time()
            events = response.events.events
            self.lags += [now - event.time.ToDatetime(tzinfo=UTC).timestamp() for event in events]
            if events and events[-1].position >= position:
                return

    def figures(self) -> dict[str, float]:
        """Return how late it learned of the events, in milliseconds."""
        cuts = quantiles(self.lags, n=100)
        found = {"p50": cuts[49], "p99": cuts[98], "max": max(self.lags)}
        return {name: round(seconds * 1000, 1) for name, seconds in found.items()}


async def stalled(product: Product, events: int) -> dict[str, Any]:
    """Have *events* happen while one watcher does not read."""
    async with grpc.aio.insecure_channel(product.environment["BEERS_ADDRESS"]) as channel:
        stub: v1_grpc.BeersServiceAsyncStub = v1_grpc.BeersServiceStub(channel)
        # The reading watchers, the ring and the libraries have taken what they take before memory is measured.
        readers = [Reader(stub) for _ in range(READERS)]
        for reader in readers:
            await reader.started()
        await asyncio.gather(happen(stub, 10_000), *(reader.until(10_000) for reader in readers))
        for reader in readers:
            reader.lags.clear()
        before = memory(product)
        async with grpc.aio.insecure_channel(product.environment["BEERS_ADDRESS"], [("stalled", 1)]) as own:
            stalling = v1_grpc.BeersServiceStub(own).WatchBeers(v1.WatchBeersRequest(from_beginning=True))
            await stalling.read()
            started = time.monotonic()
            await asyncio.gather(happen(stub, events), *(reader.until(10_000 + events) for reader in readers))
            seconds = time.monotonic() - started
            after = memory(product)
            code = await end(stalling)
    return {
        "events": events,
        "events_per_second": round(events / seconds),
        "bridge_mib_before": before,
        "bridge_mib_after": after,
        "grown_mib": round(after - before, 1),
        "stalled_watcher_ended_with": code,
        "lag_of_the_others_ms": [reader.figures() for reader in readers],
    }


async def idle(product: Product, watchers: int) -> dict[str, Any]:
    """Open *watchers* streams, then have events happen."""
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(
                # An option of its own keeps each from sharing the connection of the others.
                grpc.aio.insecure_channel(product.environment["BEERS_ADDRESS"], [("channel", number)])
            )
            for number in range(CHANNELS)
        ]
        stub: v1_grpc.BeersServiceAsyncStub = v1_grpc.BeersServiceStub(channels[0])
        first = Reader(stub)
        await first.started()
        before = memory(product)
        # Bytes: what is measured is the bridge, and not how fast this program decodes.
        streams: list[Any] = []
        for number in range(watchers):
            method: Any = channels[number % CHANNELS].unary_stream("/beers.v1.BeersService/WatchBeers")
            streams.append(method(b""))
        await asyncio.gather(*(stream.read() for stream in streams))
        opened = memory(product)
        started = time.monotonic()
        everyone = asyncio.gather(*(received(stream, FANNED_OUT) for stream in streams))
        await asyncio.gather(happen(stub, FANNED_OUT), first.until(FANNED_OUT))
        messages = sum(await everyone)
        seconds = time.monotonic() - started
        figures = {
            "watchers": watchers,
            "bridge_mib_before": before,
            "bridge_mib_with_idle_watchers": opened,
            "kib_per_watcher": round((opened - before) * 1024 / watchers, 1),
            "events": FANNED_OUT,
            "delivered_per_second": round(FANNED_OUT * watchers / seconds),
            "messages_per_watcher": round(messages / watchers, 1),
            "lag_of_one_ms": first.figures(),
            "bridge_mib_after": memory(product),
        }
        for stream in streams:
            stream.cancel()
        return figures


async def responses(stream: Any) -> AsyncIterator[Any]:
    """Yield what comes from a stream of which something was read already, to its end."""
    while (response := await stream.read()) is not grpc.aio.EOF:
        yield response


async def received(stream: Any, position: int) -> int:
    """Read to *position*; return in how many messages it came."""
    last = f":{position}".encode()
    messages = 0
    async for message in responses(stream):
        messages += 1
        if message.endswith(last):  # the resume token is the last field
            break
    return messages


async def happen(stub: "v1_grpc.BeersServiceAsyncStub", events: int) -> None:
    """Add beers until that many events have happened."""
    for start in range(0, events, BATCH):
        beers = [
            v1.NewBeer(name=f"Beer {number}", brewery="Brewery", style="Style", abv=5, description="As beer is. " * 8)
            for number in range(start, min(start + BATCH, events))
        ]
        await stub.BatchAddBeers(v1.BatchAddBeersRequest(beers=beers), timeout=60)


async def end(stream: Any) -> str:
    """Read a stream to its end, and return how that was."""
    try:
        async with asyncio.timeout(60):
            async for _ in responses(stream):
                pass
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


def memory(product: Product) -> float:
    """Return the bridge's resident set, in MiB."""
    trace = processes.Trace.read(product.data / "bridge.pid")
    if trace is None:
        raise LookupError("the bridge does not run")
    status = Path(f"/proc/{trace.pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return round(int(line.split()[1]) / 1024, 1)


def main() -> int:
    """Run one of the two; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watching", allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("stalled").add_argument("--events", type=int, default=200_000, metavar="N")
    actions.add_parser("idle").add_argument("--watchers", type=int, default=1000, metavar="N")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="beers-watching-") as folder:
        product = Product(Path(folder))
        product.start()
        try:
            work = stalled(product, options.events) if options.action == "stalled" else idle(product, options.watchers)
            figures = uvloop.run(asyncio.wait_for(work, PATIENCE))
        finally:
            product.stop()
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
