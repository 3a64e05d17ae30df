"""What the stock Nameko stumbles over, one test each; none passes without its guard."""

import re
import signal
import sqlite3
import struct
import time
from pathlib import Path
from typing import Any

import amqp
import pytest

from tests.processes import Start, eventually
from tests.wire import Wire

GOOD: dict[str, Any] = {"args": [], "kwargs": {}}


def table(kind: str, value: bytes) -> bytes:
    """Return an AMQP table with one entry, as it goes over the wire."""
    entry = b"\x01x" + kind.encode() + value
    return struct.pack(">I", len(entry)) + entry


def nested(depth: int) -> bytes:
    """Return the value of a table that holds a table that holds a table."""
    value = struct.pack(">I", 0)
    for _ in range(depth):
        value = table("F", value)
    return value


SLOW = (
    "-c",
    """
import sys
import beers_service.__main__ as runner
from tests.service.slow_service import SlowService
runner.BeersService = SlowService
sys.exit(runner.main())
""",
)
"""Our runner around a service whose calls take their time."""


@pytest.mark.parametrize(
    ("what", "body", "properties"),
    [
        ("no reply_to", GOOD, {"reply_to": None}),
        ("empty reply_to", GOOD, {"reply_to": ""}),
    ],
)
def test_a_request_that_cannot_be_answered_goes_to_the_dead_letters(
    start: Start, wire: Wire, what: str, body: Any, properties: dict[str, Any]
) -> None:
    service = start()
    wire.send(body, **properties)
    letter = wire.get("beers.dead-letters")
    headers = letter.properties["application_headers"]
    assert headers.pop("x-time").startswith("2")
    assert headers == {
        "x-reason": "no reply_to", "x-attempts": 0, "x-queue": "rpc-beers", "x-routing-key": "beers.ping",
    }, what  # fmt: skip
    assert "result" in wire.answer(wire.send(GOOD))
    assert service.alive()


def test_a_routing_key_that_could_command_a_terminal_does_not_reach_the_log(start: Start, wire: Wire) -> None:
    service = start()
    for key in ("beers.ping", "beers.\x1b[2J"):
        wire.send(GOOD, key, reply_to=None)
    service.await_line("message rejected", times=2)
    logged = [line["routing_key"] for line in service.lines() if line["event"] == "message rejected"]
    assert logged == ["beers.ping", "(malformed)"]


@pytest.mark.parametrize(
    ("flags", "raw"),
    [
        # Properties as they go over the wire: which ones, then their values.
        (0x8000, b"\x02\xff\xfe"),  # content_type
        (0x0400, b"\x02\xff\xfe"),  # correlation_id
        (0x0200, b"\x02\xff\xfe"),  # reply_to
        (0x2000, table("T", struct.pack(">Q", 1_795_476_237_915))),  # a time in a header, in milliseconds
        (0x2000, table("T", struct.pack(">Q", 2**62))),
        (0x2000, table("F", nested(1200))),
    ],
)
def test_a_message_that_cannot_even_be_read_is_put_aside_and_the_connection_stays(
    start: Start, wire: Wire, flags: int, raw: bytes
) -> None:
    service = start()
    wire.send_raw(flags, raw)
    letter = wire.get("beers.dead-letters")
    assert letter.properties["application_headers"]["x-reason"].startswith("unreadable properties")
    assert letter.body == b'{"args": [], "kwargs": {}}'
    assert wire.answer(wire.send(GOOD))["error"] is None
    assert "broker connection lost" not in service.text


@pytest.mark.parametrize(
    "properties", [{"reply_to": "\ud800"}, {"correlation_id": "\ud800" + 30 * "c"}], ids=["reply_to", "correlation_id"]
)
def test_whom_nobody_can_name_is_not_answered_and_the_service_stays(
    start: Start, wire: Wire, properties: dict[str, str]
) -> None:
    service = start()
    wire.send(GOOD, **properties)
    letter = wire.get("beers.dead-letters")
    assert letter.properties["application_headers"]["x-reason"] == f"{min(properties)} is no text"
    assert wire.answer(wire.send(GOOD))["error"] is None
    assert service.alive()


