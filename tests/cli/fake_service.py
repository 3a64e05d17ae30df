"""The beers service over a dictionary, behind real gRPC: fast, and it fails when it is told to."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from grpc_bridge.proto.beers.v1 import beers_pb2, beers_pb2_grpc

PATIENCE = 20.0
"""Seconds after which a test gives up."""

DETAILS = ("brewery", "style", "abv", "ibu", "description")


class FakeService(beers_pb2_grpc.BeersServiceServicer):
    """Answers as the bridge does, as far as the command line asks.

    `failures` go one by one to the calls that come. An import fails on a beer whose name is in `breaks_on`, and hands
    each of its chunks to `on_chunk` before it goes on. What happens is done by `actor`, if there is one.
    """

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.beers: dict[int, beers_pb2.Beer] = {}
        self.events: list[beers_pb2.BeerEvent] = []
        self.actor = ""
        self.answers: dict[str, beers_pb2.Beer] = {}
        self.calls: list[Any] = []
        self.authorizations: list[str] = []
        self.traceparents: list[str] = []
        self.failures: deque[Status | None] = deque()
        self.lose_answers = 0
        self.watches: list[Any] = []
        self.mute = False
        self.events_in_a_response = 1000
        self._cut: Status | None = None
        self._cuts = 0
        self.breaks_on: set[str] = set()
        self.on_chunk: Callable[[beers_pb2.ImportBeersRequest], object] = lambda _chunk: None
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self.health = health.HealthServicer()
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        beers_pb2_grpc.add_BeersServiceServicer_to_server(self, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        if credentials is None:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self.serving(yes=True)
        self._server.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def serving(self, *, yes: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if yes else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", "beers.v1.BeersService", "pb.Beers"):
            self.health.set(name, status)
        self.health.set("liveness", health_pb2.HealthCheckResponse.SERVING)

    def stop(self) -> None:
        self._server.stop(None).wait()

    def cut(self, failure: Status | None) -> None:
        """End all streams with *failure*, or without any."""
        with self._lock:
            self._cut = failure
            self._cuts += 1
            self._news.notify_all()

    def await_watches(self, number: int) -> None:
        """Wait until *number* streams have begun since the start."""
        with self._lock:
            assert self._news.wait_for(lambda: len(self.watches) >= number, PATIENCE)

    def BatchAddBeers(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise AssertionError(f"the command line does not call this: {request} {context}")

    BatchGetBeers = BatchAddBeers

    def AddBeer(self, request: Any, context: Any) -> beers_pb2.AddBeerResponse:  # noqa: N802
        with self._lock:
            self._begin(request, context)
            if not request.name.strip():
                fail(context, invalid("name", "must not be blank"))
            beer = self.answers.get(request.request_id) or self._add(request)
            self._answer(context)
            return beers_pb2.AddBeerResponse(beer=beer)

    def ImportBeers(self, request_iterator: Any, context: Any) -> beers_pb2.ImportBeersResponse:  # noqa: N802
        response = beers_pb2.ImportBeersResponse()
        places = itertools.count()
        for chunk in request_iterator:
            assert chunk.import_id
            assert len(chunk.beers) <= 1000
            self.on_chunk(chunk)
            with self._lock:
                if not response.ByteSize():
                    self._begin(chunk, context)
                for beer in chunk.beers:
                    self._import(beer, next(places), response, context)
        with self._lock:
            self._answer(context)
        return response

    def _import(self, beer: Any, index: int, response: beers_pb2.ImportBeersResponse, context: Any) -> None:
        assert beer.request_id
        if beer.name in self.breaks_on:
            fail(context, bug())
        if not beer.name.strip():
            response.refused += 1
            if len(response.failures) < 1000:
                response.failures.add(index=index, field="name", reason="must not be blank")
        elif beer.request_id in self.answers:
            response.already_added += 1
        else:
            self._add(beer)
            response.added += 1

    def RenameBeer(self, request: Any, context: Any) -> beers_pb2.RenameBeerResponse:  # noqa: N802
        with self._lock:
            beer = self._find(request, context)
            changed = beers_pb2.BeerNameChanged(name=request.name, previous_name=beer.name)
            beer.name = request.name
            self._record(beer, request, beer_name_changed=changed)
            return beers_pb2.RenameBeerResponse(beer=beer)

    def UpdateBeer(self, request: Any, context: Any) -> beers_pb2.UpdateBeerResponse:  # noqa: N802
        with self._lock:
            beer = self._find(request, context)
            changed = beers_pb2.BeerDetailsChanged(changed=request.update_mask)
            for name in request.update_mask.paths:
                for message in (beer, changed):
                    if name in ("abv", "ibu") and not request.HasField(name):
                        message.ClearField(name)
                    else:
                        setattr(message, name, getattr(request, name))
            self._record(beer, request, beer_details_changed=changed)
            return beers_pb2.UpdateBeerResponse(beer=beer)

    def RemoveBeer(self, request: Any, context: Any) -> beers_pb2.RemoveBeerResponse:  # noqa: N802
        with self._lock:
            beer = self._find(request, context)
            beer.removed_at.CopyFrom(self._record(beer, request, beer_removed=beers_pb2.BeerRemoved()))
            return beers_pb2.RemoveBeerResponse(beer=beer)

    def RestoreBeer(self, request: Any, context: Any) -> beers_pb2.RestoreBeerResponse:  # noqa: N802
        with self._lock:
            self._begin(request, context)
            beer = self.beers[request.beer_id]
            beer.ClearField("removed_at")
            self._record(beer, request, beer_restored=beers_pb2.BeerRestored())
            return beers_pb2.RestoreBeerResponse(beer=beer)

    def GetBeer(self, request: Any, context: Any) -> beers_pb2.GetBeerResponse:  # noqa: N802
        with self._lock:
            return beers_pb2.GetBeerResponse(beer=self._find(request, context))

    def ListBeers(self, request: Any, context: Any) -> beers_pb2.ListBeersResponse:  # noqa: N802
        with self._lock:
            self._begin(request, context)
            found = [
                beer
                for beer in sorted(self.beers.values(), key=lambda beer: beer.id, reverse="desc" in request.order_by)
                if (request.show_removed or not beer.HasField("removed_at"))
                and request.query.lower() in f"{beer.name}\n{beer.brewery}\n{beer.style}".lower()
            ]
            start = int(request.page_token or 0)
            end = start + min(request.page_size or 50, 1000)
            token = str(end) if end < len(found) else ""
            return beers_pb2.ListBeersResponse(beers=found[start:end], next_page_token=token)

    def ListBeerEvents(self, request: Any, context: Any) -> beers_pb2.ListBeerEventsResponse:  # noqa: N802
        with self._lock:
            self._begin(request, context)
            events = [event for event in self.events if event.beer_id == request.beer_id]
            if not events:
                fail(context, not_found(request.beer_id))
            return beers_pb2.ListBeerEventsResponse(events=events)

    def WatchBeers(self, request: Any, context: Any) -> Iterator[beers_pb2.WatchBeersResponse]:  # noqa: N802
        with self._lock:
            self.watches.append(request)
            self._news.notify_all()
            self._begin(request, context)
            position = self._start(request, context)
            head, cuts = len(self.events), self._cuts
        context.add_callback(self._wake)
        caught_up = False
        while True:
            with self._lock:
                if caught_up or self.mute:
                    self._await_news(context, position, cuts)
                if not context.is_active():
                    return
                if self._cuts != cuts:
                    if self._cut is not None:
                        fail(context, self._cut)
                    return
                last = min(len(self.events), position + self.events_in_a_response)
                found = [event for event in self.events[position:last] if followed(event, request)]
                position = last
            token = f"log:{position}"
            if found:
                yield beers_pb2.WatchBeersResponse(events=beers_pb2.BeerEvents(events=found), resume_token=token)
            if not caught_up and position >= head:
                caught_up = True
                reached = beers_pb2.CaughtUp(position=position)
                yield beers_pb2.WatchBeersResponse(caught_up=reached, resume_token=token)

    def _await_news(self, context: Any, position: int, cuts: int) -> None:
        def news() -> bool:
            told = len(self.events) > position and not self.mute
            return told or self._cuts != cuts or not context.is_active()

        self._news.wait_for(news, PATIENCE)

    def _start(self, request: Any, context: Any) -> int:
        """Return the position behind which a stream begins."""
        match request.WhichOneof("start"):
            case "from_beginning":
                return 0
            case "after_position":
                position = request.after_position
            case "resume_token":
                log, _, place = request.resume_token.partition(":")
                if log != "log" or not place.isdigit():
                    fail(context, invalid("resume_token", "is no resume token"))
                position = int(place)
            case _:
                return len(self.events)
        if position > len(self.events):
            fail(context, out_of_range(position, len(self.events)))
        return int(position)

    def _wake(self) -> None:
        with self._lock:
            self._news.notify_all()

    def _add(self, request: Any) -> beers_pb2.Beer:
        beer = beers_pb2.Beer(id=len(self.beers) + 1, name=request.name)
        added = beers_pb2.BeerAdded(name=request.name)
        for name in DETAILS:
            if name not in ("abv", "ibu") or request.HasField(name):
                setattr(beer, name, getattr(request, name))
                setattr(added, name, getattr(request, name))
        beer.added_at.CopyFrom(self._record(beer, request, beer_added=added))
        self.beers[beer.id] = beer
        self.answers[request.request_id] = beer
        return beer

    def _answer(self, context: Any) -> None:
        if self.lose_answers:
            self.lose_answers -= 1
            fail(context, away())

    def _begin(self, request: Any, context: Any) -> None:
        self.calls.append(request)
        if context is not None:  # a test may call the method itself
            shown = [(key, str(value)) for key, value in context.invocation_metadata()]
            self.authorizations += [value for key, value in shown if key == "authorization"]
            self.traceparents += [value for key, value in shown if key == "traceparent"]
        failure = self.failures.popleft() if self.failures else None
        if failure is not None:
            fail(context, failure)

    def _find(self, request: Any, context: Any) -> beers_pb2.Beer:
        self._begin(request, context)
        beer = self.beers.get(request.beer_id)
        if beer is None or beer.HasField("removed_at"):
            fail(context, not_found(request.beer_id))
        expected = getattr(request, "expected_version", 0)  # a reading request has none, and 0 no beer ever has
        if expected not in (0, beer.version):
            words = f"beer {beer.id} is at version {beer.version}, not {expected}"
            fail(context, status(grpc.StatusCode.ABORTED, words, ErrorInfo(reason="VERSION_CONFLICT")))
        return beer

    def _record(self, beer: beers_pb2.Beer, request: Any, **data: Any) -> Any:
        beer.version += 1
        position = len(self.events) + 1
        event = beers_pb2.BeerEvent(
            id=f"log:{position}",
            position=position,
            beer_id=beer.id,
            version=beer.version,
            request_id=request.request_id,
            actor=self.actor,
            **data,
        )
        event.time.FromDatetime(datetime(2026, 11, 23, 12, tzinfo=UTC) + timedelta(seconds=position))
        beer.changed_at.CopyFrom(event.time)
        self.events.append(event)
        self._news.notify_all()
        return event.time


def status(code: grpc.StatusCode, message: str, *details: Any) -> Status:
    packed = []
    for detail in details:
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    return Status(code=code.value[0], message=message, details=packed)


def away(retry_after: float = 0.0) -> Status:
    """The answer of a bridge whose service is away."""
    retry = RetryInfo()
    retry.retry_delay.FromTimedelta(timedelta(seconds=retry_after))
    reason = ErrorInfo(reason="SERVICE_UNAVAILABLE", domain="beers")
    return status(grpc.StatusCode.UNAVAILABLE, "no service instance answers", reason, retry)


def bug() -> Status:
    return status(grpc.StatusCode.INTERNAL, "something went wrong, id 4711", ErrorInfo(reason="INTERNAL"))


def invalid(field: str, why: str) -> Status:
    violation = BadRequest.FieldViolation(field=field, description=why)
    reason = ErrorInfo(reason="INVALID_FIELD", domain="beers")
    return status(grpc.StatusCode.INVALID_ARGUMENT, f"{field}: {why}", reason, BadRequest(field_violations=[violation]))


def not_found(beer_id: int) -> Status:
    return status(grpc.StatusCode.NOT_FOUND, f"beer {beer_id} not found", ErrorInfo(reason="BEER_NOT_FOUND"))


def out_of_range(position: int, head: int) -> Status:
    known = {"position": str(position), "head": str(head), "log_id": "log"}
    words = f"position {position} lies beyond the head {head} of log log"
    reason = ErrorInfo(reason="POSITION_OUT_OF_RANGE", domain="beers", metadata=known)
    return status(grpc.StatusCode.OUT_OF_RANGE, words, reason)


def followed(event: beers_pb2.BeerEvent, request: Any) -> bool:
    kind = (event.WhichOneof("data") or "").title().replace("_", "")
    return (not request.types or kind in request.types) and (not request.beer_ids or event.beer_id in request.beer_ids)


def fail(context: Any, failure: Status) -> NoReturn:
    context.abort_with_status(rpc_status.to_status(failure))
    raise AssertionError
