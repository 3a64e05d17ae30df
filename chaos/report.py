"""A run's result, for programs and for people."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from chaos.run import Options, Result

MEANINGS: Mapping[str, str] = {
    "attempted": "commands that were sent",
    "acknowledged": "answered with a beer",
    "refused": "refused for a reason of the domain",
    "unknown": "given up without an answer",
    "recovered": "unknown, and turned out to have happened",
    "lost": "acknowledged, and not there",
    "unexpected": "there, and not asked for, or refused",
    "duplicated": "an effect twice for one request id",
    "inconsistent": "answers that contradict the log",
    "bugs": "calls with an internal error",
    "stale": "reads older than what had been acknowledged",
    "replays_differ": "sent again, and answered otherwise",
    "gaps": "positions missing in the log",
    "read_model_differs": "beers that are not the fold of the log",
    "not_told": "events that a watcher or the bus missed",
    "out_of_order": "first told after a later one",
    "told_again": "told more than once, as it may be",
    "effects_missing": "events without effect in the subscriber",
    "effects_repeated": "effects that the subscriber had twice",
}

SHOWN = 20
"""How many problems are shown; the file has all of them."""


def document(options: Options, result: Result) -> dict[str, Any]:
    """Return everything but the single faults."""
    verdict = asdict(result.verdict)
    problems = verdict.pop("problems")
    return {
        "seed": options.seed,
        "store": options.cast.store,
        "services": options.cast.services,
        "bridges": options.cast.bridges,
        "clients": options.clients,
        "seconds": options.seconds,
        "ok": result.verdict.ok,
        **verdict,
        "kills": dict(result.kills),
        "freezes": dict(result.freezes),
        "faults": len(result.faults),
        "calls_per_second": result.rate,
        "longest_silence": result.silence,
        "silence_around_kills": list(result.silences),
        "serving_after": result.serving,
        "streams_ended": result.streams,
        "codes": dict(result.codes),
        "problems": problems,
    }


def line(options: Options, result: Result) -> str:
    """Return the same as one line of JSON; of the problems only how many they are."""
    short = document(options, result)
    short["problems"] = len(short["problems"])
    return json.dumps(short)


def table(options: Options, result: Result) -> str:
    """Return what people read."""
    return "\n".join(_lines(options, result))


def _lines(options: Options, result: Result) -> Iterator[str]:
    verdict = result.verdict
    for name, meaning in MEANINGS.items():
        yield f"{name.replace('_', ' '):20}{getattr(verdict, name):>10,}  {meaning}"
    yield ""
    for what, by_role in (("kill -9", result.kills), ("SIGSTOP", result.freezes)):
        parts = ", ".join(f"{role} {number}" for role, number in by_role.items())
        yield f"{what}: {sum(by_role.values())} ({parts})"
    yield f"{len(result.faults)} faults in {options.seconds:g} s; {result.rate:g} calls answered a second;"
    yield f"longest time without an answer {result.silence:.1f} s; serving {result.serving:.1f} s after the end"
    yield ""
    for problem in verdict.problems[:SHOWN]:
        yield f"! {problem}"
    if len(verdict.problems) > SHOWN:
        yield f"! and {len(verdict.problems) - SHOWN} more"
    yield "all is well" if verdict.ok else f"{len(verdict.problems)} problems"
