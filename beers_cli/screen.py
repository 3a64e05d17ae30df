"""What `beers top` looks like."""

from collections.abc import Iterable, Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from beers_cli.figures import Figures, Health, Process, Subscriber

_UNKNOWN = "\N{EN DASH}"
_SLOW = 0.25
"""Seconds within which 99 of 100 calls are to be answered."""
_FAILING = 0.001
"""The share of calls that may fail."""
_LATE = 10.0
_BEHIND = 1000.0
_FULL = 0.8

_GOOD, _ODD, _BAD = "green", "yellow", "bold red"

Row = tuple[str, "str | Text"]


def screen(figures: Figures, title: str) -> RenderableType:
    """Return *figures* as tables, under *title*."""
    calls, work, telling = figures.calls, figures.work, figures.telling
    blocks = Table.grid(padding=(0, 3))
    for _ in range(3):
        blocks.add_column(vertical="top")
    blocks.add_row(
        _block(
            "BRIDGE",
            ("calls in progress", _of(calls.in_progress, calls.in_progress_limit)),
            ("calls waiting", _of(calls.waiting, calls.waiting_limit)),
            ("refused", _number(0) if calls.rate is not None and not calls.refused else _rates(calls.refused)),
            ("calls in a message", _number(work.batch_calls)),
            ("message p50, p99", _times(work.batch_p50, work.batch_p99)),
        ),
        _block(
            "SERVICE",
            ("messages worked on", _of(work.messages_in_progress, work.workers)),
            ("queue wait p99", _time(work.queue_wait_p99, 1.0)),
            ("commands in a commit", _number(work.commit_commands)),
            ("commit p50, p99", _times(work.commit_p50, work.commit_p99)),
            ("commits failed", _rate(work.commits_failed, bad=True)),
            ("events committed", _rate(work.events)),
        ),
        _block(
            "RELAY AND WATCHERS",
            ("position", _number(work.position)),
            ("not told yet", _lag(telling.lag, telling.lag_seconds)),
            ("events told", _rate(telling.published)),
            ("windows again", _rate(telling.again, bad=True)),
            ("watchers", _watchers(telling.watchers, telling.catching_up)),
            ("last one behind by", _number(telling.watch_lag, _BEHIND)),
            ("events to them", _rate(telling.watch_events)),
        ),
    )
    parts: list[RenderableType] = [
        Text(title, style="bold"),
        _health(figures.health, telling.leaders),
        _processes(figures.processes),
        _methods(figures),
        blocks,
    ]
    if figures.subscribers:
        parts.append(_subscribers(figures.subscribers))
    if all(process.away for process in figures.processes):
        hint = "Nobody tells anything. `METRICS_PORT=9464 beers up` has its processes do so; --metrics names others."
        parts.append(Text(hint, style=_ODD))
    gap = Text("")
    return Group(*parts[:2], *(line for part in parts[2:] for line in (gap, part)))


def _health(health: Health, leaders: int | None) -> Text:
    serving = f"{health.serving} of {health.bridges} serve" if health.bridges else _UNKNOWN
    states = [
        ("bridges", Text(serving, style=_GOOD if 0 < health.bridges == health.serving else _BAD)),
        ("RabbitMQ", _state(good=health.broker, words=("up", "down"))),
        ("store", _state(good=health.store, words=("up", "down"))),
        ("relay", _state(good=None if leaders is None else leaders == 1, words=("leads", f"{leaders} lead"))),
    ]
    if health.breakers_open:
        states.append(("breaker", Text(f"open at {health.breakers_open}", style=_BAD)))
    if health.missing:
        states.append(("missing", Text(", ".join(health.missing), style=_BAD)))
    return Text("   ").join(Text.assemble((f"{name} ", "dim"), state) for name, state in states)


