"""`beers watch`: what it prints, and how it goes on."""

import json
import re
import signal
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from beers_cli import following, processes
from beers_cli.client import Catalogue
from beers_cli.failure import Failure
from beers_cli.following import Follower, Patience
from beers_cli.stopping import Stop
from grpc_bridge.proto.beers.v1 import beers_pb2
from tests.cli.conftest import Run
from tests.cli.fake_service import PATIENCE, FakeService, away, status
from tests.cli.test_program import on_a_terminal
from tests.cli.watching import CAUGHT_UP, add, positions, program, until


@contextmanager
def aside(work: Callable[[], object]) -> Iterator[None]:
    """Do *work* in another thread meanwhile, and see that it came to its end."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        yield
        future.result(PATIENCE)


@pytest.mark.usefixtures("history")
def test_each_event_is_one_line_of_time_position_beer_and_what_happened(beers: Run) -> None:
    result = beers(*CAUGHT_UP)
    assert result.status == 0
    lines = [re.sub(r"\s+", " ", line) for line in result.out.splitlines()]
    assert len(lines) == 5
    assert re.fullmatch(r"2026-11-\d\d \d\d:\d\d:03 3 beer 1 renamed Punk → Punk IPA", lines[2])
    assert lines[3].endswith("4 beer 2 removed")


def test_an_event_is_told_with_who_did_it_where_that_is_known(service: FakeService, beers: Run) -> None:
    add(service, "Jever")
    service.actor = "till 3"
    add(service, "Duvel")
    jever, duvel = beers(*CAUGHT_UP).out.splitlines()
    assert re.search(r"beer 1 +added Jever$", jever)
    assert re.search(r"beer 2 +till 3 added Duvel$", duvel)
    documents = [json.loads(line) for line in beers(*CAUGHT_UP, "--json").out.splitlines()]
    assert [document.get("actor", "nobody") for document in documents] == ["nobody", "till 3"]


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
        ["--from", "begining"],
        ["--from", "99999999999999999999"],
        ["--beer", "0"],
        ["--beer", "99999999999999999999"],
        ["--patience", "nan"],
        ["--attempts", "0"],
        ["--exec", "no-such-command-anywhere"],
        ["--exec", "echo 'never closed"],
        ["--exec", " "],
        ["--exec", ""],
        ["--state", ""],
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
    result = beers("watch", "--from", "log:end")
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
