"""Callers that measure: each call from when it was due, so that one that is slow hides none behind it.

    python -m chaos.calling --callers N --deadline SECONDS --samples FILE ADDRESS…    each as soon as it is answered
    python -m chaos.calling --rate N …                                                so many a second, whatever comes

Half of the calls add a beer, half read one; with --beers N all of them look for a text in vain among so many. A caller
that fails pauses before its next call. Every bridge is asked for its health besides. Standard input tells ``stop``.
The file holds a `Sample` a line.
"""

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import grpc
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chaos.promises import ADD, GET, HEALTH, IN_VAIN, Sample
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc

HEALTH_EVERY = 0.1
"""Seconds between two questions for the health of a bridge."""

HEALTH_PATIENCE = 5.0

_AT_ONCE = 1000

PAUSE = 1.0
"""Seconds that a caller waits after a failure: as long as RetryInfo says where a part is away."""

_CHANNEL = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
]


class Calling:
    """What the callers share."""

    def __init__(self, options: argparse.Namespace, samples: IO[str]) -> None:
        self._options = options
        self._samples = samples
        self._number = 0
        self.stopping = asyncio.Event()

    def stub(self) -> "v1_grpc.BeersServiceAsyncStub":
        """Return a client of all bridges, of the kind that was asked for."""
        retries: tuple[str, Any] = ("grpc.enable_retries", 0)
        if self._options.policy:
            retries = ("grpc.service_config", files("grpc_bridge").joinpath("service_config.json").read_text())
        target = "ipv4:" + ",".join(self._options.addresses)
        return v1_grpc.BeersServiceStub(grpc.aio.insecure_channel(target, [*_CHANNEL, retries]))

    async def closed(self, stub: "v1_grpc.BeersServiceAsyncStub") -> None:
        """Call again and again."""
        while not self.stopping.is_set():
            if not await self._call(stub, time.monotonic()):
                await asyncio.sleep(PAUSE)

    async def open(self, stub: "v1_grpc.BeersServiceAsyncStub") -> None:
        """Call at the given rate, whatever becomes of the calls."""
        began, number = time.monotonic(), 0
        async with asyncio.TaskGroup() as calls:
            while not self.stopping.is_set():
                due = began + number / self._options.rate
                if (early := due - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                calls.create_task(self._call(stub, due))
                number += 1

    async def health(self, address: str) -> None:
        """Ask for the health of a bridge."""
        async with grpc.aio.insecure_channel(address, [*_CHANNEL, ("grpc.enable_retries", 0)]) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            due = time.monotonic()
            while not self.stopping.is_set():
                try:
                    response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_PATIENCE)
                    code = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
                except grpc.aio.AioRpcError as error:
                    code = str(error.code().name)
                self._write(Sample(HEALTH, address, due, time.monotonic(), code))
                due = max(due + HEALTH_EVERY, time.monotonic())
                await asyncio.sleep(due - time.monotonic())

    async def _call(self, stub: "v1_grpc.BeersServiceAsyncStub", due: float) -> bool:
        self._number += 1
        request_id = f"calling-{self._options.seed}-{self._number}"
        kind = GET if self._options.beers or self._number % 2 else ADD
        code, said = "OK", ""
        try:
            if self._options.beers:
                await stub.ListBeers(v1.ListBeersRequest(query=IN_VAIN), timeout=self._options.deadline)
            elif kind == ADD:
                await stub.AddBeer(
                    v1.AddBeerRequest(name=f"Beer {self._number}", abv=5, request_id=request_id),
                    timeout=self._options.deadline,
                )
            else:
                await stub.GetBeer(v1.GetBeerRequest(beer_id=1), timeout=self._options.deadline)
        except grpc.aio.AioRpcError as error:
            code, said = str(error.code().name), str(error.details())
        self._write(Sample(kind, request_id, due, time.monotonic(), code, said))
        return code == "OK"

    def _write(self, sample: Sample) -> None:
        self._samples.write(json.dumps(asdict(sample)) + "\n")


async def main() -> int:
    """Call until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m chaos.calling", allow_abbrev=False)
    parser.add_argument("addresses", nargs="+", metavar="ADDRESS")
    parser.add_argument("--callers", type=int, default=0, metavar="N")
    parser.add_argument("--rate", type=float, default=0.0, metavar="N")
    parser.add_argument("--beers", type=int, default=0, metavar="N")
    parser.add_argument("--channels", type=int, default=8, metavar="N")
    parser.add_argument("--deadline", type=float, required=True, metavar="SECONDS")
    parser.add_argument("--policy", action="store_true")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--samples", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    with options.samples.open("w", encoding="utf-8", buffering=1) as samples:
        calling = Calling(options, samples)
        stubs = [calling.stub() for _ in range(options.channels)]
        first: Any = stubs[0]
        for start in range(0, max(1, options.beers), _AT_ONCE):
            number = min(_AT_ONCE, max(1, options.beers) - start)
            beers = [v1.NewBeer(name=f"Beer {start + index}", brewery="Brewery", abv=5) for index in range(number)]
            many = v1.BatchAddBeersRequest(beers=beers, request_id=f"calling-{start}")
            await first.BatchAddBeers(many, timeout=60, wait_for_ready=True)
        async with asyncio.TaskGroup() as group:
            for address in options.addresses:
                group.create_task(calling.health(address))
            for number in range(options.callers):
                group.create_task(calling.closed(stubs[number % len(stubs)]))
            if options.rate:
                group.create_task(calling.open(stubs[0]))
            await _told_to_stop()
            calling.stopping.set()
    return 0


async def _told_to_stop() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    await lines.readline()


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
