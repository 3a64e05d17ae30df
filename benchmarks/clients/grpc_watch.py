"""Watches the catalogue: many watchers of what happens, or one of what has happened.

    python -m benchmarks.clients.grpc_watch ADDRESS live WATCHERS WARM-UP SECONDS
    python -m benchmarks.clients.grpc_watch ADDRESS past AFTER UP-TO

`live` has beers added, in batches of a hundred, with no more than a thousand events on their way to the slowest
watcher, and tells how many events a second all the watchers have got together. `past` reads a part of the log twice,
and tells how many events a second that were the second time: the first time they may come from the disk. Prints one
line of JSON. A watcher whose stream ends, or stands still, ends it.
"""

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

import grpc
import uvloop

from benchmarks import payload
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc

BATCH = 100
ON_THEIR_WAY = 1000
CHANNELS = 8
PATIENCE = 60.0


class Watcher:
    """One stream, read as bytes: what is measured is the server, and not how fast this program decodes.

    The place behind the last event is that of the resume token, which is the last field of every response.
    """

    def __init__(self, channel: grpc.aio.Channel, request: v1.WatchBeersRequest) -> None:
        method: Any = channel.unary_stream(f"{payload.SERVICE}/WatchBeers")
        self._call = method(request.SerializeToString())
        self._moved = asyncio.Event()
        self.position = -1

    async def follow(self) -> None:
        """Read on and on."""
        while True:
            message = await self._call.read()
            if message is grpc.aio.EOF:
                raise RuntimeError("a watch has ended")
            self.position = int(message[message.rindex(b":") + 1 :])
            self._moved.set()

    async def reach(self, position: int) -> None:
        """Wait until it has come to *position*."""
        async with asyncio.timeout(PATIENCE):
            while self.position < position:
                self._moved.clear()
                await self._moved.wait()

    def cancel(self) -> None:
        """End the stream."""
        self._call.cancel()


class Production:
    """Has beers added in batches, and waits for the watchers."""

    def __init__(self, stub: Any, watchers: list[Watcher]) -> None:
        self._stub = stub
        self._watchers = watchers
        self.position = 0

    async def run(self, seconds: float) -> float:
        """Add beers for *seconds*; return how long it took until every watcher had every event."""
        beers = [v1.NewBeer(**payload.BEER)] * BATCH
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            await self._stub.BatchAddBeers(v1.BatchAddBeersRequest(beers=beers), timeout=PATIENCE)
            self.position += BATCH
            await self.catch_up(self.position - ON_THEIR_WAY)
        await self.catch_up(self.position)
        return time.perf_counter() - started

    async def catch_up(self, position: int) -> None:
        """Wait until every watcher has come to *position*."""
        for watcher in self._watchers:
            await watcher.reach(position)


async def live(address: str, watchers: int, warm_up: float, seconds: float) -> dict[str, Any]:
    """Watch what happens."""
    async with AsyncExitStack() as stack:
        # An option of its own keeps each from sharing the connection of the others.
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(address, [("channel", number)]))
            for number in range(min(CHANNELS, watchers))
        ]
        watching = [Watcher(channels[number % len(channels)], v1.WatchBeersRequest()) for number in range(watchers)]
        async with asyncio.TaskGroup() as group:
            reading = [group.create_task(watcher.follow()) for watcher in watching]
            # Each is told at once where it stands.
            production = Production(v1_grpc.BeersServiceStub(channels[0]), watching)
            await production.catch_up(0)
            production.position = watching[0].position
            await production.run(warm_up)
            before = production.position
            elapsed = await production.run(seconds)
            for task in reading:
                task.cancel()
        for watcher in watching:
            watcher.cancel()
    events = production.position - before
    return {"events": events, "rate": events * watchers / elapsed}


async def past(address: str, after: int, up_to: int) -> dict[str, Any]:
    """Watch what has happened."""
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
        await catch_up(channel, after, up_to)
        elapsed = await catch_up(channel, after, up_to)
    return {"events": up_to - after, "rate": (up_to - after) / elapsed}


async def catch_up(channel: grpc.aio.Channel, after: int, up_to: int) -> float:
    """Watch from behind the position *after* on; return how long it took to come to *up_to*."""
    started = time.perf_counter()
    watcher = Watcher(channel, v1.WatchBeersRequest(after_position=after))
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(watcher.follow())
        await watcher.reach(up_to)
        elapsed = time.perf_counter() - started
        reading.cancel()
    watcher.cancel()
    return elapsed


def main(address: str, manner: str, *numbers: str) -> None:
    """Watch, and tell."""
    if manner == "live":
        done = live(address, int(numbers[0]), float(numbers[1]), float(numbers[2]))
    else:
        done = past(address, int(numbers[0]), int(numbers[1]))
    print(json.dumps(uvloop.run(done)))


if __name__ == "__main__":
    main(*sys.argv[1:])
