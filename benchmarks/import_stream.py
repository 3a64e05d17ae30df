"""Imports beers through the whole product on SQLite, kills the client half-way, sends the import again, and counts.

    python benchmarks/import_stream.py [--beers N]

Starts `beers up` in a temporary folder on a free port, and prints one JSON document: how fast beers were added and
recognised, how much memory the bridge and the service took at most (VmHWM, which Linux alone tells), how far behind the
relay was, and what the store holds in the end. The exit status is 1 unless the store holds each beer exactly once.
"""

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc

from beers_cli import processes
from grpc_bridge.proto.beers.v1 import beers_pb2, beers_pb2_grpc
from tests.e2e.running import Product

CHUNK = 1000
LOOK_EVERY = 0.2  # seconds between two looks at what the store holds
RELAY_PATIENCE = 600.0


def main() -> int:
    """Run the benchmark, or the client that it starts; return the exit status."""
    parser = argparse.ArgumentParser(prog="import_stream.py", allow_abbrev=False)
    parser.add_argument("--beers", type=int, default=100_000, metavar="N", help="how many (default: 100000)")
    parser.add_argument("--client", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        print(json.dumps(send(options.client, options.beers)))
        return 0
    with tempfile.TemporaryDirectory(prefix="beers-import-") as folder:
        product = Product(Path(folder))
        product.start()
        try:
            figures = measure(product, options.beers)
        finally:
            product.stop()
    print(json.dumps(figures, indent=2))
    return 0 if figures["exact"] else 1


def measure(product: Product, beers: int) -> dict[str, Any]:
    """Import *beers* through *product*: half of them, then all."""
    memory_before = peaks(product)
    killed = send_half(product, beers)
    started = time.monotonic()
    done = subprocess.run(client(product, beers), env=product.environment, capture_output=True, text=True, check=True)
    seconds = time.monotonic() - started
    resent = json.loads(done.stdout)
    relay = follow_relay(product)
    store = counted(product)
    return {
        "beers": beers,
        "until_killed": killed,
        "sent_again": resent | {"seconds": round(seconds, 2), "beers_per_second": round(beers / seconds)},
        "relay": relay,
        "peak_rss_mib_before": memory_before,
        "peak_rss_mib": peaks(product),
        "store": store,
        "exact": set(store.values()) == {beers} and resent["added"] + resent["already_added"] == beers,
    }


def send_half(product: Product, beers: int) -> dict[str, Any]:
    """Send all, and kill the client once half of it is in the store."""
    with subprocess.Popen(client(product, beers), env=product.environment, stdout=subprocess.DEVNULL) as process:
        while not head(product):  # the clock starts when the client does, and not Python
            time.sleep(0.01)
        started, first = time.monotonic(), head(product)
        while (stored := head(product)) < beers // 2 and process.poll() is None:
            time.sleep(LOOK_EVERY)
        seconds = time.monotonic() - started
        process.kill()
    return {"stored": stored, "seconds": round(seconds, 2), "added_per_second": round((stored - first) / seconds)}


def client(product: Product, beers: int) -> list[str]:
    """Return the command that runs the client."""
    return [sys.executable, __file__, "--client", product.environment["BEERS_ADDRESS"], "--beers", str(beers)]


def send(address: str, beers: int) -> dict[str, int]:
    """Import that many beers, in one stream; return the counts of the response."""
    with grpc.insecure_channel(address) as channel:
        response = beers_pb2_grpc.BeersServiceStub(channel).ImportBeers(chunks(beers))
    return {"added": response.added, "already_added": response.already_added, "refused": response.refused}


def chunks(beers: int) -> Iterator[beers_pb2.ImportBeersRequest]:
    """Yield the beers as they are always the same: those of a catalogue, with 200 bytes or so each."""
    for start in range(0, beers, CHUNK):
        yield beers_pb2.ImportBeersRequest(
            import_id="benchmark",
            beers=[
                beers_pb2.AddBeerRequest(
                    name=f"Beer number {number}",
                    brewery=f"Brewery {number % 1400}",
                    style=f"Style {number % 140}",
                    abv=number % 120 / 10,
                    ibu=number % 100,
                    description=f"A beer such as number {number - 1}, yet better. " * 3,
                )
                for number in range(start, min(start + CHUNK, beers))
            ],
        )


def head(product: Product) -> int:
    """Return the position of the last event in the store."""
    return query(product, "SELECT position FROM log_head")


def follow_relay(product: Product) -> dict[str, Any]:
    """Wait until the bus has every event; return how many it lacked, and how long that took."""
    behind = query(product, "SELECT log_head.position - relay.position FROM log_head, relay")
    started = time.monotonic()
    while query(product, "SELECT log_head.position - relay.position FROM log_head, relay"):
        if time.monotonic() - started > RELAY_PATIENCE:
            raise TimeoutError("the relay does not catch up")
        time.sleep(LOOK_EVERY)
    return {"behind": behind, "seconds_to_catch_up": round(time.monotonic() - started, 2)}


def counted(product: Product) -> dict[str, int]:
    """Return what the store holds, counted in four ways that all have to yield the same."""
    return {
        "beers": query(product, "SELECT count(*) FROM beers"),
        "events": query(product, "SELECT count(*) FROM events WHERE type = 'BeerAdded'"),
        "names": query(product, "SELECT count(DISTINCT name) FROM beers"),
        "requests": query(product, "SELECT count(*) FROM requests"),
    }


def query(product: Product, statement: str) -> int:
    """Return the one number that *statement* reads."""
    with closing(sqlite3.connect(product.data / "beers.db", timeout=10)) as store:
        (number,) = store.execute(statement).fetchone()
    return int(number)


def peaks(product: Product) -> dict[str, float]:
    """Return how much memory each process has had at most, in MiB."""
    return {part: peak(product.data / f"{part}.pid") for part in ("bridge", "service")}


def peak(pid_file: Path) -> float:
    """Return how much memory a process has had at most, in MiB."""
    trace = processes.Trace.read(pid_file)
    if trace is None:
        raise LookupError(f"{pid_file} names no process")
    status = Path(f"/proc/{trace.pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) / 1024, 1)


if __name__ == "__main__":
    sys.exit(main())
