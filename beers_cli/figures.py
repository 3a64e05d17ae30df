"""What `beers top` tells: figures of all processes together, computed from what they told twice."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from beers_cli.scraping import Growth, Reading

FAILED: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN"})
"""The codes of calls that failed, as the alerts have it: the rest is the caller's, or a refusal."""

OVERLOADED: Final = frozenset({"unread", "calls", "waiting"})
"""Why calls are refused that nobody but us is to blame for; likewise."""

_CALLS: Final = "beers_bridge_call_duration_seconds"

# None is what nobody has told, everywhere below; durations are in seconds, rates a second.


@dataclass(frozen=True, slots=True)
class Process:
    """A process: what runs there, in cores and bytes what it uses, and why it is away (empty if it is not)."""

    endpoint: str
    component: str
    version: str
    cores: float | None
    memory: float | None
    away: str


@dataclass(frozen=True, slots=True)
class Method:
    """Calls of one method that ended: how many, of what duration, and of which codes."""

    method: str
    rate: float
    p50: float | None
    p99: float | None
    codes: dict[str, float]


@dataclass(frozen=True, slots=True)
class Health:
    """Whether it works: how many bridges serve, what is missing, and whose connections and stores are away."""

    bridges: int
    serving: int
    breakers_open: int
    missing: list[str]
    broker: bool | None
    store: bool | None


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls at all bridges; *failed* is the share of them that did."""

    rate: float | None
    failed: float | None
    p50: float | None
    p99: float | None
    in_progress: float | None
    in_progress_limit: float | None
    waiting: float | None
    waiting_limit: float | None
    refused: dict[str, float]
    methods: list[Method]


@dataclass(frozen=True, slots=True)
class Work:
    """From the bridges to the store: messages of several calls, and transactions of several commands."""

    batch_calls: float | None
    batch_p50: float | None
    batch_p99: float | None
    queue_wait_p99: float | None
    messages_in_progress: float | None
    workers: float | None
    commands_waiting: float | None
    commit_commands: float | None
    commit_p50: float | None
    commit_p99: float | None
    commits_failed: float | None
    events: float | None
    position: float | None


@dataclass(frozen=True, slots=True)
class Telling:
    """From the store to the bus, and to those who watch; lags are in events unless they say seconds."""

    leaders: int | None
    lag: float | None
    lag_seconds: float | None
    published: float | None
    again: float | None
    watchers: float | None
    catching_up: float | None
    watch_lag: float | None
    feed_lag: float | None
    watch_events: float | None


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A consumer of the kit: *behind* in events, *dead_letters* since its processes began."""

    consumer: str
    connected: bool
    behind: float
    done: float | None
    failed: float | None
    dead_letters: float


@dataclass(frozen=True, slots=True)
class Figures:
    """All of it."""

    processes: list[Process]
    health: Health
    calls: Calls
    work: Work
    telling: Telling
    subscribers: list[Subscriber]


def figures(readings: Sequence[Reading]) -> Figures:
    """Return what *readings* amount to."""
    told = _Told([reading.growth for reading in readings if reading.growth is not None])
    return Figures(
        [_process(reading) for reading in readings],
        _health(told),
        _calls(told),
        _work(told),
        _telling(told),
        [_subscriber(told, consumer) for consumer in sorted(told.values_of("beers_subscriber_head", "consumer"))],
    )


