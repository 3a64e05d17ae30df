"""What the evidence says, in the terms of Jepsen's checkers of sets and registers. Pure: it reads nothing itself."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chaos.history import ACKNOWLEDGED, REFUSED, UNKNOWN, Call, Seen

CAUSES: Mapping[str, str] = {
    "add": "BeerAdded",
    "rename": "BeerNameChanged",
    "update": "BeerDetailsChanged",
    "remove": "BeerRemoved",
    "restore": "BeerRestored",
}
"""Which event each command of the workload causes, if it is accepted: always exactly one."""

REFUSALS = ("NOT_FOUND", "ABORTED", "FAILED_PRECONDITION")
"""How commands of the workload may be refused: of no such beer, of another version, of no removed one."""

REPLAYS = 300
"""How many commands are sent again in the end."""

NO_SUCH_BEER = "NOT_FOUND"
BUG = "INTERNAL"

Told = tuple[int, str]
"""An event as somebody was told of it: its position, and the request that caused it."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the log, as the service tells it."""

    position: int
    beer_id: int
    version: int
    type: str
    request_id: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Beer:
    """A beer of the read model, as far as the workload changes it."""

    id: int
    name: str
    brewery: str
    abv: float | None
    version: int
    removed: bool


@dataclass(frozen=True, slots=True)
class Replay:
    """What was answered when everything was well again and a command was sent once more with its request id."""

    request_id: str
    code: str
    seen: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known after a run.

    Attributes:
        calls: What the clients say.
        events: The log, in the order in which the service told it.
        beers: The read model, removed beers included.
        replays: What was answered to commands that were sent again.
        head: The head of the log after these.
        watched: What each watcher and each bare queue was told, in that order, repeats included.
        effects: The events whose effects each consumer of a subscriber has committed, in that order.
        strict: Those of these consumers that work in the order of the log. An event whose handler fails, in a database
            without room for instance, is overtaken by those of other beers: what is promised is the order of each beer.
        incidents: What went wrong in the eyes of others, one sentence each.
    """

    calls: Sequence[Call]
    events: Sequence[Event]
    beers: Mapping[int, Beer]
    replays: Sequence[Replay]
    head: int
    watched: Mapping[str, Sequence[Told]]
    effects: Mapping[str, Sequence[Told]]
    strict: Collection[str] = ()
    incidents: Sequence[str] = ()


@dataclass(slots=True)
class Verdict:
    """The verdict on a run. Every number but the first four, `recovered` and `told_again` has to be 0.

    Attributes:
        attempted: Commands that were sent at least once.
        acknowledged: Those that were answered with a beer.
        refused: Those that were refused for a reason of the domain.
        unknown: Those of which the client has learned nothing.
        recovered: Unknown ones that turned out to have happened.
        lost: Acknowledged ones that have not happened.
        unexpected: Events that nobody asked for, or asked for and was refused, and those told that the log has not.
        duplicated: Events too many: of a request that has had its effect already.
        inconsistent: Answers that are not what the log says of that request, or of that beer at that version.
        bugs: Calls of which an attempt was answered with an internal error.
        stale: Reads that were older than what had been acknowledged when they began.
        replays_differ: Commands sent again that were answered otherwise than before, or had an effect again.
        gaps: Positions of the log that are missing, or not where they belong.
        read_model_differs: Beers that are not what their events say.
        not_told: Events that a watcher or a queue was not told.
        out_of_order: Events that a watcher or a queue was told for the first time after a later one.
        told_again: Events that a watcher or a queue was told more than once, which it may be.
        effects_missing: Events without their effect in a consumer of a subscriber.
        effects_repeated: Effects that a consumer has had more than once.
        problems: All that is wrong, one sentence each.
    """

    attempted: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    recovered: int = 0
    lost: int = 0
    unexpected: int = 0
    duplicated: int = 0
    inconsistent: int = 0
    bugs: int = 0
    stale: int = 0
    replays_differ: int = 0
    gaps: int = 0
    read_model_differs: int = 0
    not_told: int = 0
    out_of_order: int = 0
    told_again: int = 0
    effects_missing: int = 0
    effects_repeated: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not self.problems

    def found(self, what: str, problems: Iterable[str]) -> None:
        """Add *problems* to those that are counted as *what*."""
        known = len(self.problems)
        self.problems += problems
        setattr(self, what, getattr(self, what) + len(self.problems) - known)


def judge(evidence: Evidence) -> Verdict:
    """Return the verdict on a run."""
    commands = [call for call in evidence.calls if call.is_command]
    outcomes = Counter(call.outcome for call in commands)
    verdict = Verdict(
        attempted=len(commands),
        acknowledged=outcomes[ACKNOWLEDGED],
        refused=outcomes[REFUSED],
        unknown=outcomes[UNKNOWN],
        problems=list(evidence.incidents),
    )
    log = _Log(evidence.events)
    verdict.recovered = sum(call.outcome == UNKNOWN and call.request_id in log.caused for call in commands)
    verdict.found("lost", _lost(commands, log))
    verdict.found("unexpected", _unexpected(commands, log))
    verdict.found("duplicated", _duplicated(log))
    verdict.found("inconsistent", _inconsistent(evidence.calls, log))
    verdict.found("bugs", _bugs(evidence.calls))
    verdict.found("stale", _stale(evidence.calls, log))
    verdict.found("replays_differ", _replays(evidence, commands, log))
    verdict.found("gaps", _gaps(evidence.events))
    verdict.found("read_model_differs", _read_model(evidence.beers, log))
    for name, told in evidence.watched.items():
        verdict.found("not_told", _missing(name, told, log, "was not told of"))
        verdict.found("out_of_order", _out_of_order(name, told))
        verdict.found("unexpected", _invented(name, told, log))
        verdict.told_again += len(told) - len(set(told))
    for name, told in evidence.effects.items():
        verdict.found("effects_missing", _missing(name, told, log, "has no effect of"))
        verdict.found("effects_repeated", _repeated(name, told))
        if name in evidence.strict:
            verdict.found("out_of_order", _out_of_order(name, told, log.beer_of))
        verdict.found("unexpected", _invented(name, told, log))
    if not verdict.acknowledged:
        verdict.problems.append("nothing was acknowledged: the run shows nothing")
    return verdict


def chosen(calls: Sequence[Call], events: Sequence[Event], most: int = REPLAYS) -> list[Call]:
    """Return the commands that are to be sent again: those that have happened, evenly over the run.

    Half of them were acknowledged; the others, as far as there are so many, are those whose clients learned nothing.
    """
    happened = {event.request_id for event in events}
    known = [call for call in calls if call.is_command and call.request_id in happened]
    acknowledged = [call for call in known if call.outcome == ACKNOWLEDGED]
    recovered = [call for call in known if call.outcome == UNKNOWN]
    return [call for group in (acknowledged, recovered) for call in group[:: max(1, 2 * len(group) // most)]]


class _Log:
    """The log, and what can be looked up in it.

    Attributes:
        events: All of it.
        caused: The events of each request.
        states: Each beer at each of its versions.
        beers: The fold of the log: each beer as it is in the end.
        broken: The beers whose versions do not follow each other.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.caused: dict[str, list[Event]] = defaultdict(list)
        self.states: dict[tuple[int, int], Beer] = {}
        self.beers: dict[int, Beer] = {}
        self.broken: set[int] = set()
        self._beer_ids = {event.position: event.beer_id for event in events}
        self.ever_removed = {event.beer_id for event in events if event.type == "BeerRemoved"}
        for event in events:
            self.caused[event.request_id].append(event)
            self._fold(event)

    def name(self, beer_id: int, version: int) -> str:
        """Return the name of a beer at one of its versions; nobody's if it never had that one."""
        state = self.states.get((beer_id, version))
        return state.name if state else ""

    def beer_of(self, position: int) -> int | None:
        """Return the beer of the event at a position."""
        return self._beer_ids.get(position)

    def _fold(self, event: Event) -> None:
        before = self.beers.get(event.beer_id)
        if event.version != (before.version if before else 0) + 1 or (before is None) != (event.type == "BeerAdded"):
            self.broken.add(event.beer_id)
        before = before or Beer(event.beer_id, "", "", None, version=0, removed=False)
        changes = {name: event.data[name] for name in ("name", "brewery", "abv") if name in event.data}
        removed = event.type == "BeerRemoved" or (before.removed and event.type != "BeerRestored")
        after = replace(before, version=event.version, removed=removed, **changes)
        self.beers[event.beer_id] = self.states[event.beer_id, event.version] = after


