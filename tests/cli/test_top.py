"""`beers top`: what it makes of scrapes, how it looks, and that no endpoint keeps it from going on."""

import io
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from beers_cli import processes, scraping
from beers_cli.application import application
from beers_cli.figures import FAILED, OVERLOADED, Figures, figures, quantile
from beers_cli.scraping import Growth, Reading, Scrape, Unreadable, parse, scrape
from beers_cli.screen import screen

ROOT = Path(__file__).parents[2]


def bridge(adds: int = 0, slow: int = 0, failed: int = 0, born: int = 100, refused: int = 0, **gauges: float) -> str:
    """Return what a bridge tells that has answered *adds* within 10 ms, *slow* within a second and *failed* at once."""
    calls = "beers_bridge_call_duration_seconds"
    lines = [
        f"process_start_time_seconds {born}",
        f"process_cpu_seconds_total {adds / 100}",
        'beers_build_info{version="0.1.0",component="bridge",python="3.11"} 1',
        f'{calls}_bucket{{method="AddBeer",code="OK",le="0.01"}} {adds}',
        f'{calls}_bucket{{method="AddBeer",code="OK",le="1.0"}} {adds + slow}',
        f'{calls}_bucket{{method="AddBeer",code="OK",le="+Inf"}} {adds + slow}',
        f'{calls}_count{{method="AddBeer",code="OK"}} {adds + slow}',
        f'beers_bridge_calls_refused_total{{reason="unread"}} {refused}',
        f'beers_bridge_calls_refused_total{{reason="client_rate"}} {0}',
        f'beers_bridge_missing{{part="broker"}} {gauges.pop("broker_missing", 0)}',
    ]
    if failed:
        lines += [
            f'{calls}_bucket{{method="GetBeer",code="UNAVAILABLE",le="{bound}"}} {failed}'
            for bound in ("0.01", "1.0", "+Inf")
        ]
        lines.append(f'{calls}_count{{method="GetBeer",code="UNAVAILABLE"}} {failed}')
    lines += [f"beers_bridge_{name} {value}" for name, value in gauges.items()]
    types = [f"# TYPE {calls} histogram", "# TYPE beers_bridge_calls_refused_total counter"]
    return "\n".join([*types, *lines]) + "\n"


def told(*pairs: tuple[str | None, str], seconds: float = 2.0) -> Figures:
    """Return the figures of processes that have told one thing, and another so many *seconds* later."""
    return figures(
        [
            Reading(
                f"127.0.0.1:{9464 + number}",
                Growth(None if before is None else Scrape(10.0, parse(before)), Scrape(10.0 + seconds, parse(after))),
            )
            for number, (before, after) in enumerate(pairs)
        ]
    )


def test_rates_are_what_was_added_by_the_time_that_it_took() -> None:
    calls = told((bridge(adds=100), bridge(adds=160, slow=20))).calls
    assert calls.rate == 40
    (method,) = calls.methods
    assert (method.method, method.rate, method.codes) == ("AddBeer", 40, {"OK": 40})


def test_quantiles_are_those_of_the_calls_in_between_and_of_all_bridges() -> None:
    before = bridge(adds=1_000_000)
    calls = told((before, bridge(adds=1_000_060)), (before, bridge(adds=1_000_000, slow=20))).calls
    # 60 of 80 within 10 ms: half of all at two thirds of that bucket, 99 of 100 near the end of the next.
    assert calls.p50 == pytest.approx(0.01 * 40 / 60)
    assert calls.p99 == pytest.approx(0.01 + 0.99 * (79.2 - 60) / 20)


def test_a_quantile_beyond_the_last_bound_is_that_bound_and_without_values_there_is_none() -> None:
    assert quantile(0.99, {1.0: 10, 5.0: 10, float("inf"): 20}) == 5.0
    assert quantile(0.5, {1.0: 0, float("inf"): 0}) is None
    assert quantile(0.5, {}) is None


def test_a_process_that_began_anew_counts_from_nothing_also_where_it_is_beyond_the_one_before() -> None:
    assert told((bridge(adds=100), bridge(adds=30, born=200))).calls.rate == 15
    assert told((bridge(adds=100), bridge(adds=120, born=200))).calls.rate == 60


