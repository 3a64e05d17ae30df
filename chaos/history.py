"""What became of each call of a client: one line of JSON each, and the only thing that the clients' word counts for."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ACKNOWLEDGED, REFUSED, UNKNOWN = "acknowledged", "refused", "unknown"
"""It was answered; it was answered that it is not to be; whoever called has learned neither."""

COMMANDS = ("add", "rename", "update", "remove", "restore")

Seen = tuple[int, int, str]
"""A beer as somebody saw it: its id, its version and its name."""


@dataclass(slots=True)
class Call:
    """One call, with all its attempts.

    Attributes:
        client: Who called.
        method: One of `COMMANDS`, or `get` or `list`.
        request_id: The same for all attempts; empty for reads.
        arguments: What was asked for, as the method's arguments.
        began: When the first attempt began, in seconds after the beginning of the run.
        ended: When it was given up or answered.
        outcome: One of `ACKNOWLEDGED`, `REFUSED`, `UNKNOWN`.
        code: The gRPC status of the last attempt.
        failures: The gRPC statuses of the attempts before the last.
        seen: The beers of the answer.
    """

    client: int
    method: str
    request_id: str
    arguments: dict[str, Any]
    began: float
    ended: float = 0.0
    outcome: str = UNKNOWN
    code: str = ""
    failures: list[str] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    @property
    def is_command(self) -> bool:
        """Whether it is meant to change something."""
        return self.method in COMMANDS

    def line(self) -> str:
        """Return it as a line of JSON."""
        return json.dumps(asdict(self)) + "\n"


def call_of(line: str) -> Call:
    """Return the call that `Call.line` wrote."""
    document = json.loads(line)
    document["seen"] = [(int(beer_id), int(version), str(name)) for beer_id, version, name in document["seen"]]
    return Call(**document)


def read(path: Path) -> Iterator[Call]:
    """Yield the calls of a file."""
    with path.open(encoding="utf-8") as lines:
        yield from map(call_of, lines)
