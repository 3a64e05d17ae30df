"""Does what the schedule says, starts again what has ended, and makes all of it undone at the end."""

import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from beers_cli import processes
from chaos import parts
from chaos.disk import Disk
from chaos.parts import Part
from chaos.proxy import Link
from chaos.schedule import AWAY, CLOCK, CUT, FREEZE, FULL, KILL, SLOW, STALL, Fault

LOOK_EVERY = 0.05
"""Seconds between two looks whether a part has ended."""

PAUSE_BEFORE_REVIVAL = 0.5
"""Seconds after which a part that has ended by itself is started again, as `beers up` would do."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What there is to be taken away.

    Attributes:
        parts: The processes, by name.
        links: The connections, by name.
        disk: The disk of the store; None if it cannot be filled.
        skew: Sets by how many seconds the clients' clock is wrong.
    """

    parts: Mapping[str, Part]
    links: Mapping[str, Link]
    disk: Disk | None
    skew: Callable[[float], None]


class Nemesis:
    """Runs a schedule. Everything is done by the calling thread: a child dies with the thread that started it.

    Attributes:
        done: What was done, with the times at which it really began.
        incidents: Parts that ended without having been killed.
    """

    def __init__(self, ground: Ground, faults: Sequence[Fault], say: Callable[[str], None]) -> None:
        self._ground = ground
        self._say = say
        # An end comes before a beginning at the same time.
        self._agenda = sorted(
            [(fault.at, 1, fault) for fault in faults] + [(fault.until, 0, fault) for fault in faults],
            key=lambda entry: (entry[0], entry[1], entry[2].target),
        )
        self._down: set[str] = set()
        self._ended: dict[str, float] = {}
        self._never = threading.Event()
        self.done: list[Fault] = []
        self.incidents: list[str] = []

    def run(self, began: float, until: float) -> None:
        """Do everything that is due from *began* on, and look after the parts, up to *until* (`time.monotonic`)."""
        while (now := time.monotonic()) < until:
            while self._agenda and began + self._agenda[0][0] <= now:
                _, begins, fault = self._agenda.pop(0)
                if begins:
                    self.begin(fault, now - began)
                else:
                    self.end(fault)
            self._revive(now)
            self._never.wait(LOOK_EVERY)

    def heal(self) -> None:
        """End every fault that is under way, and have every part run."""
        self._agenda.clear()
        if self._ground.disk is not None:
            self._ground.disk.free()
        for link in self._ground.links.values():
            link.heal()
        for name, part in self._ground.parts.items():
            parts.send(part, signal.SIGCONT)
            if name in self._down:
                part.begin()
        self._down.clear()
        self._ground.skew(0.0)

    def watch(self, patience: float, done: Callable[[], bool], pause: float = 0.2) -> bool:
        """Look after the parts until *done* says so, or for *patience* seconds; return what it said last."""
        deadline = time.monotonic() + patience
        while not (finished := done()) and time.monotonic() < deadline:
            self._revive(time.monotonic())
            self._never.wait(pause)
        return finished

    def begin(self, fault: Fault, at: float) -> None:
        """Do it now, which is *at* so many seconds after the beginning of the run."""
        self._say(f"{at:7.2f} s  {fault.kind} {fault.target} for {fault.seconds:g} s {fault.amount or ''}".rstrip())
        if fault.kind in {KILL, FREEZE}:
            part = self._ground.parts[fault.target]
            if not parts.alive(part):
                return  # it has ended by itself, as it may
            if fault.kind == KILL:
                self._down.add(fault.target)
            parts.send(part, signal.SIGKILL if fault.kind == KILL else signal.SIGSTOP)
        elif fault.kind == CLOCK:
            self._ground.skew(fault.amount)
        elif fault.kind == FULL:
            if self._ground.disk is None:
                return
            self._ground.disk.fill()
        else:
            self._disturb(self._ground.links[fault.target], fault)
        self.done.append(replace(fault, at=round(at, 3)))

    def _disturb(self, link: Link, fault: Fault) -> None:
        match fault.kind:
            case "cut":
                link.cut()
            case "away":
                link.refuse()
            case "stall":
                link.stall()
            case "slow":
                link.slow(fault.amount)
            case unknown:
                raise ValueError(f"there is no fault called {unknown}")

    def end(self, fault: Fault) -> None:
        """Make it undone."""
        if fault.kind == KILL and fault.target in self._down:
            self._down.remove(fault.target)
            self._ground.parts[fault.target].begin()
        elif fault.kind == FREEZE:
            parts.send(self._ground.parts[fault.target], signal.SIGCONT)
        elif fault.kind in {AWAY, STALL, SLOW, CUT}:
            self._ground.links[fault.target].heal()
        elif fault.kind == FULL and self._ground.disk is not None:
            self._ground.disk.free()
        elif fault.kind == CLOCK:
            self._ground.skew(0.0)

    def _revive(self, now: float) -> None:
        for name, part in self._ground.parts.items():
            if name in self._down or parts.alive(part):
                continue
            if name not in self._ended:
                self._ended[name] = now
                status = processes.described(part.process().returncode)
                self._say(f"{name} {status} by itself")
                if not part.may_end:
                    self.incidents.append(f"{name} {status} without having been killed")
            elif now - self._ended[name] >= PAUSE_BEFORE_REVIVAL:
                del self._ended[name]
                part.begin()
