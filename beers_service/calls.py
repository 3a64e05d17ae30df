"""What each RPC method does: parse, run, present, and log one line.

Calls come singly or many in one message. Commands that stand next to each other share one commit; every call has its
own answer. `service` gives these methods their signatures.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

from structlog.typing import FilteringBoundLogger

from beers_runtime import logs, tracing
from beers_service.domain import commands, fields
from beers_service.domain.commands import Command
from beers_service.domain.errors import BeersError, InvalidField, StoreUnavailable
from beers_service.gathering import Submit
from beers_service.importing import Import, import_beers
from beers_service.methods import Answer, Call, Method, check_arguments, deadline_of, method
from beers_service.paging import ANSWER_BYTES, size_of
from beers_service.ports import BeerReader
from beers_service.reads import Reads
from beers_service.representation import represent_beer
from beers_service.spans import Spans
from beers_service.writer import Request, Writer

Measure = Callable[[Sequence[Call], Sequence[Answer], float], None]
"""Takes the calls of each message, what became of them, and the seconds that they took together."""

_ANSWERED = 200
"""Bytes that the answer tells of a beer beyond what its command told: id, version, times."""

_MALFORMED = "(malformed)"
"""Stands in the log for a text of a caller's that is none of ours and may be of any length and hold anything."""


class Calls:
    """Runs calls on the writer and the reader.

    Args:
        writer: For commands.
        reader: For everything else.
        logger: Gets one line for each call: commands at info level, reads at debug level.
        submit: Takes commands to the writer; None: they go straight there.
        measure: Takes what the calls of each message were like.
        spans: Gets a span for each call whose trace is sampled; None: there are none.
    """

    def __init__(
        self,
        writer: Writer,
        reader: BeerReader,
        logger: FilteringBoundLogger,
        submit: Submit | None = None,
        measure: Measure | None = None,
        spans: Spans | None = None,
    ) -> None:
        self._writer = writer
        self._submit = submit or writer.submit
        self._logger = logger
        self._measure = measure
        self._reads = Reads(reader)
        self._spans = spans or Spans()

    def __contains__(self, name: str) -> bool:
        """Tell whether there is a method of that *name*."""
        return name in _COMMANDS or name == _IMPORT or name in self._reads

    def run(self, calls: Sequence[Call], *, edge: bool = False) -> list[Answer]:
        """Run *calls* in order and return their answers; an exception stands in the place of the call it ended.

        At the *edge* they come from the caller himself, and it is open whether their traces are sampled.
        """
        spans = self._spans.begin(calls, edge=edge)
        if spans is None:
            return self._run(calls)
        calls = [
            call if span is None else replace(call, traceparent=span.traceparent)
            for call, span in zip(calls, spans, strict=True)
        ]
        answers = self._run(calls)
        for span, call, answer in zip(spans, calls, answers, strict=True):
            if span is not None:
                self._spans.end(span, self._method(call), call.correlation_id, answer, len(calls))
        return answers

    def _run(self, calls: Sequence[Call]) -> list[Answer]:
        started = time.monotonic()
        answers: list[Answer] = [None] * len(calls)
        waiting: list[tuple[int, Request]] = []
        wanted: list[tuple[int, int]] = []
        for index, call in enumerate(calls):
            try:
                if call.method in _COMMANDS:
                    # What is read before a command in one message must not show its effect, and what after it must.
                    self._look_up(wanted, answers)
                    waiting.append((index, _request(call)))
                    continue
                self._write(waiting, calls, answers)
                if _is_plain_get(call):
                    self._reads.check(call)
                    wanted.append((index, fields.beer_id(call.arguments["beer_id"])))
                elif call.method == _IMPORT:
                    self._look_up(wanted, answers)
                    answers[index] = self._import(call)
                else:
                    answers[index] = self._reads.run(call)
            except BeersError as error:
                answers[index] = error
            except Exception as error:
                self._logger.exception("call failed", method=call.method, correlation_id=call.correlation_id)
                answers[index] = error
        self._write(waiting, calls, answers)
        self._look_up(wanted, answers)
        if self._measure is not None:
            self._measure(calls, answers, time.monotonic() - started)
        if len(calls) == 1:
            self._log(calls[0], answers[0], started)
        else:
            with logs.together(self._logger):
                for call, answer in zip(calls, answers, strict=True):
                    self._log(call, answer, started)
        return [answer.answer() if isinstance(answer, Import) else answer for answer in answers]

    def _write(self, waiting: list[tuple[int, Request]], calls: Sequence[Call], answers: list[Answer]) -> None:
        """Commit what is *waiting* and put the answers in their places."""
        outcomes = self._submit([request for _, request in waiting])
        for (index, _), outcome in zip(waiting, outcomes, strict=True):
            if not isinstance(outcome, list):
                answers[index] = outcome
            elif calls[index].method == "add_many":
                answers[index] = [represent_beer(beer) for beer in outcome]
            else:
                answers[index] = represent_beer(outcome[0])
        waiting.clear()

    def _look_up(self, wanted: list[tuple[int, int]], answers: list[Answer]) -> None:
        """Read the beers that are *wanted*, all at once, and put them in their places."""
        if not wanted:
            return
        try:
            found = self._reads.present({beer_id for _, beer_id in wanted})
            for index, beer_id in wanted:
                answers[index] = found[beer_id]
        except Exception as error:
            if not isinstance(error, BeersError):
                self._logger.exception("calls failed", method="get", number=len(wanted))
            for index, _ in wanted:
                answers[index] = error
        wanted.clear()

    def _import(self, call: Call) -> Import:
        check_arguments(_IMPORT_ARGUMENTS, call.method, call.arguments)
        return import_beers(
            self._writer,
            call.arguments["beers"],
            correlation_id=call.correlation_id,
            deadline=deadline_of(call),
            traceparent=call.traceparent,
            actor=_actor(call),
        )

    def _log(self, call: Call, answer: Answer, started: float) -> None:
        is_command = call.method in _COMMANDS or call.method == _IMPORT
        more: Mapping[str, int | str] = {}
        if isinstance(answer, Import):
            more = answer.counts()
        elif isinstance(answer, StoreUnavailable):
            more = {"reason": " ".join([*answer.args, *getattr(answer, "__notes__", ())]).rstrip()}
        (self._logger.info if is_command else self._logger.debug)(
            "command" if is_command else "read",
            method=self._method(call),
            request_id=_named(call),
            correlation_id=call.correlation_id,
            outcome=type(answer).__name__ if isinstance(answer, Exception) else "ok",
            duration_ms=round((time.monotonic() - started) * 1000, 3),
            **more,
            **tracing.ids(call.traceparent),
        )

    def _method(self, call: Call) -> str:
        """Return what *call* calls, as a log may hold it."""
        return call.method if call.method in self else _MALFORMED


