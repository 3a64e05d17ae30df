"""Ten times the sustainable load, offered whether it is answered or not.

    python -m chaos.overload [--seconds 60] [--times 10] [--calls search|get|add] [--connections 16] [--bridges 1]
                             [--proxy]

First h2load finds how many calls a second one service and its bridges sustain: 64 at a time, each as soon as one is
answered. Then it offers *times* as many, on its clock, over 16 connections, and a process of its own, on a connection
of its own, offers 50 calls of the same kind a second and measures each from when it was due; health is asked for
besides. h2load is light enough not to be what is measured, but sees no gRPC status: what it counts is only how many
calls it could offer. Prints a table, and one line of JSON; exit status 0 only if what is promised was kept.
"""

import argparse
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import payload
from benchmarks.comparison import load
from chaos.measuring import calling, main, of_role, pause, standing
from chaos.promises import HEALTH, IN_VAIN, Claim, Sample, quantile, say, told
from chaos.stage import Cast, Stage
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1

PROBES = 50
"""Calls a second that are measured one by one."""

DEADLINE = 10.0
SUSTAINED, BEFORE, AFTER = 10.0, 3.0, 5.0
"""Seconds of the search for the sustainable load, and of calm before and after."""

SETTLED = 2.0
"""Seconds after the end by which it has to be as quick as before."""

STREAMS = 5000
"""Calls at a time on a connection: more than a bridge allows, so that none waits in h2load for another reason."""

WARM = 20.0
"""MiB of resident set that a bridge may have taken besides, for each thousand calls that it may be busy with."""

MOST_CALLS = 2  # thousands: MAX_CALLS
AS_QUICK = 3.0
"""How many times the median before the median afterwards may be: on a busy machine it varies by itself."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of call: its method, its request, and what the probes are told to call it."""

    method: str
    request: bytes
    probe: tuple[str, ...]


BEERS = 5000
"""How many one look for a text goes through at most."""

KINDS = {
    "search": Kind("ListBeers", v1.ListBeersRequest(query=IN_VAIN).SerializeToString(), ("--beers", str(BEERS))),
    "get": Kind("GetBeer", v1.GetBeerRequest(beer_id=1).SerializeToString(), ()),
    "add": Kind("AddBeer", v1.AddBeerRequest(name="Some beer", abv=5).SerializeToString(), ()),
}
"""The kinds of calls. The first keeps the service busy, the others the bridge as well."""


def measure(options: argparse.Namespace, folder: Path) -> int:
    """Run it."""
    kind = KINDS[options.calls]
    program = load.find(say)
    cast = Cast("sqlite", 1, options.bridges, subscriber=False, proxied=False, one_port=True, fronted=options.proxy)
    with standing(cast, folder) as stage:
        bridges = [bridge.process().pid for bridge in of_role(stage, "bridge")]
        with calling(folder, stage, "--rate", PROBES, "--deadline", DEADLINE, *kind.probe) as probes:
            sustained = _offered(program, folder, stage, kind, SUSTAINED)
            say(f"{sustained:,.0f} calls a second are sustained")
            pause(BEFORE + 2.0)
            calm = time.monotonic() - BEFORE
            with _peaks(bridges) as peaks:
                before = [peak.now() for peak in peaks]
                began = time.monotonic()
                say(f"{options.times * sustained:,.0f} calls a second are offered for {options.seconds:g} s")
                rate = options.times * sustained, options.connections
                done = _offered(program, folder, stage, kind, options.seconds, *rate)
                over = time.monotonic()
            pause(SETTLED + AFTER)
            samples = probes.stop()
    under = [one for one in samples if began + 1.0 < one.due < began + options.seconds]
    calls = [one for one in under if one.kind != HEALTH]
    health = [one for one in under if one.kind == HEALTH]
    accepted = [one.seconds for one in calls if one.code == "OK"]
    refused = [one.seconds for one in calls if one.code == "RESOURCE_EXHAUSTED"]
    odd = Counter(one.code for one in calls if one.code not in ("OK", "RESOURCE_EXHAUSTED"))
    quick = quantile(_answered(samples, calm, began), 0.5)
    later = quantile(_answered(samples, over + SETTLED, over + SETTLED + AFTER), 0.5)
    lost = [one for one in samples if one.kind != HEALTH and one.due > over + SETTLED and one.code != "OK"]
    grown = max(round(peak.most - first, 1) for peak, first in zip(peaks, before, strict=True))
    claims = [
        Claim("accepted_p99", quantile(accepted, 0.99), 2.0, "s until an accepted call is answered, p99"),
        Claim("ended_otherwise", sum(odd.values()), 0, "calls that were neither answered nor RESOURCE_EXHAUSTED"),
        Claim("health_wrong", sum(one.code != "SERVING" for one in health), 0, "answers of health but SERVING"),
        Claim("health_p99", quantile((one.seconds for one in health), 0.99), 1.0, "s until health answers, p99"),
        Claim("grown", grown, WARM * MOST_CALLS, "MiB by which a bridge has grown at most"),
        Claim(
            "slower_after",
            round(later / quick, 2) if quick and later else None,
            AS_QUICK,
            f"times the median of before, from {SETTLED:g} s after the end",
        ),
        Claim("failed_after", len(lost), 0, f"calls that failed from {SETTLED:g} s after the end"),
    ]
    # Short calls wait with their clients, of whom each has few at a time: none need be refused.
    if refused or options.calls == "search":
        claims.insert(0, Claim("refused_p99", quantile(refused, 0.99), 0.05, "s until a call is refused, p99"))
    more = {
        "kind": options.calls,
        "connections": options.connections,
        "bridges": options.bridges,
        "proxy": options.proxy,
        "seconds": options.seconds,
        "sustained_per_second": round(sustained),
        "offered_per_second": round(options.times * sustained),
        "ended_per_second": round(done),
        "probes": len(calls),
        "probes_refused": len(refused),
        "probes_accepted": len(accepted),
        "accepted_p50": quantile(accepted, 0.5),
        "otherwise": dict(odd),
        "bridge_mib": [[first, peak.most] for peak, first in zip(peaks, before, strict=True)],
    }
    return told(claims, more)