def test_a_routing_key_that_is_no_text_is_answered_as_one_that_names_no_method(start: Start, wire: Wire) -> None:
    service = start()
    assert wire.answer(wire.send(GOOD, "beers.\udcff"))["error"]["exc_type"] == "MethodNotFound"
    assert wire.answer(wire.send(GOOD))["error"] is None
    assert "broker connection lost" not in service.text


@pytest.mark.parametrize("encoding", ["unicode_escape", "utf-7", "punycode", "nonsense"])
def test_a_body_is_what_its_bytes_are_whatever_its_sender_calls_its_encoding(
    start: Start, wire: Wire, encoding: str
) -> None:
    start()
    assert wire.answer(wire.send(GOOD, content_encoding=encoding))["error"] is None
    wire.send(b"\\ud800 +2AA-", content_encoding=encoding, reply_to=None)
    assert wire.get("beers.dead-letters").body == b"\\ud800 +2AA-"


@pytest.mark.parametrize(
    ("body", "properties", "told"),
    [
        (GOOD, {"content_type": None}, "MalformedRequest content_type must be application/json"),
        (GOOD, {"content_type": "application/x-python-serialize"}, "MalformedRequest content_type"),
        (
            GOOD,
            {"application_headers": {"nameko.call_id_stack": 7}},
            "MalformedRequest the header nameko.call_id_stack",
        ),
        (GOOD, {"application_headers": {"nameko.call_id_stack": [{}]}}, "MalformedRequest the header"),
        (GOOD, {"application_headers": {"nameko.deadline": True}}, "MalformedRequest the header nameko.deadline"),
        (GOOD, {"application_headers": {"nameko.deadline": "soon"}}, "MalformedRequest the header nameko.deadline"),
        (b"{", {}, "MalformedRequest the body is not JSON"),
        (b"\xff\xfe", {}, "MalformedRequest the body is not JSON"),
        (b"", {}, "MalformedRequest the body is not JSON"),
        (b'{"args": ["\\ud800"], "kwargs": {}}', {}, "MalformedRequest the body is not JSON: "),
        (b'{"args": [1' + b"0" * 400 + b'], "kwargs": {}}', {}, "MalformedRequest the body is not JSON: "),
        (b"[" * 100_000, {}, "MalformedRequest the body is not JSON"),
        (b'{"args": [NaN], "kwargs": {}}', {}, "MalformedRequest body.args.0 is not a number that JSON knows"),
        ({"args": []}, {}, "MalformedRequest the body must be an object"),
        ({"args": {}, "kwargs": []}, {}, "MalformedRequest the body must be an object"),
        ([], {}, "MalformedRequest the body must be an object"),
        ({"args": [], "kwargs": {"self": 1}}, {}, "IncorrectSignature"),
        ({"args": [1], "kwargs": {}}, {}, "IncorrectSignature too many positional arguments"),
    ],
)
def test_a_malformed_request_is_answered_and_the_service_lives_on(
    start: Start, wire: Wire, body: Any, properties: dict[str, Any], told: str
) -> None:
    service = start()
    error = wire.answer(wire.send(body, **properties))["error"]
    assert f"{error['exc_type']} {error['value']}".startswith(told)
    assert wire.answer(wire.send(GOOD))["error"] is None
    assert service.alive()


def test_json_is_data_and_never_an_instruction_to_the_decoder(start: Start, wire: Wire) -> None:
    """Kombu's own JSON would turn this into a date."""
    start()
    disguised = {"__type__": "datetime", "__value__": "2026-11-23T12:00:00"}
    error = wire.answer(wire.call("add", name=disguised))["error"]
    assert error["exc_args"] == ["name", "must be text"]


