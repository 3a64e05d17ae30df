"""`beers up`: what it starts again, when it gives up, and that nothing is left behind it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beers_cli import processes, supervisor
from beers_cli.failure import Failure
from beers_cli.parts import Program
from beers_cli.supervisor import Supervisor
from beers_cli.up import check_broker, metrics_ports, numbered, reachable, say_what_next
from beers_runtime.configuration import ConfigurationError
from tests.cli.conftest import Run

OBEDIENT = (
    "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); print('up', flush=True); "
    "signal.sigwait([signal.SIGTERM]); print('down', flush=True)"
)
STUBBORN = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
DEAF_AT_FIRST = (
    "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); print('up', flush=True); "
    "signal.sigwait([signal.SIGTERM]); signal.sigwait([signal.SIGTERM]); print('down', flush=True)"
)


class Stage:
    """Runs small programs under a supervisor, and does something when certain lines come."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.reactions: dict[str, Callable[[], object]] = {}
        self.programs: list[Program] = []
        self.together = False

    def program(self, name: str, source: str, patience: float = 10.0) -> None:
        self.programs.append(
            Program(
                name,
                [sys.executable, "-c", source],
                os.environ,
                patience=patience,
                trace=self.folder / f"{name}.pid",
                on_line=lambda name, line: self._line(f"{name} | {line}"),
            )
        )

    def run(self) -> None:
        runner = Supervisor(
            self.programs[:1],
            [self.programs[1:]] if self.together else [[program] for program in self.programs[1:]],
            address="127.0.0.1:1",
            environment=os.environ,
            say=self._line,
            on_serving=lambda: None,
        )
        # Where a reaction is missing, this ends the test in its stead.
        signal.alarm(60)
        try:
            asyncio.run(runner.run())
        finally:
            signal.alarm(0)
            for program in self.programs:
                assert program.process.returncode is not None
            assert list(self.folder.iterdir()) == []

    def _line(self, line: str) -> None:
        self.lines.append(line)
        for words, reaction in list(self.reactions.items()):
            if words in line:
                del self.reactions[words]
                reaction()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_parts_stop_in_the_reverse_order_of_their_start(stage: Stage) -> None:
    stage.program("first", OBEDIENT)
    stage.program("second", OBEDIENT)
    up: list[str] = []

    def when_both_are_up() -> None:
        up.append("one")
        if len(up) == 2:
            interrupt()

    stage.reactions = {"first | up": when_both_are_up, "second | up": when_both_are_up}
    stage.run()
    downs = [line for line in stage.lines if line.endswith("down")]
    assert downs[-2:] == ["second | down", "first | down"]


def test_the_parts_of_a_group_stop_at_the_same_time_before_what_was_started_earlier(stage: Stage) -> None:
    # Each of the two opens its end of the pipe only when told to stop, which takes until the other one opens its own.
    pipe = stage.folder.parent / "pipe"
    os.mkfifo(pipe)
    waiting = OBEDIENT.replace("print('down'", f"open({str(pipe)!r}, MODE).close(); print('down'")
    stage.program("first", OBEDIENT)
    stage.program("second-1", waiting.replace("MODE", "'w'"))
    stage.program("second-2", waiting.replace("MODE", "'r'"))
    stage.together = True
    up: list[str] = []

    def when_all_are_up() -> None:
        up.append("one")
        if len(up) == 3:
            interrupt()

    stage.reactions = {f"{program.name} | up": when_all_are_up for program in stage.programs}
    stage.run()
    downs = [line for line in stage.lines if line.endswith("down")]
    assert sorted(downs[:2]) == ["second-1 | down", "second-2 | down"]
    assert downs[2:] == ["first | down"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_stop_it_as_well(stage: Stage, number: signal.Signals) -> None:
    stage.program("part", OBEDIENT)
    stage.reactions = {"part | up": lambda: os.kill(os.getpid(), number)}
    stage.run()
    assert stage.lines[-1] == "stopped"


def test_a_part_that_died_is_started_again_and_that_is_said(stage: Stage) -> None:
    stage.program("part", OBEDIENT)
    stage.reactions["part | up"] = lambda: os.kill(stage.programs[0].process.pid, signal.SIGKILL)
    stage.reactions["starting it again"] = lambda: stage.reactions.update({"part | up": interrupt})
    stage.run()
    assert "part was killed by SIGKILL; starting it again" in stage.lines
    assert stage.lines.count("part | up") == 2


def test_a_part_that_keeps_dying_is_given_up_with_its_last_words(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_SLOWEST_RESTART", 0.01)
    stage.program("part", "print('my disk is full'); raise SystemExit(3)")
    with pytest.raises(Failure, match="part ended with status 3, 5 times in a row") as failure:
        stage.run()
    assert "my disk is full" in failure.value.hint


def test_a_part_that_is_configured_wrongly_stops_everything_with_its_one_line(stage: Stage) -> None:
    stage.program("other", OBEDIENT)
    stage.program("part", "import sys; sys.stderr.write('beers: PORT must be a number\\n'); sys.exit(78)")
    with pytest.raises(Failure, match=r"^PORT must be a number$"):
        stage.run()
    assert not any("starting it again" in line for line in stage.lines)
    assert "other | down" in stage.lines or "other | up" not in stage.lines


def test_a_part_that_does_not_stop_is_killed_when_its_patience_is_over(stage: Stage) -> None:
    stage.program("part", STUBBORN, patience=0.2)
    stage.reactions["part | up"] = interrupt
    stage.run()
    assert "part did not stop and was killed" in stage.lines


def test_a_part_that_may_not_have_heard_is_told_to_stop_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Program, "deaf_for", 0.05)
    stage.program("part", DEAF_AT_FIRST, patience=5)
    stage.reactions["part | up"] = interrupt
    stage.run()
    assert "part | down" in stage.lines
    assert "part did not stop and was killed" not in stage.lines


def test_a_second_interrupt_kills_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "ECHO", 0.0)
    stage.program("part", STUBBORN, patience=1000)
    stage.reactions = {"part | up": interrupt, "stopping": interrupt}
    stage.run()
    assert "part did not stop and was killed" in stage.lines


