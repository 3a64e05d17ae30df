"""Each line of the log is written with one call, and lines that belong together with one for them all."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
from structlog.typing import FilteringBoundLogger

from beers_runtime import logs


class Output(io.StringIO):
    """A standard output that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)

    def lines(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Output:
    output = Output()
    monkeypatch.setattr("sys.stdout", output)
    return output


@pytest.fixture
def logger(output: Output) -> Iterator[FilteringBoundLogger]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    assert sys.stdout is output
    yield logs.configure(process="test", style="json")
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_is_written_whole(output: Output, logger: FilteringBoundLogger) -> None:
    logger.info("brewed", beer="Ünzen")
    assert output.writes == [output.getvalue()]
    (line,) = output.lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {"process": "test", "beer": "Ünzen", "event": "brewed", "level": "info"}


def test_an_exception_is_told_without_the_values_of_variables(output: Output, logger: FilteringBoundLogger) -> None:
    kept = {"secret": "payload"}
    try:
        kept["nothing"]
    except LookupError:
        logger.exception("failed")
        logging.getLogger("library").exception("failed as well")
    ours, theirs = output.lines()
    assert ours["level"] == theirs["level"] == "error"
    assert "KeyError" in str(ours["exception"])
    assert "KeyError" in str(theirs["exception"])
    assert "payload" not in output.getvalue()


def test_lines_that_belong_together_are_written_at_once_and_in_order(
    output: Output, logger: FilteringBoundLogger
) -> None:
    with logs.together(logger):
        logger.info("one")
        logger.info("two")
        assert not output.writes
    logger.info("three")
    assert len(output.writes) == 2
    assert [line["event"] for line in output.lines()] == ["one", "two", "three"]


def test_lines_that_belong_together_are_written_also_if_their_block_fails(
    output: Output, logger: FilteringBoundLogger
) -> None:
    with suppress(LookupError), logs.together(logger):
        logger.info("one")
        raise LookupError
    assert [line["event"] for line in output.lines()] == ["one"]
