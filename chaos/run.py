"""One run, from the first process to the verdict."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nameko.standalone.rpc import ClusterRpcProxy

from beers_service.domain.errors import StoreUnavailable
from chaos import following, history, tap, timeline
from chaos.assistant import Assistant
from chaos.history import ACKNOWLEDGED, Call
from chaos.nemesis import Ground, Nemesis
from chaos.schedule import FREEZE, KILL, Fault, counted, plan
from chaos.stage import ROOT, Cast, Stage, staged
from chaos.verdict import Beer, Event, Evidence, Replay, Verdict, chosen, judge

SERVING_PATIENCE = 60.0
"""Seconds within which a product has to serve once everything that it needs is there."""

QUIET_PATIENCE = 120.0
"""Seconds within which, after that, everything has to be published and to have had its effect."""

END_PATIENCE = 60.0
"""Seconds that one of our own programs may take to end when it is told to."""

CALM = 3.0
"""Seconds for which the workload goes on when everything is well again."""

WATCHERS = 4
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Options:
    """What is run.

    Attributes:
        seed: Decides what is done and what is called, though not how they meet.
        seconds: How long the workload and the faults last.
        cast: What with.
        clients: How many clients call at the same time.
        think: Seconds that each waits between two calls, on average.
    """

    seed: int
    seconds: float
    cast: Cast
    clients: int
    think: float


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it.

    Attributes:
        verdict: The verdict.
        faults: What was done.
        kills: How many kills there were, by role.
        freezes: The same for SIGSTOP.
        silence: The longest time in which no call was answered, in seconds.
        silences: The same for the time around each kill.
        serving: After how many seconds all bridges were serving, once everything was well again.
        rate: Calls that were answered a second, on average.
        codes: How many attempts ended with each gRPC status.
        streams: How often the streams of the watchers ended.
    """

    verdict: Verdict
    faults: Sequence[Fault]
    kills: Mapping[str, int]
    freezes: Mapping[str, int]
    silence: float
    silences: Sequence[float]
    serving: float
    rate: float
    codes: Mapping[str, int]
    streams: int


Disturb = Callable[[Nemesis, Stage, float], None]
"""Takes things away with a nemesis, in a run that began then (`time.monotonic`), and returns when it is done."""


def run(options: Options, folder: Path, say: Callable[[str], None], disturb: Disturb | None = None) -> Result:
    """Run it; everything that is worth keeping goes to *folder*, which is there and empty.

    Args:
        options: What is run.
        folder: Where that goes.
        say: Takes lines for people.
        disturb: Does something else than the schedule of the seed, and takes as long as it likes.
    """
    with staged(options.cast, folder, say) as stage:
        return _Run(options, folder, say, stage, disturb).result()


