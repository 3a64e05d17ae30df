"""How long nobody was answered around a fault."""

from chaos.history import ACKNOWLEDGED, Call
from chaos.timeline import silences


def answered_at(seconds: float) -> Call:
    return Call(1, "add", "id", {}, seconds - 0.1, ended=seconds, outcome=ACKNOWLEDGED)


def test_the_silence_around_a_fault_is_the_longest_that_reaches_behind_it() -> None:
    calls = [answered_at(at) for at in (1, 9, 10, 13.5, 14, 40, 41, 70)]
    # 12 lies in the pause from 10 to 13.5; behind 14 comes one that begins within ten seconds; 30 lies within that.
    assert silences(calls, [12, 30, 41]) == [26, 26, 29]
    assert silences(calls[:4], [10, 11, 20]) == [3.5, 3.5, 0.0]
