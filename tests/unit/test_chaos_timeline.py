"""The timeline of a run: what is drawn, and that it is drawn."""

from pathlib import Path

from chaos.history import ACKNOWLEDGED, UNKNOWN, Call
from chaos.schedule import CLOCK, KILL, Fault
from chaos.timeline import Second, draw, longest_silence, timeline


def call(began: float, ended: float, outcome: str = ACKNOWLEDGED, failures: int = 0) -> Call:
    return Call(1, "get", "", {}, began, ended, outcome, failures=["UNAVAILABLE"] * failures)


CALLS = [call(0.1, 0.2), call(0.1, 0.4), call(0.1, 0.5), call(1.0, 3.5, failures=2), call(3.0, 3.6, UNKNOWN)]


def test_each_second_has_what_was_answered_in_it_what_failed_and_how_long_it_took() -> None:
    rounded = [
        Second(one.at, one.acknowledged, one.failed, one.median and round(one.median, 3), one.longest)
        for one in timeline(CALLS, 5)
    ]
    assert rounded == [
        Second(0, 3, 0, 0.3, 0.4),
        Second(1, 0, 0, None, None),
        Second(2, 0, 0, None, None),
        Second(3, 1, 3, 2.5, 2.5),
        Second(4, 0, 0, None, None),
    ]


def test_the_longest_silence_is_the_longest_time_between_two_answers() -> None:
    assert longest_silence(CALLS) == 3.0
    assert longest_silence([]) == 0.0


def test_the_plot_names_what_was_done_and_is_the_same_for_the_same_run(tmp_path: Path) -> None:
    faults = [Fault(1, KILL, "rabbitmq", 2), Fault(2, CLOCK, "clients", 1, 30)]
    texts = []
    for name in ("one.svg", "two.svg"):
        draw(timeline(CALLS, 5), faults, "seed 1", tmp_path / name)
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1]
    for word in ("seed 1", "rabbitmq", "clients", "kill", "clock", "calls a second"):
        assert word in texts[0]
