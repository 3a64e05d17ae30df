"""`beers watch`: what it prints, how it goes on, and that no event of a command's is skipped."""

import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from beers_cli import following, handing, processes
from beers_cli.client import Catalogue
from beers_cli.failure import Failure
from beers_cli.following import Follower, Patience
from beers_cli.stopping import Stop
from grpc_bridge.proto.beers.v1 import beers_pb2
from tests.cli.conftest import Run
from tests.cli.fake_service import PATIENCE, FakeService, away, status
from tests.cli.test_commands import on_a_terminal

CAUGHT_UP = ("watch", "--from", "beginning", "--until-caught-up")


@pytest.fixture
def history(service: FakeService) -> FakeService:
    """A service that holds two beers and five events."""
    add(service, "Punk")
    add(service, "Jever")
    service.RenameBeer(beers_pb2.RenameBeerRequest(beer_id=1, name="Punk IPA"), None)
    service.RemoveBeer(beers_pb2.RemoveBeerRequest(beer_id=2), None)
    service.RestoreBeer(beers_pb2.RestoreBeerRequest(beer_id=2), None)
    return service


def add(service: FakeService, name: str) -> None:
    service.AddBeer(beers_pb2.AddBeerRequest(name=name, request_id=f"add {name}"), None)


def positions(out: str) -> list[int]:
    return [json.loads(line)["position"] for line in out.splitlines()]


@pytest.mark.usefixtures("history")
def test_each_event_is_one_line_of_time_position_beer_and_what_happened(beers: Run) -> None:
    result = beers(*CAUGHT_UP)
    assert result.status == 0
    lines = [re.sub(r"\s+", " ", line) for line in result.out.splitlines()]
    assert len(lines) == 5
    assert re.fullmatch(r"2026-11-\d\d \d\d:\d\d:03 3 beer 1 renamed Punk → Punk IPA", lines[2])
    assert lines[3].endswith("4 beer 2 removed")


def test_an_event_cannot_smuggle_commands_or_lines_to_the_terminal(service: FakeService, beers: Run) -> None:
    add(service, "Red \x1b[31mAle\nfake line")
    out = beers(*CAUGHT_UP).out
    assert "\x1b" not in out
    assert out.count("\n") == 1


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    assert [processes.described(status) for status in (3, -9, -40)] == [
        "ended with status 3",
        "was killed by SIGKILL",
        "was killed by signal 40",
    ]


@pytest.mark.parametrize(
    "arguments",
    [("watch", "--from", "²"), ("get", "1", "--at", "²"), ("get", "1", "--at", ""), ("watch", "--from", "")],
)
def test_what_is_no_place_is_no_bug_of_ours(beers: Run, arguments: tuple[str, ...]) -> None:
    result = beers(*arguments)
    assert result.status in (1, 2)
    assert "bug" not in result.err


@pytest.mark.usefixtures("history")
def test_json_is_one_document_for_each_line_and_event(beers: Run) -> None:
    documents = [json.loads(line) for line in beers(*CAUGHT_UP, "--json").out.splitlines()]
    assert [document["position"] for document in documents] == [1, 2, 3, 4, 5]
    assert documents[2]["type"] == "BeerNameChanged"
    assert documents[2]["data"] == {"name": "Punk IPA", "previous_name": "Punk"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--from", "now"], []),
        (["--from", "3"], [4, 5]),
        (["--from", "log:4"], [5]),
        (["--from", "Beginning", "--type", "added"], [1, 2]),
        (["--from", "0", "--type", "removed", "--type", "beerrestored"], [4, 5]),
        (["--from", "0", "--beer", "1"], [1, 3]),
        (["--from", "0", "--beer", "1", "--beer", "2", "--type", "BeerAdded"], [1, 2]),
    ],
)
@pytest.mark.usefixtures("history")
def test_where_to_begin_and_what_to_follow_is_a_matter_of_options(
    beers: Run, arguments: list[str], expected: list[int]
) -> None:
    result = beers("watch", "--until-caught-up", "--json", *arguments)
    assert result.status == 0
    assert positions(result.out) == expected


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--type", "drunk"],
        ["--from", " "],
        ["--from", "99999999999999999999"],
        ["--beer", "0"],
        ["--beer", "99999999999999999999"],
        ["--patience", "nan"],
        ["--attempts", "0"],
        ["--exec", "no-such-command-anywhere"],
        ["--exec", "echo 'never closed"],
        ["--exec", " "],
    ],
)
def test_what_makes_no_sense_is_wrong_usage(beers: Run, arguments: list[str]) -> None:
    result = beers("watch", *arguments)
    assert result.status == 2
    assert arguments[0] in result.err