def _processes(processes: Iterable[Process]) -> Table:
    table = _table("PROCESS", "WHERE", "VERSION", "CORES", "MEMORY", numbers=("CORES", "MEMORY"))
    for process in processes:
        if process.away:
            table.add_row(Text("away", style=_BAD), process.endpoint, Text(process.away, style=_BAD))
            continue
        memory = _UNKNOWN if process.memory is None else f"{process.memory / 2**20:.0f} MiB"
        cores = _UNKNOWN if process.cores is None else f"{process.cores:.2f}"
        table.add_row(Text(process.component, style="bold"), process.endpoint, process.version, cores, memory)
    return table


def _methods(figures: Figures) -> Table:
    calls = figures.calls
    table = _table("CALLS", "/S", "P50", "P99", "CODES /S", numbers=("/S", "P50", "P99"))
    share = _UNKNOWN if calls.failed is None else f"{calls.failed:.2%} failed"
    failed = Text(share, style=_BAD if calls.failed and calls.failed > _FAILING else "")
    table.add_row(Text("all", style="bold"), _rate(calls.rate), _time(calls.p50), _time(calls.p99, _SLOW), failed)
    for method in calls.methods:
        codes = _rates(method.codes)
        table.add_row(method.method, _rate(method.rate), _time(method.p50), _time(method.p99, _SLOW), codes)
    return table


def _subscribers(subscribers: Iterable[Subscriber]) -> Table:
    columns = ("BEHIND", "DONE /S", "FAILED /S", "DEAD LETTERS")
    table = _table("SUBSCRIBER", "RABBITMQ", *columns, numbers=columns)
    for subscriber in subscribers:
        table.add_row(
            subscriber.consumer,
            _state(good=subscriber.connected, words=("up", "down")),
            _number(subscriber.behind, _BEHIND),
            _rate(subscriber.done),
            _rate(subscriber.failed, bad=True),
            _number(subscriber.dead_letters, 1),
        )
    return table


def _table(*columns: str, numbers: Iterable[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=column in numbers)
    return table


def _block(title: str, *rows: Row) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(title, style="dim")
    table.add_column("", justify="right")
    for name, value in rows:
        table.add_row(name, value)
    return table


def _state(*, good: bool | None, words: tuple[str, str]) -> Text:
    if good is None:
        return Text(_UNKNOWN)
    return Text(words[0], style=_GOOD) if good else Text(words[1], style=_BAD)


def _number(value: float | None, bad: float | None = None) -> Text:
    if value is None:
        return Text(_UNKNOWN)
    shown = f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"
    return Text(shown, style=_BAD if bad is not None and value >= bad else "")


def _of(value: float | None, limit: float | None) -> Text:
    if value is None or not limit:
        return _number(value)
    return Text(f"{value:,.0f} of {limit:,.0f}", style=_BAD if value > _FULL * limit else "")


def _rate(value: float | None, *, bad: bool = False) -> Text:
    if value is None:
        return Text(_UNKNOWN)
    shown = f"{value:,.0f}" if value >= 10 or not value else f"{value:.1f}"  # noqa: PLR2004 - two digits tell enough
    return Text(shown, style=_BAD if bad and value else "")


def _rates(rates: Mapping[str, float]) -> Text:
    if not rates:
        return Text(_UNKNOWN)
    return Text("  ").join(
        Text.assemble(f"{name} ", _rate(rate), style="" if name == "OK" else _ODD) for name, rate in rates.items()
    )


def _time(seconds: float | None, bad: float | None = None) -> Text:
    if seconds is None:
        return Text(_UNKNOWN)
    shown = f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
    return Text(shown, style=_BAD if bad is not None and seconds > bad else "")


def _times(*values: float | None) -> Text:
    return Text("  ").join(map(_time, values))


def _lag(events: float | None, seconds: float | None) -> Text:
    if events is None or seconds is None:
        return _number(events)
    return Text(f"{events:,.0f}, {seconds:.1f} s", style=_BAD if seconds > _LATE else "")


def _watchers(watchers: float | None, catching_up: float | None) -> Text:
    behind = f", {catching_up:,.0f} catching up" if catching_up else ""
    return _number(watchers) + Text(behind, style=_ODD)