def _is_plain_get(call: Call) -> bool:
    return call.method == "get" and call.arguments.get("as_of") is None and "beer_id" in call.arguments


def _add(**beer: object) -> tuple[Command, ...]:
    return (commands.add(**beer),)


def _add_many(beers: object) -> tuple[Command, ...]:
    adds = commands.add_many(beers)
    # The answer repeats them. Refused now, since afterwards they would be stored and nobody could be told.
    size = sum(size_of(asdict(add)) + _ANSWERED for add in adds)
    if size > ANSWER_BYTES:
        raise InvalidField("beers", f"are {size / 10**6:.1f} MB together; add fewer at a time")
    return adds


def _update(beer_id: object, **changes: object) -> tuple[Command, ...]:
    return (commands.update(beer_id, changes),)


_COMMANDS: Mapping[str, Method] = {
    "add": method(_add, "name", "brewery=", "style=", "abv=", "ibu=", "description="),
    "add_many": method(_add_many, "beers"),
    "rename": method(lambda beer_id, name: (commands.rename(beer_id, name),), "beer_id", "name"),
    "update": Method(_update, needs=frozenset({"beer_id"}), accepts=None),
    "remove": method(lambda beer_id: (commands.remove(beer_id),), "beer_id"),
    "restore": method(lambda beer_id: (commands.restore(beer_id),), "beer_id"),
}

_IMPORT = "import_beers"
_IMPORT_ARGUMENTS = method(import_beers, "beers")


def _request(call: Call) -> Request:
    """Return the request that *call*, of a command, makes; raises `InvalidField`."""
    arguments = dict(call.arguments)
    request_id = arguments.pop("request_id", None)
    expected_version = arguments.pop("expected_version", None)
    method = _COMMANDS[call.method]
    check_arguments(method, call.method, arguments)
    return Request(
        commands=method.run(**arguments),
        request_id=call.call_id if request_id is None else fields.request_id(request_id),
        correlation_id=call.correlation_id,
        traceparent=call.traceparent,
        expected_version=fields.expected_version(expected_version),
        deadline=deadline_of(call),
        actor=_actor(call),
    )


def _actor(call: Call) -> str | None:
    """Return who makes *call*, of a command; raises `InvalidField`.

    Reads are not asked: whatever a caller's context holds, they leave no trace.
    """
    return None if call.user_id is None else fields.actor(call.user_id, "user_id")


def _named(call: Call) -> str:
    """Return the id by which *call* is known, as a log may hold it."""
    given = call.arguments.get("request_id")
    try:
        return call.call_id if given is None else fields.request_id(given)
    except InvalidField:
        return _MALFORMED