def test_a_counter_that_began_anew_counts_from_nothing() -> None:
    assert told((bridge(adds=100), bridge(adds=30))).calls.rate == 15


def test_what_is_counted_for_the_first_time_counts_from_nothing() -> None:
    calls = told((bridge(adds=10), bridge(adds=10, failed=4))).calls
    assert [(method.method, method.codes) for method in calls.methods] == [("GetBeer", {"UNAVAILABLE": 2})]


def test_the_first_look_has_no_rates_but_all_that_is_no_rate() -> None:
    now = told((None, bridge(adds=100, calls_in_progress=7, serving=1)))
    assert (now.calls.rate, now.calls.p99, now.calls.methods, now.processes[0].cores) == (None, None, [], None)
    assert (now.calls.in_progress, now.health.serving) == (7, 1)


def test_calls_that_fail_are_a_share_of_all_and_those_that_were_refused_unread_are_among_them() -> None:
    now = told((bridge(), bridge(adds=70, failed=20, refused=10)))
    assert now.calls.failed == 0.3
    assert now.calls.rate == 50
    assert now.calls.refused == {"unread": 5}


def test_a_failure_is_what_the_alerts_take_for_one() -> None:
    rules = yaml.safe_load((ROOT / "telemetry/alerts.yaml").read_text())["groups"][0]["rules"]
    expression = next(rule["expr"] for rule in rules if rule["record"] == "beers:calls_failed:ratio_rate5m")
    codes, reasons = (re.search(rf'{label}=~"([^"]+)"', expression) for label in ("code", "reason"))
    assert codes
    assert reasons
    assert set(codes[1].split("|")) == FAILED
    assert set(reasons[1].split("|")) == OVERLOADED


def test_health_is_that_of_all_bridges() -> None:
    up, down = bridge(serving=1, breaker_open=0), bridge(serving=0, breaker_open=1, broker_missing=1)
    health = told((up, up), (down, down)).health
    assert (health.bridges, health.serving, health.breakers_open, health.missing) == (2, 1, 1, ["broker"])
    assert (health.broker, health.store) == (None, None)


def test_a_subscriber_is_behind_by_what_its_processes_have_seen_less_what_is_done() -> None:
    def taps(done: int, mark: int, head: int) -> str:
        return (
            f'beers_subscriber_events_total{{consumer="taps.on_added",outcome="done"}} {done}\n'
            f'beers_subscriber_mark{{consumer="taps.on_added"}} {mark}\n'
            f'beers_subscriber_head{{consumer="taps.on_added"}} {head}\n'
            f'beers_subscriber_broker_up{{consumer="taps.on_added"}} 1\n'
            f'beers_subscriber_dead_letters_total{{consumer="taps.on_added",reason="given_up"}} 3\n'
        )

    (subscriber,) = told((taps(0, 0, 0), taps(10, 40, 90)), (taps(0, 0, 0), taps(20, 50, 80))).subscribers
    assert (subscriber.consumer, subscriber.behind, subscriber.done) == ("taps.on_added", 40, 15)
    assert (subscriber.connected, subscriber.dead_letters) == (True, 6)


def test_the_picture_has_the_figures_and_says_who_is_away_and_why() -> None:
    growth = Growth(Scrape(0, parse(bridge())), Scrape(1, parse(bridge(adds=120, failed=5, serving=1))))
    readings = [Reading("127.0.0.1:9464", growth), Reading("127.0.0.1:9465", None, "connection refused")]
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(screen(figures(readings), "beers"))
    text = console.export_text()
    assert re.search(r"bridges 1 of 1 serve", text)
    assert re.search(r"bridge +127.0.0.1:9464 +0.1.0 +1.20", text)
    assert re.search(r"away +127.0.0.1:9465 +connection refused", text)
    assert re.search(r"all +125 .*4.00% failed", text)
    assert re.search(r"GetBeer +5.0 .*UNAVAILABLE 5.0", text)