@pytest.mark.usefixtures("history")
def test_a_place_beyond_the_log_is_refused_with_its_end_and_what_to_do(beers: Run) -> None:
    result = beers("watch", "--from", "500")
    assert result.status == 1
    assert "500" in result.err
    assert "ends at position 5" in result.err
    assert "--from beginning" in result.err
    error = json.loads(beers("watch", "--from", "500", "--json").err)["error"]
    assert (error["code"], error["position"], error["head"], error["log_id"]) == ("OUT_OF_RANGE", "500", "5", "log")


@pytest.mark.usefixtures("history")
def test_a_kept_place_beyond_the_log_is_not_thrown_away(beers: Run, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text('{"resume_token": "log:99"}')
    result = beers(*CAUGHT_UP, "--state", str(state))
    assert result.status == 1
    assert "does not reach to position 99: it ends at position 5" in result.err
    assert f"delete {state}" in result.err
    assert "log:99" in state.read_text()


@pytest.mark.usefixtures("history")
def test_a_token_that_is_none_is_refused_with_what_to_do(beers: Run) -> None:
    result = beers("watch", "--from", "begining")
    assert result.status == 1
    assert "no resume token" in result.err
    assert "--from beginning" in result.err


def test_where_nobody_ever_answered_it_ends_at_once_unless_told_to_wait(beers: Run, tmp_path: Path) -> None:
    address = ("--address", f"127.0.0.1:{processes.free_port()}")
    result = beers("watch", *address)
    assert (result.status, result.out) == (1, "")
    assert "No beers service answers" in result.err
    assert "Trying again" not in result.err
    for waits in (["--patience", "0.3"], ["--patience", "0.3", "--state", str(tmp_path / "state")]):
        result = beers("watch", *address, *waits)
        assert result.status == 1
        assert result.err.count("Trying again") == 1
        assert "No answer for 0.3 s." in result.err


class Watching:
    """A follower in this thread, and what it said."""

    def __init__(self, service: FakeService, patience: float | None = None) -> None:
        self.said: list[str] = []
        self.stop = Stop()
        self._catalogue = Catalogue(service.address, 10)
        request = beers_pb2.WatchBeersRequest(from_beginning=True)
        self._follower = Follower(
            self._catalogue.__enter__(), request, Patience(patience, at_once=False), self.stop, self.said.append
        )
        self.responses: Generator[beers_pb2.WatchBeersResponse, None, None] = self._follower.responses()

    def events(self, number: int) -> list[int]:
        """Return the positions of the next events, one response after another."""
        found = (event.position for response in self.responses for event in response.events.events)
        return list(islice(found, number))

    def close(self) -> None:
        self.responses.close()
        self._catalogue.__exit__(None, None, None)


@pytest.fixture
def watching(history: FakeService) -> Iterator[Watching]:
    watching = Watching(history)
    yield watching
    watching.close()


@pytest.mark.parametrize(
    "failure",
    [
        away(),
        status(grpc.StatusCode.UNAVAILABLE, "Socket closed"),
        status(grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
        status(grpc.StatusCode.UNKNOWN, "Stream removed"),
        status(grpc.StatusCode.CANCELLED, ""),
        status(grpc.StatusCode.DEADLINE_EXCEEDED, "a proxy lost patience"),
    ],
    ids=lambda failure: str(failure.code),
)
def test_a_stream_that_breaks_is_resumed_behind_its_last_response(
    history: FakeService, watching: Watching, failure: Any
) -> None:
    next(watching.responses)
    assert next(watching.responses).HasField("caught_up")
    history.failures.append(away())

    def break_it() -> None:
        history.cut(failure)
        history.await_watches(3)
        add(history, "Duvel")

    with aside(break_it):
        assert watching.events(1) == [6]
    assert [watch.resume_token for watch in history.watches[1:]] == ["log:5"] * 2
    assert [line.endswith("Trying again.") for line in watching.said] == [True, False]
    assert watching.said[1] == "The connection is back."


def test_a_stream_that_ends_without_a_word_is_resumed(history: FakeService, watching: Watching) -> None:
    assert watching.events(5) == [1, 2, 3, 4, 5]

    def end_it() -> None:
        history.cut(None)
        history.await_watches(2)
        add(history, "Duvel")

    with aside(end_it):
        assert watching.events(1) == [6]


def test_a_stream_on_which_nothing_comes_is_broken(
    history: FakeService, watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SILENCE", 0.3)
    history.mute = True

    def speak_again() -> None:
        history.await_watches(2)
        history.mute = False
        history.await_watches(3)

    with aside(speak_again):
        assert watching.events(5) == [1, 2, 3, 4, 5]
    assert "nothing came for 0.3 s" in watching.said[0]


def test_a_bug_of_the_service_is_not_asked_for_again(history: FakeService, watching: Watching) -> None:
    bug = status(grpc.StatusCode.INTERNAL, "something went wrong, id 4711", ErrorInfo(reason="INTERNAL"))
    history.failures.append(bug)
    with pytest.raises(Failure, match="4711"):
        next(watching.responses)
    assert len(history.watches) == 1


def test_a_service_that_stays_away_is_given_up_when_patience_is_over(history: FakeService) -> None:
    watching = Watching(history, patience=0.3)
    assert watching.events(5) == [1, 2, 3, 4, 5]
    history.stop()
    with pytest.raises(Failure, match=r"^No answer for 0\.3 s\. "):
        watching.events(1)
    watching.close()


def test_a_slow_reader_reads_a_few_responses_ahead_and_no_more(history: FakeService, watching: Watching) -> None:
    history.events_in_a_response = 1
    for number in range(50):
        add(history, f"Beer {number}")
    inbox = watching._follower._inbox
    next(watching.responses)
    until(lambda: inbox.qsize() == 3)
    assert watching.events(30) == list(range(2, 32))
    assert inbox.qsize() <= 4


@contextmanager
def aside(work: Callable[[], object]) -> Iterator[None]:
    """Do *work* in another thread meanwhile, and see that it came to its end."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        yield
        future.result(PATIENCE)


def beyond(file: Path, lines: int) -> bool:
    return len(file.read_text().splitlines()) > lines


def until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def program(service: FakeService, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    with subprocess.Popen(
        [sys.executable, "-m", "beers_cli", "watch", *arguments],
        env=os.environ | {"BEERS_ADDRESS": service.address},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_pipe_sees_each_event_at_once_and_a_signal_ends_it_quietly(
    history: FakeService, number: signal.Signals, expected: int
) -> None:
    with program(history, "--from", "4", "--json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["position"] == 5
        add(history, "Duvel")
        assert json.loads(process.stdout.readline())["position"] == 6
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (expected, "", "")


def test_a_signal_ends_it_also_while_it_waits_to_try_again(service: FakeService, tmp_path: Path) -> None:
    service.failures.append(away(retry_after=60))
    with program(service, "--state", str(tmp_path / "state")) as process:
        assert process.stderr is not None
        assert "Trying again" in process.stderr.readline()
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_there_is_colour_on_a_terminal_and_none_with_no_color(history: FakeService) -> None:
    green = "\x1b[32m"
    assert green in on_a_terminal(history, *CAUGHT_UP)
    assert green not in on_a_terminal(history, *CAUGHT_UP, NO_COLOR="1")


@pytest.mark.usefixtures("history")
def test_a_command_gets_each_event_as_json_and_the_gist_of_it_in_its_environment(beers: Run, tmp_path: Path) -> None:
    out, gist = tmp_path / "out put", tmp_path / "gist"
    script = f"cat >> '{out}'; echo $BEERS_EVENT_POSITION $BEERS_EVENT_TYPE $BEERS_EVENT_ID $BEERS_BEER_ID >> {gist}"
    result = beers(*CAUGHT_UP, "--exec", shlex.join(["sh", "-c", script]))
    assert (result.status, result.out, result.err) == (0, "", "")
    assert out.read_text() == beers(*CAUGHT_UP, "--json").out
    assert gist.read_text().splitlines()[2] == "3 BeerNameChanged log:3 1"


@pytest.mark.usefixtures("history")
def test_no_shell_reads_a_command(beers: Run, tmp_path: Path) -> None:
    beers(*CAUGHT_UP, "--exec", f"touch '{tmp_path}/$(id) > x'")
    assert [path.name for path in tmp_path.iterdir()] == ["$(id) > x"]


def test_a_command_need_not_read_what_it_is_given(service: FakeService, beers: Run) -> None:
    service.AddBeer(beers_pb2.AddBeerRequest(name="x", request_id="x", description="y" * 200_000), None)
    assert beers(*CAUGHT_UP, "--exec", "true").status == 0


@pytest.mark.usefixtures("history")
def test_a_command_that_fails_is_tried_again_then_ends_it_and_its_event_comes_first_next_time(
    beers: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handing, "FIRST_PAUSE", 0.01)
    seen, mended = tmp_path / "seen", tmp_path / "mended"
    script = f"echo $BEERS_EVENT_POSITION >> {seen}; test $BEERS_EVENT_POSITION != 3 -o -e {mended} || exit 7"
    following = (*CAUGHT_UP, "--state", str(tmp_path / "state"), "--exec", shlex.join(["sh", "-c", script]))
    result = beers(*following, "--attempts", "3")
    assert result.status == 1
    assert "ended with status 7 3 times in a row, with event log:3 (BeerNameChanged, position 3)" in result.err
    assert seen.read_text().split() == ["1", "2", "3", "3", "3"]
    assert json.loads((tmp_path / "state").read_text()) == {"resume_token": "log:2", "position": 2}
    mended.touch()
    assert beers(*following).status == 0
    assert seen.read_text().split() == ["1", "2", "3", "3", "3", "3", "4", "5"]


@pytest.mark.usefixtures("history")
def test_a_command_that_was_killed_has_failed(beers: Run) -> None:
    result = beers(*CAUGHT_UP, "--attempts", "1", "--exec", "sh -c 'kill -9 $$'")
    assert result.status == 1
    assert "was killed by SIGKILL, with event log:1" in result.err
    assert "--from 0" in result.err


def test_a_signal_waits_for_the_command_and_keeps_its_place(history: FakeService, tmp_path: Path) -> None:
    seen, state = tmp_path / "seen", tmp_path / "state"
    script = f"echo begun >> {seen}; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo done >> {seen}"
    command = shlex.join(["sh", "-c", script])
    with program(history, "--from", "0", "--state", str(state), "--exec", command) as process:
        until(seen.exists)
        process.terminate()
        (tmp_path / "go").touch()
        assert process.wait(PATIENCE) == 0
    assert seen.read_text().split() == ["begun", "done"]
    assert json.loads(state.read_text())["position"] == 1


def test_a_second_signal_ends_the_command_as_well(history: FakeService, tmp_path: Path) -> None:
    trace, state = tmp_path / "trace", tmp_path / "state"
    command = shlex.join(["sh", "-c", f"echo $$ > {trace}.new; mv {trace}.new {trace}; exec sleep 60"])
    with program(history, "--from", "0", "--state", str(state), "--exec", command) as process:
        until(trace.exists)
        child = processes.Trace.of(int(trace.read_text()))
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) in (130, 143)
        until(lambda: not child.alive())
    assert not state.exists()


def test_killed_in_the_middle_it_goes_on_and_hands_over_every_event_in_order(
    history: FakeService, beers: Run, tmp_path: Path
) -> None:
    for number in range(60):
        add(history, f"Beer {number}")
    seen, state = tmp_path / "seen", tmp_path / "state"
    seen.touch()
    command = shlex.join(["sh", "-c", f"echo $BEERS_EVENT_POSITION >> {seen}"])
    options = ("--from", "beginning", "--state", str(state), "--exec", command)
    for share in (10, 30):
        with program(history, *options) as process:
            until(partial(beyond, seen, share))
            process.kill()
    assert beers("watch", *options, "--until-caught-up").status == 0
    told = [int(position) for position in seen.read_text().split()]
    assert list(dict.fromkeys(told)) == list(range(1, 66))
    assert len(told) <= 65 + 2 * 2


def test_a_state_is_kept_without_a_command_as_well_and_counts_more_than_from(
    history: FakeService, beers: Run, tmp_path: Path
) -> None:
    following = (*CAUGHT_UP, "--json", "--state", str(tmp_path / "state"))
    assert positions(beers(*following).out) == [1, 2, 3, 4, 5]
    add(history, "Duvel")
    assert positions(beers(*following).out) == [6]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state", "state.lock"]


@pytest.mark.usefixtures("history")
def test_a_state_that_cannot_be_used_is_an_error_that_names_it(beers: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    for content in (b"", b"{", b"[]", b'{"resume_token": 7}', b'{"resume_token": ""}', b"\xff"):
        broken.write_bytes(content)
        result = beers(*CAUGHT_UP, "--state", str(broken))
        assert result.status == 1
        assert f"{broken} holds no place in the log" in result.err
    assert "no ordinary file" in beers(*CAUGHT_UP, "--state", str(tmp_path)).err
    assert "Cannot write" in beers(*CAUGHT_UP, "--state", str(tmp_path / "no" / "folder")).err


@pytest.mark.usefixtures("history")
def test_two_at_once_with_one_state_are_refused(beers: Run, tmp_path: Path) -> None:
    with (tmp_path / "state.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("4711")
        file.flush()
        result = beers(*CAUGHT_UP, "--state", str(tmp_path / "state"))
    assert result.status == 1
    assert "already (process 4711)" in result.err