def _lost(commands: Iterable[Call], log: _Log) -> Iterator[str]:
    for call in commands:
        if call.outcome == ACKNOWLEDGED and call.request_id not in log.caused:
            yield f"lost: {call.method} {call.request_id} was acknowledged, and the log has nothing of it"


def _unexpected(commands: Iterable[Call], log: _Log) -> Iterator[str]:
    attempted = {call.request_id: call for call in commands}
    for event in log.events:
        call = attempted.get(event.request_id)
        if call is None:
            yield f"unexpected: nobody has asked for the event at {event.position} ({event.request_id})"
        elif call.outcome == REFUSED:
            yield f"unexpected: {event.request_id} was refused ({call.code}), and there is an event at {event.position}"
        elif not _is_effect(event, call, log):
            yield f"unexpected: the event at {event.position} is not what {event.request_id} has asked for"


def _is_effect(event: Event, call: Call, log: _Log) -> bool:
    asked = call.arguments.keys() - {"beer_id", "expected_version"}
    state = log.states[event.beer_id, event.version]
    return (
        event.type == CAUSES[call.method]
        and call.arguments.get("beer_id", event.beer_id) == event.beer_id
        and all(getattr(state, name) == call.arguments[name] for name in asked)
    )


def _duplicated(log: _Log) -> Iterator[str]:
    for request_id, events in log.caused.items():
        for event in events[1:]:
            yield f"duplicated: {request_id} had its effect at {events[0].position}, and again at {event.position}"


