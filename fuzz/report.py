"""A run's result, for programs and for people."""

import json
from collections.abc import Iterator
from typing import Any

from fuzz.run import Options, Result


def line(options: Options, result: Result) -> str:
    """Return it as one line of JSON."""
    document: dict[str, Any] = {
        "seed": options.seed,
        "ok": not result.findings,
        "requests": result.calls.made,
        "codes": dict(sorted(result.calls.codes.items())),
        "connections": result.connections.made,
        "messages": result.messages.sent,
        "answered": result.messages.answered,
        "forged": result.messages.forged,
        "probes": result.probes,
        "slowest_probe": result.slowest,
        "warm_mib": result.warm,
        "end_mib": result.memory,
        "events": result.events,
        "seconds": result.seconds,
        "findings": result.findings,
    }
    return json.dumps(document)


def table(result: Result) -> str:
    """Return what people read."""
    return "\n".join(_lines(result))


def _lines(result: Result) -> Iterator[str]:
    yield f"{result.calls.made:>10,}  requests to the bridge"
    for code, number in result.calls.codes.most_common():
        yield f"{number:>10,}    {code}"
    yield f"{result.connections.made:>10,}  connections to the port"
    yield f"{result.messages.sent:>10,}  messages to the broker, {result.messages.answered:,} of them answered"
    yield f"{result.probes:>10,}  proper calls beside them, the slowest {result.slowest:.2f} s"
    yield f"{result.events:>10,}  events in the log"
    for part, warm in result.warm.items():
        yield f"{result.memory.get(part, 0.0):>10.1f}  MiB in {part}, {warm:.1f} when warm"
    yield ""
    for what, number in result.findings.items():
        yield f"! {what} ({number} times)"
    yield f"{len(result.findings)} findings" if result.findings else "all is well"
