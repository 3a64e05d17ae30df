"""`beers watch --exec` and `--state`: no event of a command's is skipped, whatever becomes of it and of us."""

import fcntl
import json
import shlex
import signal
from functools import partial
from pathlib import Path

import pytest

from beers_cli import handing, processes
from grpc_bridge.proto.beers.v1 import beers_pb2
from tests.cli.conftest import Run
from tests.cli.fake_service import PATIENCE, FakeService
from tests.cli.watching import CAUGHT_UP, add, positions, program, until


def beyond(file: Path, lines: int) -> bool:
    return len(file.read_text().splitlines()) > lines


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
    assert json.loads(state.read_text())["position"] == 0


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("start", ["beginning", "0", "2"])
def test_a_run_that_is_done_with_nothing_has_begun_all_the_same(beers: Run, tmp_path: Path, start: str) -> None:
    state, seen = tmp_path / "state", tmp_path / "seen"
    result = beers("watch", "--from", start, "--state", str(state), "--exec", "false", "--attempts", "1")
    assert result.status == 1
    assert "with the same --state" in result.err
    command = shlex.join(["sh", "-c", f"echo $BEERS_EVENT_POSITION >> {seen}"])
    assert beers("watch", "--until-caught-up", "--state", str(state), "--exec", command).status == 0
    first = int(start) if start.isdigit() else 0
    assert seen.read_text().split() == [str(position) for position in range(first + 1, 6)]


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