class Told(BaseHTTPRequestHandler):
    """Answers with what the server's `tell` returns."""

    def do_GET(self) -> None:
        status, text = self.server.tell()  # type: ignore[attr-defined] # set below
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[], tuple[int, str]]], str]]:
    servers: list[ThreadingHTTPServer] = []

    def begin(tell: Callable[[], tuple[int, str]]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Told)
        server.tell = tell  # type: ignore[attr-defined] # whom the handler asks
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{server.server_port}"

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


Serve = Callable[[Callable[[], tuple[int, str]]], str]


def growing(step: int) -> Callable[[], tuple[int, str]]:
    """Return who tells of *step* more calls each time."""
    adds = iter(range(0, 1_000_000, step))
    return lambda: (200, bridge(adds=next(adds), serving=1))


def top(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "beers_cli", "top", *arguments]


def test_once_as_json_has_the_rates_of_the_interval_and_those_who_are_away(serve: Serve) -> None:
    address, free = serve(growing(50)), f"127.0.0.1:{processes.free_port()}"
    metrics = ["--metrics", address, "--metrics", free]
    done = subprocess.run(
        top(*metrics, "--once", "--json", "--interval", "0.1"), capture_output=True, text=True, check=True, timeout=30
    )
    told = json.loads(done.stdout)
    assert told["calls"]["rate"] > 10
    assert [(process["component"], process["away"]) for process in told["processes"]] == [
        ("bridge", ""),
        ("", "connection refused"),
    ]


@pytest.mark.parametrize("form", [["--json"], []])
def test_once_fails_if_every_process_is_away(form: list[str]) -> None:
    away = ["--metrics", f"127.0.0.1:{processes.free_port()}", "--metrics", f"127.0.0.1:{processes.free_port()}"]
    done = CliRunner().invoke(application, ["top", *away, "--once", "--interval", "0.1", *form])
    assert done.exit_code == 1
    assert done.output.count("connection refused") == 2


def test_it_goes_on_while_a_process_is_away_until_ctrl_c_and_ends_without_a_traceback(serve: Serve) -> None:
    answers = iter([200, 200, 503, 200])
    tell = growing(50)
    address = serve(lambda: (next(answers, 200), tell()[1]))
    with subprocess.Popen(
        top("--metrics", address, "--json", "--interval", "0.1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        seen = [json.loads(process.stdout.readline())["processes"][0]["away"] for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert seen == ["", "answers 503 Service Unavailable", ""]
    assert (process.returncode, errors) == (130, "")


def test_on_a_terminal_it_draws_and_gives_the_terminal_back_on_ctrl_c(serve: Serve) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    command = top("--metrics", serve(growing(50)), "--interval", "0.1")
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123 - a descriptor
            drawn = b""
            while drawn.count(b"AddBeer") < 2:
                drawn += terminal.read(4096)
            process.send_signal(signal.SIGINT)
            with suppress(OSError):  # Linux says so when nobody writes there any more
                while more := terminal.read(4096):
                    drawn += more
        assert process.wait(30) == 130
    assert b"1 of 1 serve" in drawn
    # The other screen, and the cursor, there and back.
    assert drawn.index(b"\x1b[?1049h") < drawn.index(b"AddBeer") < drawn.index(b"\x1b[?1049l")
    assert drawn.rindex(b"\x1b[?25h") > drawn.rindex(b"\x1b[?25l")
    assert b"Traceback" not in drawn


def test_it_refuses_an_endpoint_that_is_none() -> None:
    done = CliRunner().invoke(application, ["top", "--metrics", "somewhere"])
    assert done.exit_code == 2
    assert "must be HOST:PORT" in done.output


def test_who_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scraping, "PATIENCE", 0.1)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent, pytest.raises(Unreadable, match="no answer"):
        scrape(f"127.0.0.1:{silent.getsockname()[1]}")


def test_what_answers_with_something_else_is_told(serve: Serve) -> None:
    address = serve(lambda: (200, "<html>no metrics</html>"))
    with pytest.raises(Unreadable, match="not with metrics"):
        scrape(address)
