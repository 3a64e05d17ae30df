"""Two services and two bridges are told to stop, one after the other, in full load, and started again.

    python -m chaos.rolling [--rounds N]

The clients leave retries to gRPC, with the service config that all clients are told to use, and know both bridges.
No call fails, each part ends with status 0, and each beer is in the log once. Prints a table, and one line of JSON;
exit status 0 only if what is promised was kept.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

from beers_cli import processes
from chaos.measuring import SERVING, STARTED, Log, calling, main, pause, standing, until
from chaos.parts import Part, send
from chaos.promises import ADD, HEALTH, Claim, quantile, say, told
from chaos.stage import Cast

CALLERS = 100
DEADLINE = 15.0
BETWEEN = 2.0
"""Seconds of calm between two parts."""

READY = {"service": STARTED, "bridge": SERVING}
"""What a part prints when it can be called."""


def measure(options: argparse.Namespace, folder: Path) -> int:
    """Run it."""
    with standing(Cast("sqlite", 2, 2, subscriber=False, proxied=False), folder) as stage:
        before = stage.head()
        parts = [part for part in stage.parts.values() if part.role in READY]
        unclean: list[str] = []
        stops: list[float] = []
        with calling(folder, stage, "--policy", "--callers", options.callers, "--deadline", DEADLINE) as callers:
            began = time.monotonic()
            for part in options.rounds * parts:
                pause(options.between)
                stops.append(_restart(part, folder, unclean))
            pause(options.between)
            seconds = time.monotonic() - began
            samples = callers.stop()
        head = stage.head()
    calls = [sample for sample in samples if sample.kind != HEALTH]
    failed = [call for call in calls if call.code != "OK"]
    added = 1 + sum(call.kind == ADD and call.code == "OK" for call in calls)
    claims = [
        Claim("failed_calls", len(failed), 0, "calls that failed"),
        Claim("unclean_ends", len(unclean), 0, "parts that did not end with status 0"),
        Claim("wrong_events", abs(head - before - added), 0, "beers that are in the log more than once, or not at all"),
    ]
    more = {
        "stopped": len(stops),
        "slowest_stop": round(max(stops), 2),
        "calls": len(calls),
        "calls_per_second": round(len(calls) / seconds),
        "p99": quantile((call.seconds for call in calls), 0.99),
        "slowest": round(max(call.seconds for call in calls), 2),
        "unclean": "; ".join(unclean),
        "failures": "; ".join(sorted({f"{call.code}: {call.said[:80]}" for call in failed})[:5]),
    }
    return told(claims, more)


def _restart(part: Part, folder: Path, unclean: list[str]) -> float:
    """Stop a part, start it again and wait until it can be called; return how many seconds its end took."""
    log = Log(folder, part.name)
    ready = log.count(READY[part.role])
    say(f"{part.name} is told to stop")
    told_at = time.monotonic()
    send(part, signal.SIGTERM)
    status = part.process().wait(60.0)
    seconds = time.monotonic() - told_at
    if status:
        unclean.append(f"{part.name}: {processes.described(status)}")
    part.begin()
    until(lambda: log.count(READY[part.role]) > ready, f"{part.name} can be called again")
    return seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m chaos.rolling", allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=3, help="how often each part is restarted (%(default)s)")
    parser.add_argument("--callers", type=int, default=CALLERS, help="calls under way at any time (%(default)s)")
    parser.add_argument("--between", type=float, default=BETWEEN, metavar="SECONDS", help="of calm (%(default)s)")
    sys.exit(main(parser, measure))
