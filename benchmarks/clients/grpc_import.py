"""Imports beers in one stream, for so long or so many of them.

    python -m benchmarks.clients.grpc_import ADDRESS (SECONDS | COUNTbeers)

The chunks are encoded before the clock starts. Prints one line of JSON: how many were sent, and how many were added a
second, from the first chunk to the answer; an import of two chunks before, if it is for so long, counts as sent alone.
A beer that is not added ends it.
"""

import json
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import grpc

from benchmarks import payload
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1

CHUNK = 1000
WARM_UP = 2000


class Chunks:
    """The chunks of an import, endless unless the time or the number is up."""

    def __init__(self, *, seconds: float | None, beers: int | None) -> None:
        self._seconds = seconds
        self._beers = beers
        self.sent = 0
        beer = v1.AddBeerRequest(**payload.BEER)
        self._first = v1.ImportBeersRequest(import_id=uuid.uuid4().hex, beers=[beer] * CHUNK).SerializeToString()
        self._next = v1.ImportBeersRequest(beers=[beer] * CHUNK).SerializeToString()

    def __iter__(self) -> Iterator[bytes]:
        started = time.perf_counter()
        while self._goes_on(time.perf_counter() - started):
            chunk = self._next if self.sent else self._first
            self.sent += CHUNK
            yield chunk

    def _goes_on(self, elapsed: float) -> bool:
        if self._beers is not None:
            return self.sent < self._beers
        return self._seconds is None or elapsed < self._seconds


def main(address: str, extent: str) -> None:
    """Import, and tell."""
    by_number = extent.endswith("beers")
    chunks = Chunks(
        seconds=None if by_number else float(extent), beers=int(extent.removesuffix("beers")) if by_number else None
    )
    warming_up = Chunks(seconds=None, beers=WARM_UP)
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
        send: Any = channel.stream_unary(f"{payload.SERVICE}/ImportBeers")
        if not by_number:
            send(iter(warming_up), timeout=60)
        started = time.perf_counter()
        response = v1.ImportBeersResponse.FromString(send(iter(chunks), timeout=3600))
        seconds = time.perf_counter() - started
    if response.added != chunks.sent:
        sys.exit(f"{chunks.sent} beers were sent, {response.added} added and {response.refused} refused")
    print(json.dumps({"sent": chunks.sent + warming_up.sent, "rate": response.added / seconds}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
