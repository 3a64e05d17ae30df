"""The broker goes away for a while, and comes back.

    python -m chaos.outage --seconds 3       no call fails
    python -m chaos.outage --seconds 60      calls fail fast, health tells, and all is well at once when it is back

For less than ten seconds its connections are reset and refused; for longer it is killed and started again. 200 calls
are under way at any time, each with 15 s, none is retried by its client. Prints a table, and one line of JSON; exit
status 0 only if what is promised was kept.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

from beers_cli.rabbitmq import RabbitMQNode
from chaos.measuring import calling, ended, main, pause, pids, standing, until
from chaos.parts import NodePart, send
from chaos.promises import HEALTH, Claim, Sample, quantile, say, told
from chaos.stage import Cast, Stage

CALLS = 200
DEADLINE = 15.0
BEFORE, AFTER = 3.0, 8.0
"""Seconds for which calls are made before it goes and after it is back."""

KILLED_FROM = 10.0
"""Seconds from which on it is killed: starting it takes several."""

OPEN_AFTER = 8.0
"""Seconds after which the breaker is open for certain: six for a restart of the broker, and a look each second."""

TOLD_AFTER = 2.0
"""Seconds after which health has told it for certain."""


def measure(options: argparse.Namespace, folder: Path) -> int:
    """Run it."""
    with standing(Cast("sqlite", 1, 1, subscriber=False), folder) as stage:
        before = pids(stage)
        with calling(folder, stage, "--callers", options.calls, "--deadline", DEADLINE) as callers:
            pause(BEFORE)
            say(f"the broker goes away for {options.seconds:g} s")
            gone, back = _take_away(stage, options.seconds)
            say("the broker is back")
            pause(AFTER)
            samples = callers.stop()
        others = ended(stage, before)
    calls = [sample for sample in samples if sample.kind != HEALTH]
    health = [sample for sample in samples if sample.kind == HEALTH]
    failed = [call for call in calls if call.code != "OK"]
    claims = [Claim("restarted", len(others), 0, "processes of ours that ended")]
    claims += _short(failed) if options.seconds < KILLED_FROM else _long(calls, health, gone, back)
    claims += _return(calls, health, back)
    more = {
        "seconds": options.seconds,
        "calls": len(calls),
        "failed": len(failed),
        "codes": ", ".join(sorted({call.code for call in failed})),
        "slowest_answer": round(max((call.seconds for call in calls if call.code == "OK"), default=0.0), 2),
        "calls_per_second_before": round(sum(call.ended < gone for call in calls) / BEFORE),
    }
    return told(claims, more)


def _take_away(stage: Stage, seconds: float) -> tuple[float, float]:
    """Return when the broker went, and when it took connections again."""
    gone = time.monotonic()
    if seconds < KILLED_FROM:
        for link in stage.links.values():
            link.refuse()
        pause(seconds)
        for link in stage.links.values():
            link.heal()
        return gone, time.monotonic()
    broker = stage.parts["rabbitmq"]
    if not isinstance(broker, NodePart) or not isinstance(broker.node, RabbitMQNode):
        raise TypeError("the broker is no RabbitMQ")
    send(broker, signal.SIGKILL)
    pause(seconds)
    broker.begin()
    until(broker.node.answers, "the broker takes connections", 60.0)
    return gone, time.monotonic()


def _short(failed: list[Sample]) -> list[Claim]:
    return [Claim("failed_calls", len(failed), 0, "calls that failed")]


def _long(calls: list[Sample], health: list[Sample], gone: float, back: float) -> list[Claim]:
    refused = [call for call in calls if gone + OPEN_AFTER < call.due and call.ended < back]
    lying = [one for one in health if gone + TOLD_AFTER < one.due and one.ended < back and one.code != "NOT_SERVING"]
    odd = [call for call in refused if call.code != "UNAVAILABLE"]
    return [
        Claim("refused_p99", quantile((call.seconds for call in refused), 0.99), 0.1, "s until a call is refused, p99"),
        Claim("refused_otherwise", len(odd), 0, "calls that were told something else than UNAVAILABLE"),
        Claim("health_wrong", len(lying), 0, "answers of health other than NOT_SERVING meanwhile"),
    ]


def _return(calls: list[Sample], health: list[Sample], back: float) -> list[Claim]:
    """Claim how soon everything works: the first moment from which on no call fails, and health says so."""
    failures = [call.ended - back for call in calls if call.code != "OK" and call.ended > back]
    waits = [one.ended - back for one in health if one.code != "SERVING" and one.ended > back]
    answered = [call.ended - back for call in calls if call.code == "OK" and call.due > back]
    well = round(max(max(failures, default=0.0), max(waits, default=0.0), min(answered, default=AFTER)), 2)
    return [Claim("well_after", well, 5.0, "s after its return until all calls and health are well")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m chaos.outage", allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long it is away (%(default)s)")
    parser.add_argument("--calls", type=int, default=CALLS, help="calls under way at any time (%(default)s)")
    sys.exit(main(parser, measure))