def test_a_signal_that_arrives_twice_is_one(stage: Stage) -> None:
    stage.program("part", OBEDIENT)
    stage.reactions = {"part | up": interrupt, "stopping": interrupt}
    stage.run()
    assert "killing what is left" not in stage.lines
    assert "part | down" in stage.lines


def test_children_die_with_a_supervisor_that_was_killed() -> None:
    program = textwrap.dedent("""
        import os, sys
        from beers_cli import processes
        child = processes.start([sys.executable, "-c", "import signal; signal.pause()"], environment=os.environ)
        print(child.pid, flush=True)
        sys.stdin.read()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = processes.Trace.of(int(parent.stdout.readline()))
        assert child.alive()
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 10
        while child.alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not child.alive()


def test_a_pid_that_is_used_again_is_not_taken_for_the_process_of_before(tmp_path: Path) -> None:
    processes.Trace(os.getpid(), "long ago").write(tmp_path / "pid")
    trace = processes.Trace.read(tmp_path / "pid")
    assert trace is not None
    assert not trace.alive()
    trace.stop(0.1)  # does nothing: this test goes on
    (tmp_path / "pid").write_text("{")
    assert processes.Trace.read(tmp_path / "pid") is None


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", processes.free_port()))
        listening.listen()
        yield listening


def up(folder: Path, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "beers_cli", "up", "--data", str(folder)],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_taken_port_is_an_error_before_anything_is_started(tmp_path: Path, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    status, said = up(tmp_path / "var", PORT=str(port))
    assert status == 1
    assert f"Port {port} of 127.0.0.1 is taken" in said
    assert "--port" in said
    assert not (tmp_path / "var" / "rabbitmq").exists()


def test_a_port_that_another_program_would_share_is_taken_all_the_same(tmp_path: Path) -> None:
    with socket.socket() as sharing:
        sharing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sharing.bind(("127.0.0.1", processes.free_port()))
        sharing.listen()
        port = sharing.getsockname()[1]
        status, said = up(tmp_path / "var", PORT=str(port), BEERS_BRIDGES="2")
    assert status == 1
    assert f"Port {port} of 127.0.0.1 is taken" in said


@pytest.mark.parametrize("option", ["services", "bridges"])
@pytest.mark.parametrize("count", ["0", "65", "two"])
def test_a_number_of_processes_out_of_bounds_is_named(beers: Run, tmp_path: Path, option: str, count: str) -> None:
    refused = beers("up", "--data", str(tmp_path / "var"), f"--{option}", count)
    assert refused.status == 2
    assert f"'--{option}'" in refused.err
    assert not (tmp_path / "var").exists()


def test_several_bridges_need_a_configuration_that_lets_them_share_the_port(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    text = Path(__file__).parents[2].joinpath("config.yaml").read_text(encoding="utf-8")
    config.write_text(text.replace("${REUSE_PORT:false}", "false"), encoding="utf-8")
    status, said = up(tmp_path / "var", BEERS_CONFIG=str(config), BEERS_BRIDGES="2")
    assert status == 1
    assert "REUSE_PORT must be" in said
    assert not (tmp_path / "var").exists()


def test_each_part_gets_a_port_of_its_own_for_its_metrics_if_there_are_any() -> None:
    names = ["service-1", "service-2", "bridge"]
    assert metrics_ports({"METRICS_PORT": None}, names) == {}
    ports = metrics_ports({"METRICS_PORT": 9464}, names)
    assert {name: address.port for name, address in ports.items()} == dict(zip(names, (9464, 9465, 9466), strict=True))
    with pytest.raises(ConfigurationError, match="METRICS_PORT must be a whole number from 0 to 65535, got 65536"):
        metrics_ports({"METRICS_PORT": 65_534}, names)


def test_who_has_metrics_is_told_how_to_look_at_them() -> None:
    said: list[str] = []
    metrics = metrics_ports({"METRICS_PORT": 9470}, ["service", "bridge"])
    say_what_next("127.0.0.1:8000", "amqp://localhost", metrics, said.append)
    assert said[:2] == [
        "metrics of service on http://127.0.0.1:9470/metrics",
        "metrics of bridge on http://127.0.0.1:9471/metrics",
    ]
    assert "  METRICS_PORT=9470 beers top" in said
    said.clear()
    say_what_next("127.0.0.1:8000", "amqp://localhost", {}, said.append)
    assert not [line for line in said if "beers top" in line]


def test_a_port_for_metrics_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        status, said = up(tmp_path, PORT=str(processes.free_port()), METRICS_PORT=str(port))
    assert status == 1
    assert f"Port {port} of 127.0.0.1, for the metrics of service, is taken." in said


def test_a_file_that_fixes_the_port_for_metrics_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    text = (Path(__file__).parents[2] / "config.yaml").read_text()
    config.write_text(text.replace("${METRICS_PORT:}", "9464"))
    status, said = up(tmp_path / "var", BEERS_CONFIG=str(config))
    assert status == 1
    assert "METRICS_PORT must be ${METRICS_PORT:} for several processes" in said


def test_programs_of_a_kind_are_numbered_if_there_are_several() -> None:
    assert numbered("bridge", ["grpc_bridge"], 1) == {"bridge": ["grpc_bridge"]}
    assert list(numbered("service", ["beers_service"], 3)) == ["service-1", "service-2", "service-3"]


def test_two_at_once_on_one_folder_are_refused(tmp_path: Path) -> None:
    import fcntl  # noqa: PLC0415 - for this one test

    with (tmp_path / "up.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("4711")
        file.flush()
        status, said = up(tmp_path, PORT=str(processes.free_port()))
    assert status == 1
    assert "is running on" in said
    assert "process 4711" in said


def test_a_broker_that_does_not_answer_is_an_error_without_its_password(tmp_path: Path) -> None:
    port = processes.free_port()
    status, said = up(
        tmp_path, PORT=str(processes.free_port()), AMQP_URI=f"amqp://beers:s3cret@127.0.0.1:{port}/catalogue"
    )
    assert status == 1
    assert f"RabbitMQ does not answer at amqp://beers:***@127.0.0.1:{port}/catalogue" in said
    assert "refused" in said
    assert "s3cret" not in said


def test_a_malformed_value_is_named(tmp_path: Path) -> None:
    status, said = up(tmp_path, PORT="http")
    assert status in (1, 2)
    assert "PORT" in said.upper()
    status, said = up(tmp_path, GRACE="long")
    assert status == 1
    assert "GRACE" in said


@pytest.mark.parametrize(
    ("name", "value"), [("DATABASE_URL", "mysql://127.0.0.1/beers"), ("LOG_LEVEL", "LOUD"), ("LOG_FORMAT", "xml")]
)
def test_what_the_parts_would_refuse_is_refused_before_anything_is_started(
    tmp_path: Path, name: str, value: str
) -> None:
    status, said = up(tmp_path / "var", PORT=str(processes.free_port()), **{name: value})
    assert status == 1
    assert f"Error: {name} " in said
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize("uri", ["http://127.0.0.1/", "amqp://", "amqp://host:port/", "5672"])
def test_an_amqp_uri_that_is_none_is_malformed(uri: str) -> None:
    with pytest.raises(Failure, match="AMQP_URI must look like"):
        check_broker(uri)


def test_a_broker_that_accepts_and_says_nothing_does_not_hold_us_up(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beers_cli.up._ANSWER_WITHIN", 0.2)
    with pytest.raises(Failure, match="does not answer"):
        check_broker(f"amqp://127.0.0.1:{listener.getsockname()[1]}/")


def test_a_broker_is_let_in_or_its_refusal_told(amqp_uri: str) -> None:
    check_broker(amqp_uri)
    host = amqp_uri.rpartition("@")[2].partition("/")[0]
    with pytest.raises(Failure, match="refuses"):
        check_broker(f"amqp://guest:wrong@{host}/")
    with pytest.raises(Failure, match="refuses"):
        check_broker(f"amqp://guest:guest@{host}/no-such-host")


def test_of_several_brokers_one_that_lets_us_in_is_enough(amqp_uri: str) -> None:
    away = f"amqp://me:s3cret@127.0.0.1:{processes.free_port()}/"
    check_broker(f"{away};{amqp_uri}")
    with pytest.raises(Failure, match=r"(?s)does not answer at amqp://me:\*\*\*@.*does not answer at") as failed:
        check_broker(f"{away};{away}")
    assert "s3cret" not in str(failed.value)


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1:8000"), ("0.0.0.0", "127.0.0.1:8000"), ("::", "[::1]:8000"), ("beers", "beers:8000")],  # noqa: S104
)
def test_the_address_to_call_is_one_that_can_be_called(host: str, address: str) -> None:
    assert reachable(host, 8000) == address
