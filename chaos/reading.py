"""Reads the catalogue back through gRPC, and sends commands of the run once more.

    python -m chaos.reading --replays FILE --serving-within SECONDS ADDRESS…

The file holds calls of the history.

Standard output holds one JSON document: the beers, the answers to what was sent again, what a new watcher is told, and
after how many seconds each bridge was serving.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc

from beers_cli.health import wait_until_serving
from chaos.asking import OPTIONS, code_of, method_of, request_of, seen_in
from chaos.history import Call, read
from chaos.verdict import Beer, Replay, Told
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc

TIMEOUT = 30.0
"""Seconds that one call may take."""

_PAGE = 1000


def beers(stub: "v1_grpc.BeersServiceStub") -> Iterator[Beer]:
    """Yield every beer of the read model."""
    token = ""
    while True:
        request = v1.ListBeersRequest(page_size=_PAGE, page_token=token, show_removed=True)
        page = stub.ListBeers(request, timeout=TIMEOUT)
        for beer in page.beers:
            yield Beer(
                id=beer.id,
                name=beer.name,
                brewery=beer.brewery,
                abv=beer.abv if beer.HasField("abv") else None,
                version=beer.version,
                removed=beer.HasField("removed_at"),
            )
        token = page.next_page_token
        if not token:
            return


def replay(stub: "v1_grpc.BeersServiceStub", call: Call) -> Replay:
    """Send *call* once more."""
    method: Any = getattr(stub, method_of(call))
    try:
        answer = method(request_of(call), timeout=TIMEOUT)
    except grpc.RpcError as error:
        return Replay(call.request_id, code_of(error), ())
    return Replay(call.request_id, "OK", tuple(seen_in(answer)))


def told(stub: "v1_grpc.BeersServiceStub") -> list[Told]:
    """Return what a new watcher is told until it has caught up."""
    found: list[Told] = []
    stream = stub.WatchBeers(v1.WatchBeersRequest(from_beginning=True), timeout=TIMEOUT * 4)
    for response in stream:
        found += [(event.position, event.request_id) for event in response.events.events]
        if response.HasField("caught_up"):
            stream.cancel()
            break
    return found


def main() -> int:
    """Read everything; the status is 1 if a bridge does not serve in time."""
    parser = argparse.ArgumentParser(prog="python -m chaos.reading", allow_abbrev=False)
    parser.add_argument("addresses", nargs="+", metavar="ADDRESS")
    parser.add_argument("--replays", type=Path, required=True, metavar="FILE")
    parser.add_argument("--serving-within", type=float, required=True, metavar="SECONDS")
    options = parser.parse_args()
    began = time.monotonic()
    channels = [grpc.insecure_channel(address, OPTIONS) for address in options.addresses]
    for address, channel in zip(options.addresses, channels, strict=True):
        if not wait_until_serving(channel, options.serving_within):
            sys.stderr.write(f"the bridge at {address} did not serve within {options.serving_within:g} s\n")
            return 1
    serving = time.monotonic() - began
    stub = v1_grpc.BeersServiceStub(channels[0])
    document = {
        "serving": round(serving, 3),
        "beers": [asdict(beer) for beer in beers(stub)],
        "replays": [asdict(replay(stub, call)) for call in read(options.replays)],
        "told": told(stub),
    }
    sys.stdout.write(json.dumps(document))
    for channel in channels:
        channel.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
