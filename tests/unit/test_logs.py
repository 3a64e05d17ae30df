"""Each line of the log is written with one call, and lines that belong together with one for them all."""

import asyncio
import errno
import io
import json
import logging
import sys
import threading
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
        self.flushed = 0
        self.full = False

    def flush(self) -> None:
        self.flushed += 1

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "no space left")
        self.writes.append(text)
        return super().write(text)

    def lines(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines()]


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
    assert output.flushed == 1
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
    assert output.events() == ["one", "two", "three"]


def test_lines_that_belong_together_are_written_also_if_their_block_fails(
    output: Output, logger: FilteringBoundLogger
) -> None:
    with suppress(LookupError), logs.together(logger):
        logger.info("one")
        raise LookupError
    assert output.events() == ["one"]


def test_lines_of_one_turn_of_the_event_loop_are_written_at_its_end_in_order(
    output: Output, logger: FilteringBoundLogger
) -> None:
    async def talk() -> None:
        with logs.turn_by_turn(logger, asyncio.get_running_loop()):
            for turn, said in enumerate((("one", "two"), ("three", "four"))):
                for event in said:
                    logger.info(event)
                assert len(output.writes) == turn
                await asyncio.sleep(0)
            logger.info("five")
        assert output.events() == ["one", "two", "three", "four", "five"]

    asyncio.run(talk())
    assert len(output.writes) == output.flushed == 3


def test_no_line_of_a_turn_is_lost_that_a_failure_ends(output: Output, logger: FilteringBoundLogger) -> None:
    async def fail() -> None:
        with logs.turn_by_turn(logger, asyncio.get_running_loop()):
            logger.info("one")
            with logs.together(logger):
                logger.info("two")
            assert output.events() == ["one", "two"]
            logger.info("three")
            raise LookupError

    async def tell() -> None:
        with suppress(LookupError):
            await fail()
        assert output.events() == ["one", "two", "three"]

    asyncio.run(tell())
    logger.info("four")
    assert output.events() == ["one", "two", "three", "four"]


def test_what_another_thread_says_does_not_wait_for_the_end_of_a_turn(
    output: Output, logger: FilteringBoundLogger
) -> None:
    async def talk() -> None:
        with logs.turn_by_turn(logger, asyncio.get_running_loop()):
            logger.info("ours")
            other = threading.Thread(target=logger.info, args=("theirs",))
            other.start()
            other.join()
            assert output.events() == ["theirs"]

    asyncio.run(talk())
    assert output.events() == ["theirs", "ours"]


@pytest.mark.parametrize("level", ["warning", "error", "critical", "exception"])
def test_what_may_be_the_last_word_is_written_at_once_after_what_came_before(
    output: Output, logger: FilteringBoundLogger, level: str
) -> None:
    async def talk() -> None:
        with logs.turn_by_turn(logger, asyncio.get_running_loop()):
            logger.info("one")
            getattr(logger, level)("two")
            assert output.events() == ["one", "two"]
            logger.info("three")

    asyncio.run(talk())
    assert output.events() == ["one", "two", "three"]


def test_a_log_that_cannot_be_written_stops_nobody_and_is_told_once_until_it_can_again(
    output: Output, logger: FilteringBoundLogger, capsys: pytest.CaptureFixture[str]
) -> None:
    async def talk() -> None:
        with logs.turn_by_turn(logger, asyncio.get_running_loop()):
            for output.full in (True, False, True):
                logger.info("one")
                logger.warning("two")
                logger.info("three")
                await asyncio.sleep(0)

    asyncio.run(talk())
    assert output.events() == ["one", "two", "three"]
    assert capsys.readouterr().err == 2 * "the log cannot be written: [Errno 28] no space left\n"
