"""How workers that began in the same turn share a commit, and what becomes of them if the one who submits fails."""

from collections.abc import Callable, Iterator, Sequence

import eventlet
import pytest
from eventlet.support.greenlets import GreenletExit

from beers_service.domain import commands
from beers_service.domain.errors import DeadlinePassed
from beers_service.gathering import Gathering
from beers_service.writer import BATCH, Outcome, Request

PATIENCE = 10
"""Seconds after which a test gives up."""


class Submissions:
    """Takes what is submitted, and answers with errors that bear the requests' names."""

    def __init__(self) -> None:
        self.taken: list[list[str]] = []
        self.before: Callable[[Sequence[Request]], None] = lambda _requests: None

    def __call__(self, requests: Sequence[Request]) -> list[Outcome]:
        self.taken.append([request.request_id for request in requests])
        self.before(requests)
        return [LookupError(request.request_id) for request in requests]


class Workers:
    """Workers that are started together and tell which of them have not begun."""

    def __init__(self, submissions: Submissions) -> None:
        self.gathering = Gathering(submissions, lambda: self._unbegun > 0)
        self._unbegun = 0
        self.threads: list[eventlet.greenthread.GreenThread] = []

    def start(self, *requests: Request) -> None:
        self._unbegun += 1
        self.threads.append(eventlet.spawn(self._run, requests))

    def _run(self, requests: Sequence[Request]) -> list[Outcome]:
        self._unbegun -= 1
        return self.gathering.submit(requests)

    def outcomes(self) -> list[list[str]]:
        return [[str(outcome) for outcome in thread.wait()] for thread in self.threads]


def request(name: str, *, size: int = 1, deadline: float = float("inf")) -> Request:
    return Request(tuple(commands.add(name) for _ in range(size)), name, "conversation", deadline=deadline)


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    with eventlet.Timeout(PATIENCE):
        yield


@pytest.fixture
def submissions() -> Submissions:
    return Submissions()


@pytest.fixture
def workers(submissions: Submissions) -> Workers:
    return Workers(submissions)


def test_workers_that_were_started_together_submit_together_and_get_their_own_outcomes(
    submissions: Submissions, workers: Workers
) -> None:
    workers.start(request("a"))
    workers.start(request("b"), request("c"))
    workers.start(request("d"))
    assert workers.outcomes() == [["a"], ["b", "c"], ["d"]]
    assert submissions.taken == [["a", "b", "c", "d"]]


def test_a_single_worker_submits_without_giving_way(submissions: Submissions, workers: Workers) -> None:
    passed: list[str] = []
    workers.start(request("a"))
    submissions.before = lambda _requests: passed.append("submitted")
    eventlet.spawn_n(passed.append, "another turn")
    assert workers.outcomes() == [["a"]]
    assert passed == ["submitted", "another turn"]


def test_workers_without_commands_wait_for_nobody(submissions: Submissions, workers: Workers) -> None:
    workers.start()
    workers.start(request("a"))
    assert workers.outcomes() == [[], ["a"]]
    assert submissions.taken == [[], ["a"]]


def test_what_exceeds_a_transaction_is_submitted_by_itself(submissions: Submissions, workers: Workers) -> None:
    for name in "abc":
        workers.start(request(name, size=BATCH // 2))
    assert workers.outcomes() == [["a"], ["b"], ["c"]]
    assert sorted(submissions.taken) == [["a", "b"], ["c"]]


def test_one_whose_request_breaks_the_submission_takes_no_other_with_it(
    submissions: Submissions, workers: Workers
) -> None:
    def refuse(requests: Sequence[Request]) -> None:
        if any(request.request_id == "b" for request in requests):
            raise ZeroDivisionError("a bug")

    submissions.before = refuse
    for name in "abc":
        workers.start(request(name))
    first, second, third = workers.threads
    assert [str(outcome) for thread in (first, third) for outcome in thread.wait()] == ["a", "c"]
    with pytest.raises(ZeroDivisionError):
        second.wait()


def test_nobody_waits_for_one_who_was_killed(submissions: Submissions, workers: Workers) -> None:
    def kill_the_first(requests: Sequence[Request]) -> None:
        if len(requests) > 1:
            raise GreenletExit

    submissions.before = kill_the_first
    workers.start(request("a"))
    workers.start(request("b"))
    assert [str(outcome) for outcome in workers.threads[1].wait()] == ["b"]


def test_a_worker_waits_no_longer_than_its_call(submissions: Submissions, workers: Workers) -> None:
    gate = eventlet.Event()
    submissions.before = lambda _requests: gate.wait()
    workers.start(request("a"))
    workers.start(request("b", deadline=0.0))
    (late,) = workers.threads[1].wait()
    assert isinstance(late, DeadlinePassed)
    gate.send()
    assert [str(outcome) for outcome in workers.threads[0].wait()] == ["a"]