class _Told:
    """What all processes tell, taken together."""

    def __init__(self, growths: Sequence[Growth]) -> None:
        self._growths = growths

    def values(self, name: str, **labels: str) -> list[float]:
        return [
            value
            for growth in self._growths
            for found, value in growth.samples.get(name, {}).items()
            if labels.items() <= found
        ]

    def values_of(self, name: str, label: str) -> set[str]:
        return {dict(found)[label] for growth in self._growths for found in growth.samples.get(name, {})}

    def all_of(self, fold: Callable[[Iterable[float]], float], name: str, **labels: str) -> float | None:
        values = self.values(name, **labels)
        return fold(values) if values else None

    def total(self, name: str, **labels: str) -> float | None:
        return self.all_of(sum, name, **labels)

    def rates(self, name: str, label: str) -> dict[str, float]:
        """Return how fast the counter *name* grows, by the values of *label*; those that do not are left out."""
        rates: defaultdict[str, float] = defaultdict(float)
        for labels, rate in self._rates(name):
            rates[labels.get(label, "")] += rate
        return {value: rate for value, rate in sorted(rates.items()) if rate}

    def rate(self, name: str, **labels: str) -> float | None:
        found = [rate for those, rate in self._rates(name) if labels.items() <= those.items()]
        return sum(found) if found else None

    def buckets(self, name: str, **labels: str) -> dict[float, float]:
        """Return by how much the histogram *name* has grown, by the upper bounds of its buckets."""
        found: defaultdict[float, float] = defaultdict(float)
        for growth in self._growths:
            for those, increase in growth.increases(f"{name}_bucket").items():
                if labels.items() <= those:
                    found[float(dict(those)["le"])] += increase
        return found

    def quantile(self, share: float, name: str, **labels: str) -> float | None:
        return quantile(share, self.buckets(name, **labels))

    def mean(self, name: str) -> float | None:
        total, count = self.rate(f"{name}_sum"), self.rate(f"{name}_count")
        return total / count if total is not None and count else None

    def _rates(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        for growth in self._growths:
            for labels, increase in growth.increases(name).items():
                yield dict(labels), increase / growth.seconds


def quantile(share: float, buckets: dict[float, float]) -> float | None:
    """Return what so large a *share* of the values does not exceed, as Prometheus estimates it; None if there are none.

    Args:
        share: From 0 to 1.
        buckets: How many values are at most as large as each upper bound, infinity among them.
    """
    total = buckets.get(math.inf, 0.0)
    if not total:
        return None
    wanted = share * total
    below, bound_below = 0.0, 0.0
    for bound in sorted(buckets):
        if buckets[bound] >= wanted and buckets[bound] > below:
            if math.isinf(bound):
                break  # longer than the longest that is told apart
            return bound_below + (bound - bound_below) * (wanted - below) / (buckets[bound] - below)
        below, bound_below = buckets[bound], bound if math.isfinite(bound) else bound_below
    return bound_below


def _process(reading: Reading) -> Process:
    growth = reading.growth
    if growth is None:
        return Process(reading.endpoint, "", "", None, None, reading.why)
    told = _Told([growth])
    build = next((dict(labels) for labels in growth.samples.get("beers_build_info", ())), {})
    return Process(
        reading.endpoint,
        build.get("component", "not ours"),
        build.get("version", ""),
        told.rate("process_cpu_seconds_total"),
        told.total("process_resident_memory_bytes"),
        "",
    )


def _health(told: _Told) -> Health:
    serving = told.values("beers_bridge_serving")
    broker, store = (told.all_of(min, name) for name in ("beers_broker_up", "beers_store_up"))
    parts = told.values_of("beers_bridge_missing", "part")
    return Health(
        bridges=len(serving),
        serving=round(sum(serving)),
        breakers_open=round(told.total("beers_bridge_breaker_open") or 0),
        missing=sorted(part for part in parts if told.total("beers_bridge_missing", part=part)),
        broker=None if broker is None else bool(broker),
        store=None if store is None else bool(store),
    )


def _calls(told: _Told) -> Calls:
    refused = told.rates("beers_bridge_calls_refused_total", "reason")
    codes = told.rates(f"{_CALLS}_count", "code")
    unread = refused.get("unread", 0.0)
    rate = told.rate("beers_bridge_calls_refused_total", reason="unread")
    if rate is not None:  # there is a bridge that has told twice
        rate = sum(codes.values()) + unread
    bad = sum(codes.get(code, 0.0) for code in FAILED) + sum(refused.get(reason, 0.0) for reason in OVERLOADED)
    return Calls(
        rate=rate,
        failed=bad / rate if rate else None,
        p50=told.quantile(0.5, _CALLS),
        p99=told.quantile(0.99, _CALLS),
        in_progress=told.total("beers_bridge_calls_in_progress"),
        in_progress_limit=told.total("beers_bridge_limit", of="calls"),
        waiting=told.total("beers_bridge_calls_waiting"),
        waiting_limit=told.total("beers_bridge_limit", of="waiting"),
        refused=refused,
        methods=_methods(told),
    )


def _methods(told: _Told) -> list[Method]:
    rates = told.rates(f"{_CALLS}_count", "method")
    return [
        Method(
            method,
            rates[method],
            told.quantile(0.5, _CALLS, method=method),
            told.quantile(0.99, _CALLS, method=method),
            {
                code: rate
                for code in sorted(told.values_of(f"{_CALLS}_count", "code"))
                if (rate := told.rate(f"{_CALLS}_count", method=method, code=code))
            },
        )
        for method in sorted(rates, key=lambda method: -rates[method])
    ]


def _work(told: _Told) -> Work:
    batches, commits = "beers_bridge_batch_duration_seconds", "beers_service_commit_duration_seconds"
    return Work(
        batch_calls=told.mean("beers_bridge_batch_calls"),
        batch_p50=told.quantile(0.5, batches),
        batch_p99=told.quantile(0.99, batches),
        queue_wait_p99=told.quantile(0.99, "beers_service_queue_wait_seconds"),
        messages_in_progress=told.total("beers_service_messages_in_progress"),
        workers=told.total("beers_service_limit", of="workers"),
        commands_waiting=told.total("beers_service_commands_waiting"),
        commit_commands=told.mean("beers_service_commit_commands"),
        commit_p50=told.quantile(0.5, commits),
        commit_p99=told.quantile(0.99, commits),
        commits_failed=told.rate("beers_service_commits_failed_total"),
        events=told.rate("beers_service_events_appended_total"),
        position=told.all_of(max, "beers_log_head_position"),
    )


def _telling(told: _Told) -> Telling:
    leaders = told.total("beers_relay_leader")
    return Telling(
        leaders=None if leaders is None else round(leaders),
        lag=told.all_of(max, "beers_relay_lag_events"),
        lag_seconds=told.all_of(max, "beers_relay_lag_seconds"),
        published=told.rate("beers_relay_events_published_total"),
        again=told.rate("beers_relay_failures_total"),
        watchers=told.total("beers_bridge_watchers"),
        catching_up=told.total("beers_bridge_watchers_catching_up"),
        watch_lag=told.all_of(max, "beers_bridge_watch_lag_events"),
        feed_lag=told.all_of(max, "beers_bridge_feed_lag_events"),
        watch_events=told.rate("beers_bridge_watch_events_total"),
    )


def _subscriber(told: _Told, consumer: str) -> Subscriber:
    head, mark = (told.all_of(max, f"beers_subscriber_{name}", consumer=consumer) or 0.0 for name in ("head", "mark"))
    return Subscriber(
        consumer,
        connected=any(told.values("beers_subscriber_broker_up", consumer=consumer)),
        behind=max(0.0, head - mark),
        done=told.rate("beers_subscriber_events_total", consumer=consumer, outcome="done"),
        failed=told.rate("beers_subscriber_events_total", consumer=consumer, outcome="failed"),
        dead_letters=told.total("beers_subscriber_dead_letters_total", consumer=consumer) or 0.0,
    )