def _inconsistent(calls: Iterable[Call], log: _Log) -> Iterator[str]:
    for call in calls:
        if call.is_command and call.outcome == REFUSED and call.code not in REFUSALS:
            yield f"inconsistent: {call.request_id} was refused with {call.code}"
        if call.outcome != ACKNOWLEDGED:
            continue
        events = log.caused.get(call.request_id, []) if call.is_command else []
        if events and [(event.beer_id, event.version) for event in events[:1]] != [seen[:2] for seen in call.seen]:
            yield (
                f"inconsistent: {call.request_id} was answered with {call.seen}, and its event is version"
                f" {events[0].version} of beer {events[0].beer_id}"
            )
        expected = call.arguments.get("expected_version")
        if expected is not None and any(version != expected + 1 for _, version, _ in call.seen):
            yield f"inconsistent: {call.request_id} expected version {expected} and was answered with {call.seen}"
        for beer_id, version, name in call.seen:
            if log.name(beer_id, version) != name:
                yield (
                    f"inconsistent: {call.method} at {call.began:.3f} s showed version {version} of beer {beer_id}"
                    f" as {name!r}, and the log says {log.name(beer_id, version)!r}"
                )


def _bugs(calls: Iterable[Call]) -> Iterator[str]:
    for call in calls:
        if BUG in (call.code, *call.failures):
            yield f"bug: {call.method} {call.request_id} at {call.began:.3f} s was answered with {BUG}"


