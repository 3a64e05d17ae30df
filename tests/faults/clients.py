"""Clients of the gRPC API in a process of their own: watchers that resume, and a source of commands.

    python -m tests.faults.clients watch ADDRESS --until POSITION --after POSITION…
    python -m tests.faults.clients command ADDRESS --number N --label NAME

Each prints one JSON document in the end. Neither gives up while the server is away.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc
import uvloop

from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc

CONCURRENT = 32
PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNKNOWN,  # a stream that was cut off
)
OPTIONS = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 50)]


@dataclass
class Watched:
    """What one watcher saw: where it began, how many events, the first that was not the next one, how it went."""

    after: int
    events: int = 0
    last: int = 0
    out_of_order: list[int] = field(default_factory=list)
    caught_up: int = 0
    ended_with: list[str] = field(default_factory=list)


async def watch(stub: "v1_grpc.BeersServiceAsyncStub", after: int, until: int) -> Watched:
    """Watch from behind *after* until the event at *until*, and resume as often as it takes."""
    seen = Watched(after, last=after)
    start: dict[str, Any] = {"after_position": after}
    while seen.last < until:
        try:
            async for response in stub.WatchBeers(v1.WatchBeersRequest(**start)):
                for event in response.events.events:
                    seen.events += 1
                    if event.position != seen.last + 1:
                        seen.out_of_order.append(event.position)
                    seen.last = event.position
                seen.caught_up += response.HasField("caught_up")
                start = {"resume_token": response.resume_token}
                if seen.last >= until:
                    break
        except grpc.aio.AioRpcError as error:
            seen.ended_with.append(error.code().name)
            if error.code() not in PASSING:
                raise
            await asyncio.sleep(0.05)
    return seen


async def command(stub: "v1_grpc.BeersServiceAsyncStub", number: int, label: str) -> dict[str, int]:
    """Carry out *number* commands, each of which is one event: beers are added and renamed in turn."""
    numbers = iter(range(number))
    tried = 0

    async def until_answered(method: Any, request: Any) -> Any:
        nonlocal tried
        while True:
            tried += 1
            try:
                return await method(request, timeout=10)
            except grpc.aio.AioRpcError as error:
                if error.code() not in PASSING:
                    raise
                await asyncio.sleep(0.05)

    async def worker(remaining: Iterator[int]) -> None:
        beer_id = 0
        for count in remaining:
            request_id = f"{label}-{count}"
            if beer_id:
                renaming = v1.RenameBeerRequest(beer_id=beer_id, name=f"Renamed {count}", request_id=request_id)
                await until_answered(stub.RenameBeer, renaming)
                beer_id = 0
            else:
                adding = v1.AddBeerRequest(name=f"Beer {count}", request_id=request_id)
                beer_id = (await until_answered(stub.AddBeer, adding)).beer.id

    async with asyncio.TaskGroup() as workers:
        for _ in range(CONCURRENT):
            workers.create_task(worker(numbers))
    return {"commands": number, "tried": tried}


async def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True)
    watching = actions.add_parser("watch")
    watching.add_argument("address")
    watching.add_argument("--until", type=int, required=True)
    watching.add_argument("--after", type=int, nargs="+", required=True)
    commanding = actions.add_parser("command")
    commanding.add_argument("address")
    commanding.add_argument("--number", type=int, required=True)
    commanding.add_argument("--label", required=True, help="what the request ids begin with")
    options = parser.parse_args()
    async with grpc.aio.insecure_channel(options.address, options=OPTIONS) as channel:
        stub: v1_grpc.BeersServiceAsyncStub = v1_grpc.BeersServiceStub(channel)
        if options.action == "watch":
            seen = await asyncio.gather(*(watch(stub, after, options.until) for after in options.after))
            sys.stdout.write(json.dumps([asdict(one) for one in seen]))
        else:
            sys.stdout.write(json.dumps(await command(stub, options.number, options.label)))


if __name__ == "__main__":
    uvloop.run(main())
