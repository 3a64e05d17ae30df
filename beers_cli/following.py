"""Follows the log over one stream after another, as if it were one that never breaks."""

import math
import queue
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import grpc

from beers_cli.client import Catalogue, delay_before
from beers_cli.failure import Failure
from beers_cli.problem import Problem
from beers_cli.stopping import Stop
from grpc_bridge.proto.beers.v1.beers_pb2 import WatchBeersRequest, WatchBeersResponse

SILENCE = 90.0
"""Seconds without a response after which a stream is broken: a bridge says something every 30 at the latest."""

_ENDED = "STREAM_ENDED"
"""How the service says that a stream is to go on over another connection: nothing that a person need know."""

_SLOWEST_RETRY = 10.0
_READ_AHEAD = 4


@dataclass(frozen=True)
class Patience:
    """How long to do without any answer.

    Attributes:
        seconds: For so long; None: for ever.
        at_once: Give up at once if nobody has ever answered at this address: it may be the wrong one.
    """

    seconds: float | None
    at_once: bool


class Follower:
    """Yields every response of `WatchBeers`, resuming behind the last one when a stream breaks."""

    def __init__(
        self,
        catalogue: Catalogue,
        request: WatchBeersRequest,
        patience: Patience,
        stop: Stop,
        say: Callable[[str], None],
        *,
        elsewhere: str = "",
    ) -> None:
        """Prepare to follow.

        Args:
            catalogue: Whose log.
            request: Where to begin and what to follow.
            patience: When to give up.
            stop: Ends it.
            say: Told, in a line, when the connection is lost and when it is back.
            elsewhere: How to begin at another place; told if there is no such place as *request* names.
        """
        self._catalogue = catalogue
        self._request = request
        self._patience = patience
        self._stop = stop
        self._say = say
        self._elsewhere = elsewhere
        self._inbox: queue.SimpleQueue[tuple[_Stream, _Came] | None] = queue.SimpleQueue()
        stop.rings(self._inbox)
        self._away_since: float | None = time.monotonic()  # until the first response
        self._answered = False
        self._lost = False
        self._attempt = 0

    def responses(self) -> Generator[WatchBeersResponse, None, None]:
        """Yield the responses, each once its predecessor is done with, until an end is wanted.

        Raises:
            Failure: If the service refuses, or does not answer for too long.
        """
        while not self._stop.wanted:
            began = time.monotonic()
            stream = _Stream(self._catalogue.watch(self._request), self._inbox)
            try:
                problem = yield from self._read(stream)
            finally:
                stream.close()
            if problem is None:
                return
            # A service that greets and then hangs up is not asked again and again without a pause.
            self._attempt = 1 if time.monotonic() - began > _SLOWEST_RETRY else self._attempt + 1
            self._pause(problem)

    def _read(self, stream: "_Stream") -> Generator[WatchBeersResponse, None, Problem | None]:
        """Yield the responses of one stream; return why it ended, None if an end is wanted."""
        while True:
            came = self._next(stream)
            if not isinstance(came, WatchBeersResponse):
                return came
            self._away_since = None
            self._answered = True
            if self._lost:
                self._lost = False
                self._say("The connection is back.")
            yield came
            self._request.resume_token = came.resume_token
            stream.proceed()

    def _next(self, stream: "_Stream") -> WatchBeersResponse | Problem | None:
        """Return the next response, or why there is none; None if an end is wanted."""
        patience = SILENCE if self._away_since is None else min(SILENCE, self._left())
        deadline = time.monotonic() + patience
        while not self._stop.wanted:
            try:
                came = self._inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return Problem(grpc.StatusCode.UNAVAILABLE, f"nothing came for {patience:.3g} s")
            if came is not None and came[0] is stream:
                if isinstance(came[1], Exception):
                    raise came[1]
                return came[1]
        return None

    def _left(self) -> float:
        """Return how many seconds of patience are left."""
        if self._patience.seconds is None or self._away_since is None:
            return math.inf
        return max(0.0, self._away_since + self._patience.seconds - time.monotonic())

    def _pause(self, problem: Problem) -> None:
        """Wait before the next try; raises `Failure` if there is none."""
        if not (problem.passing or problem.cut_off):
            raise self._refusal(problem)
        failure = self._broken(problem) if problem.cut_off else self._catalogue.failure(problem)
        if self._away_since is None:
            self._away_since = time.monotonic()
        if self._patience.at_once and not self._answered and problem.nobody_listens:
            raise failure
        if not self._left():
            waited = f"No answer for {self._patience.seconds:g} s."
            raise Failure(f"{waited} {failure.message}", failure.hint, **failure.facts)
        if not self._lost and problem.reason != _ENDED:
            self._lost = True
            self._say(f"{failure.message} Trying again.")
        pause = delay_before(self._attempt, problem.retry_after, slowest=_SLOWEST_RETRY)
        self._stop.wait(min(pause, self._left()))

    def _broken(self, problem: Problem) -> Failure:
        said = problem.message.rstrip(".") or problem.code.name
        return Failure(f"The connection to {self._catalogue.address} broke: {said}.", code=problem.code.name)

    def _refusal(self, problem: Problem) -> Failure:
        """Return what to tell of a request that the service will not have."""
        if problem.code is grpc.StatusCode.OUT_OF_RANGE:
            known = {
                name: problem.metadata[name] for name in ("position", "head", "log_id") if name in problem.metadata
            }
            asked, _, _ = self._request.resume_token.rpartition(":")
            place = (
                "is another one than that of the place to go on from"
                if asked and asked != known.get("log_id", asked)
                else f"does not reach to position {known['position']}: it ends at position {known['head']}"
                if known.keys() >= {"position", "head"}
                else "has no such place"
            )
            return Failure(
                f"The log of this catalogue {place}.",
                f"It is another one than before, or an older copy was restored. {self._elsewhere}",
                code=problem.code.name,
                reason=problem.reason,
                **known,
            )
        failure = self._catalogue.failure(problem)
        if problem.field == "resume_token":
            return Failure(failure.message, self._elsewhere, **failure.facts)
        return failure


_Came = WatchBeersResponse | Problem | Exception


class _Stream:
    """One stream, read by a thread of its own: the main one has to stay free for signals and for time limits."""

    def __init__(self, call: Any, inbox: "queue.SimpleQueue[tuple[_Stream, _Came] | None]") -> None:
        """Read *call* into *inbox*: responses, then the problem that ended it; a few responses ahead and no more."""
        self._call = call
        self._inbox = inbox
        self._room = threading.Semaphore(_READ_AHEAD)
        self._closed = False
        threading.Thread(target=self._run, name="stream", daemon=True).start()

    def proceed(self) -> None:
        """Say that a response is done with."""
        self._room.release()

    def close(self) -> None:
        """End it; what it still yields is not read."""
        self._closed = True
        self._call.cancel()
        self._room.release()

    def _run(self) -> None:
        try:
            while self._room.acquire() and not self._closed:
                self._inbox.put((self, next(self._call)))
        except StopIteration:
            self._inbox.put((self, Problem(grpc.StatusCode.UNAVAILABLE, "it ended the stream")))
        except grpc.RpcError as error:
            self._inbox.put((self, Problem.of(error)))
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits for it
            self._inbox.put((self, error))