def test_no_answer_can_break_the_worker_that_gives_it(start: Start, wire: Wire) -> None:
    service = start(*SLOW)
    assert wire.answer(wire.call("odd"))["error"]["exc_type"] == "UnserializableValueError"
    assert wire.answer(wire.call("broken"))["error"]["exc_type"] == "ZeroDivisionError"
    assert service.alive()


def test_calls_that_run_during_the_shutdown_are_answered_and_run_once(start: Start, wire: Wire, tmp_path: Path) -> None:
    service = start(*SLOW)
    runs = tmp_path / "runs"
    calls = [wire.call("slow", file=str(runs), seconds=1.5) for _ in range(5)]
    eventually(lambda: runs.exists() and len(runs.read_text().split()) == 5)
    service.signal(signal.SIGTERM)
    assert [wire.answer(call)["result"] for call in calls] == ["done"] * 5
    assert service.wait() == 0
    start(*SLOW)
    wire.answer(wire.call("slow", file=str(tmp_path / "other"), seconds=0))
    assert len(runs.read_text().split()) == 5


def test_a_stop_that_takes_too_long_is_cut_short_and_the_call_is_delivered_again(
    start: Start, wire: Wire, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    service = start(*SLOW, GRACE="0.5")
    call = wire.call("slow", file=str(runs), seconds=60)
    eventually(runs.exists)
    began = time.monotonic()
    assert service.stop() == 1
    assert time.monotonic() - began < 5
    start(*SLOW)
    eventually(lambda: len(runs.read_text().split()) == 2)
    assert all(known != call for known, _ in wire.answers)


def test_a_signal_is_heeded_at_once_whatever_the_service_waits_for(start: Start) -> None:
    """Eventlet's hub alone would notice at its next event: here that is a heartbeat, minutes away."""
    service = start(*SLOW, HEARTBEAT="3600")
    began = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began < 2


def test_a_second_signal_does_not_wait(start: Start, wire: Wire, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    service = start(*SLOW, GRACE="60")
    wire.call("slow", file=str(runs), seconds=60)
    eventually(runs.exists)
    service.signal(signal.SIGTERM)
    time.sleep(0.5)
    assert service.alive()
    service.signal(signal.SIGTERM)
    assert service.wait(3) == 1


def test_a_command_that_was_committed_and_not_answered_is_answered_and_not_run_again(start: Start, wire: Wire) -> None:
    """The crash that counts: after the commit, before the answer; the command has no request id of its own."""
    crashing = (
        "import os, sys; import beers_service.__main__ as runner; from beers_service.transport import RequestConsumer;"
        "RequestConsumer._answer = lambda *_: os._exit(9); sys.exit(runner.main())"
    )
    service = start("-c", crashing)
    call = wire.call("add", name="Punk")
    assert service.wait() == 9
    start()
    answer = wire.answer(call)
    assert answer["error"] is None
    assert answer["result"]["id"] == 1
    assert wire.answer(wire.call("ping"))["result"]["head"] == 1


def test_a_killed_service_runs_nothing_twice(start: Start, wire: Wire, tmp_path: Path) -> None:
    """Commands without a request id, delivered again because their answers never left."""
    service = start()
    calls = [wire.call("add", name=f"beer {number}") for number in range(300)]
    database = sqlite3.connect(tmp_path / "beers.db")
    eventually(lambda: database.execute("SELECT position FROM log_head").fetchone()[0] > 20)
    service.kill()
    start()
    answers = [wire.answer(call)["result"] for call in calls]
    assert sorted(answer["id"] for answer in answers) == list(range(1, 301))
    assert database.execute("SELECT count(*), max(position) FROM events").fetchone() == (300, 300)
    database.close()


def test_a_client_that_counts_its_calls_from_one_gets_a_call_for_each(start: Start, wire: Wire) -> None:
    """Its numbers tell nothing: after its next start they name other calls."""
    start()
    for _ in range(2):
        wire.answers.clear()
        wire.send({"args": ["Punk"], "kwargs": {}}, "beers.add", correlation_id="1")
        assert wire.answer("1")["error"] is None
    assert wire.answer(wire.call("ping"))["result"]["head"] == 2


def test_a_request_whose_caller_has_given_up_is_not_run(start: Start, wire: Wire) -> None:
    start().stop()
    late = {"application_headers": {"nameko.deadline": time.time() + 0.2}}
    by_header = wire.send({"args": ["late"], "kwargs": {}}, "beers.add", **late)
    wire.send({"args": ["late"], "kwargs": {}}, "beers.add", expiration="200")
    time.sleep(0.5)
    start()
    assert wire.answer(by_header)["error"]["exc_type"] == "DeadlinePassed"
    assert wire.answer(wire.call("ping"))["result"]["head"] == 0


def test_a_queue_declared_otherwise_stops_the_start_with_one_line(start: Start, wire: Wire) -> None:
    wire.channel.queue_declare("rpc-beers", durable=True, auto_delete=False, arguments={"x-max-length": 5})
    service = start(ready=False)
    assert service.wait() == 78
    lines = [line for line in service.text.splitlines() if not line.startswith("{")]
    assert len(lines) == 1
    assert re.match("beers: QUEUE_TYPE=classic: a queue was declared otherwise before .*x-max-length", lines[0])


def test_a_quorum_queue_is_declared_where_asked_for(start: Start, wire: Wire) -> None:
    start(QUEUE_TYPE="quorum")
    assert wire.answer(wire.send(GOOD))["error"] is None
    with pytest.raises(amqp.exceptions.PreconditionFailed, match="x-queue-type"):
        wire.channel.queue_declare("rpc-beers", durable=True, auto_delete=False)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"QUEUE_TYPE": "fast"}, "QUEUE_TYPE must be one of classic, quorum, got 'fast'"),
        ({"DATABASE_URL": "mysql://me:s3cret@localhost/beers"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql+psycopg2://me:s3cret@pw:xx/beers"}, "DATABASE_URL"),
        ({"DATABASE_URL": "sqlite:////nowhere/at/all.db"}, "DATABASE_URL: cannot create /nowhere/at"),
        ({"AMQP_URI": "amqp://me:s3cret@127.0.0.1:99999/"}, "AMQP_URI must look like"),
        ({"AMQP_URI": "nonsense"}, "AMQP_URI must look like"),
        ({"AMQP_URI": "amqp://127.0.0.1:1/;nonsense"}, "AMQP_URI must look like"),
        ({"AMQP_URI": "amqps://me:s3cret@127.0.0.1:1/?cafile=/nowhere"}, "AMQP_URI: its cafile, certfile or keyfile"),
        ({"DATABASE_URL": "postgresql://me:s3cret@localhost/beers"}, "DATABASE_URL"),
        ({"HEARTBEAT": "often"}, "HEARTBEAT must be a whole number"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL must be one of"),
        ({"GRACE": "-1"}, "GRACE must be a number"),
        ({"MAX_WORKERS": "0"}, "max_workers must be a whole number"),
        ({"REQUEST_RETENTION_DAYS": "never"}, "REQUEST_RETENTION_DAYS"),
        ({"BEERS_CONFIG": "/nowhere/config.yaml"}, "cannot read /nowhere/config.yaml"),
    ],
)
def test_a_wrong_value_stops_the_start_with_one_line_that_names_it(
    start: Start, environ: dict[str, str], named: str
) -> None:
    service = start(ready=False, **({"AMQP_URI": "amqp://127.0.0.1:1/"} | environ))
    assert service.wait() == 78
    assert service.text.startswith(f"beers: {named}")
    assert service.text.count("\n") == 1
    assert "s3cret" not in service.text


def test_the_service_waits_for_a_store_that_is_away_and_can_be_stopped_meanwhile(start: Start) -> None:
    service = start(
        ready=False, amqp="amqp://127.0.0.1:1/", DATABASE_URL="postgresql+psycopg2://me:s3cret@127.0.0.1:1/x"
    )
    service.await_line("store unavailable", times=3)
    began = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began < 2
    assert "s3cret" not in service.text
