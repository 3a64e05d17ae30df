"""What is done to the product, and when: a pure function of the seed, of how long it lasts, and of what there is."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

KILL, FREEZE, CUT, AWAY, STALL, SLOW, FULL, CLOCK = KINDS = (
    "kill",  # kill -9, and a new start
    "freeze",  # SIGSTOP, and SIGCONT
    "cut",  # every connection is reset
    "away",  # every connection is reset, and new ones are
    "stall",  # connections stay, and no byte passes
    "slow",  # every piece of data is late
    "full",  # no room on the disk of the store
    "clock",  # the clients' clock jumps, and jumps back
)

CLIENTS = "clients"
"""Who has the clock that jumps."""

STORE = "store"
"""Who has the disk that is full."""

QUIET_BEFORE, QUIET_AFTER = 0.04, 0.15
"""The parts of a run, at its beginning and at its end, in which nothing is begun: healthy figures, and recovery."""

SHORTEST = 20.0
"""Seconds that a run takes at least: RabbitMQ needs some to come back."""

SECONDS_PER_KILL = 24.0
SECONDS_PER_KILL_OF_A_ROLE = 150.0
"""For how long there is one kill at all, and one of each role at least."""

SECONDS_PER_FAULT = 60.0
"""For how long there is one fault of each other kind, on each of the things that can have it."""

_RECOVERY: Mapping[str, float] = {"rabbitmq": 12.0, "postgresql": 6.0}
"""Seconds after a fault in which the same thing gets no other: what has not come back cannot be taken away."""

_RECOVERY_OF_OTHERS = 4.0
_ATTEMPTS = 500


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is done.

    Attributes:
        at: When it begins, in seconds after the beginning of the run.
        kind: One of `KINDS`.
        target: The part, the link, `CLIENTS` or `STORE`.
        seconds: How long it lasts; for a kill until the part is started again.
        amount: By how many seconds data is late or the clock jumps.
    """

    at: float
    kind: str
    target: str
    seconds: float
    amount: float = 0.0

    @property
    def until(self) -> float:
        """When it ends."""
        return self.at + self.seconds


@dataclass(frozen=True, slots=True)
class Targets:
    """What faults can be done to.

    Attributes:
        roles: The processes of each role, by role: all of those that are called service, for instance.
        links: The connections that pass through a proxy.
        disk: Whether the disk of the store can be filled.
    """

    roles: Mapping[str, Sequence[str]]
    links: Sequence[str]
    disk: bool


def plan(seed: int, seconds: float, targets: Targets) -> tuple[Fault, ...]:
    """Return the faults of a run of so many *seconds*, in the order in which they begin.

    Every role is killed: once in a short run, once in two and a half minutes of a long one. Faults on different things
    may overlap, faults on the same thing do not.

    Raises:
        ValueError: If the run is too short to show anything.
    """
    if seconds < SHORTEST:
        raise ValueError(f"{seconds:g} s are too short for a run: at least {SHORTEST:g}")
    chance = random.Random(seed)
    timetable = _Timetable(chance, seconds)
    for role in _killed(chance, seconds, targets.roles):
        fault = timetable.place(KILL, chance.choice(targets.roles[role]), role, _kill_time(chance, role, seconds))
        if fault is None:
            raise ValueError(f"{seconds:g} s are too short for so many kills")
    times = max(1, round(seconds / SECONDS_PER_FAULT))
    for _ in range(times):
        for kind, target, role in _others(chance, seconds, targets):
            timetable.place(kind, target, role, _duration(chance, kind, seconds), _amount(chance, kind))
    return tuple(sorted(timetable.faults, key=lambda fault: (fault.at, fault.kind, fault.target)))


def counted(faults: Sequence[Fault], kind: str, roles: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return how many of *faults* are of this *kind*, by the role of their target."""
    role_of = {part: role for role, parts in roles.items() for part in parts}
    found = dict.fromkeys(roles, 0)
    for fault in faults:
        if fault.kind == kind and fault.target in role_of:
            found[role_of[fault.target]] += 1
    return found


class _Timetable:
    """Places faults so that none meets another one on the same thing."""

    def __init__(self, chance: random.Random, seconds: float) -> None:
        self._chance = chance
        self._first, self._last = seconds * QUIET_BEFORE, seconds * (1 - QUIET_AFTER)
        self._busy: dict[str, list[tuple[float, float]]] = {}
        self.faults: list[Fault] = []

    def place(self, kind: str, target: str, role: str, seconds: float, amount: float = 0.0) -> Fault | None:
        """Return the fault, or None if there is no time left for it."""
        recovery = _RECOVERY.get(role, _RECOVERY_OF_OTHERS)
        busy = self._busy.setdefault(target, [])
        for _ in range(_ATTEMPTS):
            at = round(self._chance.uniform(self._first, self._last), 3)
            end = at + seconds + recovery
            if at + seconds <= self._last and all(end <= begin or until <= at for begin, until in busy):
                busy.append((at, end))
                self.faults.append(Fault(at, kind, target, seconds, amount))
                return self.faults[-1]
        return None


def _killed(chance: random.Random, seconds: float, roles: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the role of each kill; those that take longest to come back first, while there is room."""
    least = max(1, int(seconds / SECONDS_PER_KILL_OF_A_ROLE))
    killed = [role for role in roles for _ in range(least)]
    quick = [role for role in roles if role not in _RECOVERY]
    killed += [chance.choice(quick) for _ in range(round(seconds / SECONDS_PER_KILL) - len(killed))]
    return sorted(killed, key=lambda role: -_RECOVERY.get(role, _RECOVERY_OF_OTHERS))


def _others(chance: random.Random, seconds: float, targets: Targets) -> Iterator[tuple[str, str, str]]:
    """Yield kind, target and role of one of each; in a short run not on each thing, or nothing would be well."""
    short = seconds < SECONDS_PER_FAULT
    roles = [chance.choice(list(targets.roles))] if short else list(targets.roles)
    for role in roles:
        yield FREEZE, chance.choice(targets.roles[role]), role
    links = [chance.choice(targets.links)] if short else targets.links
    kinds = (CUT, AWAY, STALL, SLOW)
    for link, number in zip(links, count(chance.randrange(len(kinds)))):
        yield kinds[number % len(kinds)], link, "link"
    yield CLOCK, CLIENTS, CLIENTS
    if targets.disk:
        yield FULL, STORE, STORE


def _kill_time(chance: random.Random, role: str, seconds: float) -> float:
    """Return for how long a killed part stays away: mostly less than a call's deadline, now and then longer."""
    longest = 3.0 if role in _RECOVERY or chance.random() < 0.8 else 12.0  # noqa: PLR2004 - one in five
    return round(chance.uniform(0.1, min(longest, seconds / 12)), 3)


def _duration(chance: random.Random, kind: str, seconds: float) -> float:
    if kind == CUT:
        return 0.0
    return round(min(chance.choice((1.0, 2.0, 4.0, 8.0)) * chance.uniform(0.5, 1.5), seconds / 8), 3)


def _amount(chance: random.Random, kind: str) -> float:
    if kind == SLOW:
        return round(chance.uniform(0.01, 0.4), 3)
    if kind == CLOCK:
        return round(chance.choice((-1, 1)) * chance.choice((3.0, 30.0, 3600.0, 86400.0)), 3)
    return 0.0