class _Run:
    def __init__(
        self, options: Options, folder: Path, say: Callable[[str], None], stage: Stage, disturb: Disturb | None
    ) -> None:
        self._disturb = disturb
        self._options = options
        self._folder = folder
        self._say = say
        self._stage = stage
        self._history = folder / "history.jsonl"
        self._incidents: list[str] = []

    def result(self) -> Result:
        options, stage = self._options, self._stage
        faults = () if self._disturb else plan(options.seed, options.seconds, stage.targets)
        tap.open_tap(stage.amqp_uri, options.cast.queue_type)
        self._read_back([])  # it serves before anything is done to it
        began = time.monotonic()
        with self._program("watching", *self._watching()) as watching, self._workload(began) as workload:
            ground = Ground(stage.parts, stage.links, stage.disk, lambda seconds: workload.tell(f"clock {seconds}"))
            nemesis = Nemesis(ground, faults, self._say)
            try:
                if self._disturb is None:
                    nemesis.run(began, began + options.seconds)
                else:
                    self._disturb(nemesis, stage, began)
            finally:
                lasted = time.monotonic() - began
                nemesis.heal()
            self._say("everything is healed")
            nemesis.watch(CALM, lambda: False)
            workload.tell("stop")
            nemesis.watch(END_PATIENCE, workload.ended)
            workload.finish(self._incidents)
            self._say("the clients have ended; waiting for the bus and the subscriber")
            if not nemesis.watch(QUIET_PATIENCE, self._is_quiet):
                self._incidents.append(f"it was not quiet within {QUIET_PATIENCE:g} s after the last fault")
            self._say("reading everything back")
            watching.tell(str(stage.head()))
            nemesis.watch(END_PATIENCE, watching.ended)
            watchers = json.loads(watching.finish(self._incidents) or "[]")
        kills = counted(nemesis.done, KILL, stage.targets.roles)
        self._incidents += [f"no {role} was killed: the run shows too little" for role in kills if not kills[role]]
        evidence, serving = self._evidence(watchers, nemesis)
        self._say("judging")
        verdict = judge(evidence)
        (self._folder / "faults.json").write_text(json.dumps([asdict(fault) for fault in nemesis.done], indent=1))
        title = f"seed {options.seed}, {options.cast.store}: {verdict.acknowledged:,} commands acknowledged"
        seconds = timeline.timeline(evidence.calls, lasted)
        timeline.draw(seconds, nemesis.done, title, self._folder / "timeline.svg")
        attempts = [code for call in evidence.calls for code in (*call.failures, call.code or "unanswered")]
        answered = sum(call.outcome == ACKNOWLEDGED for call in evidence.calls)
        return Result(
            verdict=verdict,
            faults=nemesis.done,
            kills=kills,
            freezes=counted(nemesis.done, FREEZE, stage.targets.roles),
            silence=round(timeline.longest_silence(evidence.calls), 3),
            silences=timeline.silences(evidence.calls, [fault.at for fault in nemesis.done if fault.kind == KILL]),
            serving=serving,
            rate=round(answered / lasted, 1),
            codes={code: attempts.count(code) for code in sorted(set(attempts))},
            streams=sum(sum(watcher["ends"].values()) for watcher in watchers),
        )

    def _evidence(self, watchers: Sequence[Any], nemesis: Nemesis) -> tuple[Evidence, float]:
        calls = list(history.read(self._history))
        events = self._events(0)
        read = self._read_back(chosen(calls, events))
        head = len(events) + len(self._events(len(events)))
        self._verify()
        told = {f"watcher {number}": watcher["told"] for number, watcher in enumerate(watchers, start=1)}
        told |= {"a new watcher": read["told"], "the bare queue": tap.drain(self._stage.amqp_uri)}
        evidence = Evidence(
            calls=calls,
            events=events,
            beers={beer["id"]: Beer(**beer) for beer in read["beers"]},
            replays=[
                Replay(one["request_id"], one["code"], tuple((*seen,) for seen in one["seen"]))
                for one in read["replays"]
            ],
            head=head,
            watched={name: [(position, request_id) for position, request_id in seen] for name, seen in told.items()},
            effects=following.noted(self._stage.follower),
            strict={following.STRICT},
            incidents=[*nemesis.incidents, *self._incidents],
        )
        return evidence, float(read["serving"])

    def _is_quiet(self) -> bool:
        try:
            return self._stage.is_quiet()
        except StoreUnavailable:
            return False

    def _watching(self) -> list[str]:
        return ["--watchers", str(WATCHERS), "--patience", str(END_PATIENCE / 2), *self._stage.addresses]

    @contextmanager
    def _workload(self, began: float) -> Iterator[Assistant]:
        options = self._options
        arguments = {
            "--seed": options.seed,
            "--clients": options.clients,
            "--think": options.think,
            "--began": began,
            "--history": self._history,
        }
        flat = [str(word) for pair in arguments.items() for word in pair]
        with self._program("workload", *flat, *self._stage.addresses) as workload:
            yield workload

    @contextmanager
    def _program(self, name: str, *arguments: str) -> Iterator[Assistant]:
        program = Assistant(name, arguments, self._folder)
        try:
            yield program
        finally:
            program.close()

    def _read_back(self, calls: Sequence[Call]) -> dict[str, Any]:
        """Read everything through gRPC, and send *calls* once more."""
        file = self._folder / "replays.jsonl"
        file.write_text("".join(call.line() for call in calls), encoding="utf-8")
        arguments = ("--replays", str(file), "--serving-within", str(SERVING_PATIENCE), *self._stage.addresses)
        with self._program("reading", *arguments) as reading:
            reading.wait(SERVING_PATIENCE + QUIET_PATIENCE)
            printed = reading.finish(self._incidents)
        return json.loads(printed) if printed else {"serving": -1, "beers": [], "replays": [], "told": []}

    def _events(self, after: int) -> list[Event]:
        """Read the log by RPC, as a Python team would."""
        found: list[Event] = []
        with ClusterRpcProxy({"AMQP_URI": self._stage.amqp_uri}, timeout=30) as cluster:
            while True:
                page = cluster.beers.events(after=after, limit=_PAGE)
                found += [
                    Event(
                        event["position"],
                        event["beer_id"],
                        event["version"],
                        event["type"],
                        event["request_id"],
                        event["data"],
                    )
                    for event in page["events"]
                ]
                if page["through"] == page["head"]:
                    return found
                after = page["through"]

    def _verify(self) -> None:
        """Let `beers admin verify` look into the store, past the service."""
        done = subprocess.run(
            [sys.executable, "-m", "beers_cli", "admin", "verify", "--database-url", self._stage.database_url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=END_PATIENCE * 5,
        )
        (self._folder / "verify.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
        if done.returncode:
            self._incidents.append(f"beers admin verify: {done.stderr.strip() or done.stdout.strip()}")