def _stale(calls: Sequence[Call], log: _Log) -> Iterator[str]:
    """Find the reads that do not show what had been acknowledged when they began."""
    acknowledged: dict[int, int] = {}
    answered = sorted(
        (call for call in calls if call.is_command and call.outcome == ACKNOWLEDGED), key=lambda call: call.ended
    )
    number = 0
    for call in sorted((call for call in calls if call.method == "get"), key=lambda call: call.began):
        while number < len(answered) and answered[number].ended < call.began:
            for beer_id, version, _ in answered[number].seen:
                acknowledged[beer_id] = max(acknowledged.get(beer_id, 0), version)
            number += 1
        beer_id = call.arguments["beer_id"]
        if "as_of_time" in call.arguments:
            continue
        if any(version < acknowledged.get(beer_id, 0) for _, version, _ in call.seen):
            yield (
                f"stale: get of beer {beer_id} at {call.began:.3f} s showed {call.seen},"
                f" and version {acknowledged[beer_id]} had been acknowledged"
            )
        if call.code == NO_SUCH_BEER and beer_id in acknowledged and beer_id not in log.ever_removed:
            yield f"stale: get of beer {beer_id} at {call.began:.3f} s found none; it had been added, and never removed"


def _replays(evidence: Evidence, commands: Iterable[Call], log: _Log) -> Iterator[str]:
    answers = {call.request_id: call for call in commands}
    for replay in evidence.replays:
        call = answers.get(replay.request_id)
        if call is not None and call.outcome == ACKNOWLEDGED:
            expected = tuple(call.seen)
        else:
            expected = tuple(
                (event.beer_id, event.version, log.name(event.beer_id, event.version))
                for event in log.caused.get(replay.request_id, ())
            )
        if replay.seen != expected:
            yield (
                f"replays differ: {replay.request_id} was answered with {replay.code} {list(replay.seen)}"
                f" when it was sent again, instead of {list(expected)}"
            )
    if evidence.head != len(evidence.events):
        yield f"replays differ: the log ended at {len(evidence.events)} before them, and at {evidence.head} after them"


def _gaps(events: Sequence[Event]) -> Iterator[str]:
    expected = 1
    for event in events:
        if event.position != expected:
            yield f"gap: at {expected} the log has {event.position}"
        expected = event.position + 1


def _read_model(beers: Mapping[int, Beer], log: _Log) -> Iterator[str]:
    for beer_id in sorted(log.broken):
        yield f"the versions of beer {beer_id} do not follow each other"
    for beer_id in sorted(beers.keys() | log.beers.keys()):
        if beers.get(beer_id) != log.beers.get(beer_id):
            yield f"beer {beer_id} is {beers.get(beer_id)}, and its events say {log.beers.get(beer_id)}"


def _missing(name: str, told: Iterable[Told], log: _Log, verb: str) -> Iterator[str]:
    known = {position for position, _ in told}
    for event in log.events:
        if event.position not in known:
            yield f"{name} {verb} the event at {event.position}"


def _out_of_order(
    name: str, told: Iterable[Told], group: Callable[[int], object] = lambda _position: None
) -> Iterator[str]:
    """Find the positions that came after a later one of the same *group*."""
    latest: dict[object, int] = defaultdict(int)
    for position in dict.fromkeys(position for position, _ in told):
        mine = group(position)
        if position < latest[mine]:
            yield f"{name} was told of the event at {position} for the first time after that at {latest[mine]}"
        latest[mine] = max(latest[mine], position)


def _repeated(name: str, told: Iterable[Told]) -> Iterator[str]:
    for position, times in Counter(position for position, _ in told).items():
        if times > 1:
            yield f"{name} has had the effect of the event at {position} {times} times"


def _invented(name: str, told: Iterable[Told], log: _Log) -> Iterator[str]:
    causes = {event.position: event.request_id for event in log.events}
    for position, request_id in dict.fromkeys(told):
        if causes.get(position) != request_id:
            yield (
                f"unexpected: {name} was told of an event of {request_id} at {position}, where the log has one of"
                f" {causes.get(position)}"
            )
