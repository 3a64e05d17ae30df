"""What a run that measures says of itself."""

import json
from pathlib import Path

import pytest

from chaos.promises import Claim, Sample, quantile, read, told


def test_a_call_takes_from_when_it_was_due() -> None:
    assert Sample("get", "r", 10.0, 12.5, "OK").seconds == 2.5


def test_a_share_of_the_values_is_not_above_a_quantile() -> None:
    values = [number / 100 for number in range(1, 101)]
    assert quantile(values, 0.5) == 0.51
    assert quantile(values, 0.99) == 1.0
    assert quantile([], 0.99) is None


def test_a_promise_of_which_nothing_was_measured_is_not_kept() -> None:
    assert Claim("p99", 0.1, 0.1, "").kept
    assert not Claim("p99", 0.2, 0.1, "").kept
    assert not Claim("p99", None, 0.1, "").kept


def test_the_exit_status_is_that_of_the_worst_claim(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = Claim("good", 0, 0, "of it"), Claim("bad", 2, 1, "of that")
    assert told([good], {"calls": 5}) == 0
    assert told([good, bad], {}) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["ok"], first["good"], first["calls"]) == (True, 0, 5)
    assert (second["ok"], second["bad"]) == (False, 2)


def test_a_line_that_was_cut_off_is_no_sample(tmp_path: Path) -> None:
    file = tmp_path / "samples"
    line = json.dumps({"kind": "get", "name": "r", "due": 1.0, "ended": 2.0, "code": "OK", "said": ""})
    file.write_text(f"{line}\n{line[:20]}")
    assert read(file) == [Sample("get", "r", 1.0, 2.0, "OK")]
