"""Watchers that begin at the beginning and resume by their token whenever their stream ends.

    python -m chaos.watching --watchers N ADDRESS…

Standard input tells the position at which to end; standard output then holds, for each watcher, everything that it was
told, and how its streams ended. A watcher turns to the next bridge each time.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import grpc
import uvloop

from chaos.asking import OPTIONS, code_of
from chaos.verdict import Told
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc

PAUSE = 0.1
"""Seconds before a watcher resumes."""

PASSING = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNKNOWN", "INTERNAL (of the connection)")


class Watcher:
    """One watcher.

    Attributes:
        told: What it was told.
        ends: How often its streams ended with each status.
    """

    def __init__(self, stubs: Sequence[Any], number: int) -> None:
        self._stubs = stubs
        self._bridge = number
        self._start: dict[str, Any] = {"from_beginning": True}
        self._come = asyncio.Condition()
        self.told: list[Told] = []
        self.ends: Counter[str] = Counter()

    async def watch(self) -> None:
        """Watch for ever; raises what no watcher has to bear."""
        while True:
            stub = self._stubs[self._bridge % len(self._stubs)]
            try:
                async for response in stub.WatchBeers(v1.WatchBeersRequest(**self._start)):
                    self.told += [(event.position, event.request_id) for event in response.events.events]
                    self._start = {"resume_token": response.resume_token}
                    async with self._come:
                        self._come.notify_all()
                self.ends["OK"] += 1
            except grpc.aio.AioRpcError as error:
                code = code_of(error)
                self.ends[code] += 1
                if code not in PASSING:
                    raise
            self._bridge += 1
            await asyncio.sleep(PAUSE)

    async def reached(self, position: int) -> None:
        """Wait until it was told of the event at *position*."""
        async with self._come:
            await self._come.wait_for(lambda: (self.told[-1][0] if self.told else 0) >= position)


async def main() -> int:
    """Run the watchers; the status is 1 if one of them was refused for good."""
    parser = argparse.ArgumentParser(prog="python -m chaos.watching", allow_abbrev=False)
    parser.add_argument("addresses", nargs="+", metavar="ADDRESS")
    parser.add_argument("--watchers", type=int, required=True)
    parser.add_argument("--patience", type=float, required=True, metavar="SECONDS", help="to come to the end")
    options = parser.parse_args()
    channels = [
        [grpc.aio.insecure_channel(address, [*OPTIONS, ("watcher", number)]) for address in options.addresses]
        for number in range(options.watchers)
    ]
    watchers = [
        Watcher([v1_grpc.BeersServiceStub(channel) for channel in own], number) for number, own in enumerate(channels)
    ]
    tasks = [asyncio.create_task(watcher.watch()) for watcher in watchers]
    end = await _read_end()
    # Whoever does not come so far is judged by what he was told.
    await asyncio.wait([asyncio.create_task(watcher.reached(end)) for watcher in watchers], timeout=options.patience)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for channel in (channel for own in channels for channel in own):
        await channel.close()
    sys.stdout.write(json.dumps([{"told": watcher.told, "ends": watcher.ends} for watcher in watchers]))
    failures = [result for result in results if not isinstance(result, asyncio.CancelledError)]
    for failure in failures:
        sys.stderr.write(f"a watcher ended with {failure!r}\n")
    return 1 if failures else 0


async def _read_end() -> int:
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    return int(await lines.readline() or 0)


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
