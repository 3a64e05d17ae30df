"""Hands events to a command of the user's, one after another, until each is taken."""

import json
import os
import shlex
import shutil
import signal
import subprocess
from contextlib import suppress
from functools import partial
from typing import Any

import typer

from beers_cli import processes
from beers_cli.client import delay_before
from beers_cli.failure import Failure
from beers_cli.stopping import Stop

FIRST_PAUSE = 0.5
"""Seconds before a command that failed is tried again for the first time."""

_LONGEST_PAUSE = 30.0
_TICK = 0.25


def parse(line: str) -> list[str]:
    """Return the words of a command line; there is no shell that would expand them."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise typer.BadParameter(f"--exec cannot be read: {error}") from error
    if not words or shutil.which(words[0]) is None:
        raise typer.BadParameter(f"--exec: there is no command {words[0] if words else line!r}")
    return words


class Handler:
    """Runs a command for each event: the event's JSON on its standard input, the gist of it in its environment."""

    def __init__(self, words: list[str], attempts: int, address: str, stop: Stop) -> None:
        """Prepare to run.

        Args:
            words: The command.
            attempts: How often it is tried with one event.
            address: Where the catalogue is, for a command that asks it.
            stop: Ends the tries; a command that runs is waited for.
        """
        self._words = words
        self._attempts = attempts
        self._environment = os.environ | {"BEERS_ADDRESS": address}
        self._stop = stop

    def take(self, event: dict[str, Any]) -> bool:
        """Run the command with *event* until it ends with 0; False if an end was wanted before it did.

        Raises:
            Failure: If it failed as often as it may.
        """
        outcome = ""
        for attempt in range(1, self._attempts + 1):
            if attempt > 1 and self._stop.wait(
                delay_before(attempt - 1, None, first=FIRST_PAUSE, slowest=_LONGEST_PAUSE)
            ):
                return False
            outcome = self._run(event)
            if not outcome:
                return True
        times = "" if self._attempts == 1 else f" {self._attempts} times in a row"
        raise Failure(
            f"The command {outcome}{times}, with event {event['id']} ({event['type']}, position {event['position']}).",
            f"It is the next to be handed over: with the same --state, or with --from {event['position'] - 1}.",
            event_id=event["id"],
            position=str(event["position"]),
        )

    def _run(self, event: dict[str, Any]) -> str:
        """Run the command once; return how it failed, or nothing."""
        environment = self._environment | {
            "BEERS_EVENT_TYPE": event["type"],
            "BEERS_EVENT_ID": event["id"],
            "BEERS_EVENT_POSITION": str(event["position"]),
            "BEERS_BEER_ID": str(event["beer_id"]),
        }
        document = json.dumps(event, ensure_ascii=False).encode() + b"\n"
        try:
            with self._stop.starting():
                # In a group of its own, Ctrl-C in the terminal reaches us alone, and we wait for it.
                process = subprocess.Popen(  # noqa: S603 - that is what the user wants
                    self._words, stdin=subprocess.PIPE, env=environment, process_group=0
                )
                self._stop.last_act = partial(_kill, process)
        except OSError as error:
            return f"could not be started ({error.strerror})"
        given: bytes | None = document
        while True:
            # The signal that follows another one at once may be delivered to a thread of gRPC's, and wakes nobody here.
            with suppress(subprocess.TimeoutExpired):
                process.communicate(given, timeout=_TICK)
                break
            given = None
        self._stop.last_act = lambda: None
        return processes.described(process.returncode) if process.returncode else ""


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