def _answered(samples: list[Sample], start: float, end: float) -> Iterator[float]:
    """Yield how long the calls took that were due between the two, and were answered."""
    return (one.seconds for one in samples if one.kind != HEALTH and start < one.due < end and one.code == "OK")


def _offered(
    program: str,
    folder: Path,
    stage: Stage,
    kind: Kind,
    seconds: float,
    rate: float | None = None,
    connections: int = 8,
) -> float:
    """Have h2load call for so many *seconds*, at this *rate*, or 64 at a time; return how many calls ended a second."""
    body = folder / "body"
    body.write_bytes(payload.framed(kind.request))
    shape = ["-m", "8"] if rate is None else ["-m", str(STREAMS), f"--rps={rate / connections:g}"]
    done = subprocess.run(
        [
            *(program, "-t", "1", "-D", f"{seconds:g}", "-c", str(connections), *shape, "-d", str(body)),
            *("-H", "content-type: application/grpc", "-H", "te: trailers"),
            f"http://{stage.addresses[0]}{payload.SERVICE}/{kind.method}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 60.0,
    )
    found = re.search(r"^finished in .*?, ([\d.]+) req/s", done.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"h2load said something else than expected: {(done.stderr or done.stdout)[-300:]}")
    return float(found[1])


class Peak:
    """The resident set of a process, and the most that it was."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self.most = 0.0

    def now(self) -> float:
        """Return it, in MiB."""
        lines = self._status.read_text(encoding="ascii").splitlines()
        size = int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024
        self.most = max(self.most, round(size, 1))
        return round(size, 1)


@contextmanager
def _peaks(pids: list[int]) -> Iterator[list[Peak]]:
    peaks, stop = [Peak(pid) for pid in pids], threading.Event()

    def look() -> None:
        while not stop.wait(0.2):
            for peak in peaks:
                peak.now()

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield peaks
    finally:
        stop.set()
        looking.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m chaos.overload", allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it is offered (%(default)s)")
    parser.add_argument("--times", type=float, default=10.0, help="the sustainable load (%(default)s)")
    parser.add_argument("--calls", choices=tuple(KINDS), default="search", help="what is called (%(default)s)")
    parser.add_argument(
        "--bridges", type=int, choices=range(1, 17), default=1, metavar="N", help="on one port (%(default)s)"
    )
    parser.add_argument("--proxy", action="store_true", help="HAProxy before them, with our configuration")
    parser.add_argument("--connections", type=int, default=16, metavar="N", help="over how many (%(default)s)")
    sys.exit(main(parser, measure))
