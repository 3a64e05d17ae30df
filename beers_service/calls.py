"""What each RPC method does: parse, run, present, and log one line.

Calls come singly or many in one message. Commands that stand next to each other share one commit; every call has its
own answer. `service` gives these methods their signatures.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from structlog.typing import FilteringBoundLogger

from beers_service.domain import commands, fields
from beers_service.domain.beer import Beer, fold
from beers_service.domain.commands import Command
from beers_service.domain.errors import BeerNotFound, BeersError, DeadlinePassed, InvalidField, PositionOutOfRange
from beers_service.domain.events import EVENT_TYPES
from beers_service.envelope import envelope
from beers_service.importing import Import, import_beers
from beers_service.paging import ANSWER_BYTES, first_page, is_id, items_per_page, make_token, read_token, size_of
from beers_service.ports import ORDERS, BeerQuery, BeerReader, Head, sort_key
from beers_service.representation import Json, parse_time, represent_beer
from beers_service.writer import Request, Writer

VERSION = "0.1.0"

EVENTS_MAXIMUM = 1000
"""How many events one call of `events` returns at most."""

SCAN_MAXIMUM = 20_000
"""How many positions one call of `events` looks at for those that it is to return, so that a rare one costs many short
calls instead of a long one."""

TEXT_MAXIMUM = 5_000
"""How many beers one call of `list` looks at for a text, for the same reason."""


_ANSWERED = 200
"""Bytes that the answer tells of a beer beyond what its command told: id, version, times."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a method.

    Attributes:
        method: The method's name.
        arguments: Its arguments by name, as they came.
        call_id: Names this call for ever, also if its message is delivered again: a command without a request id of
            its own is known by it.
        correlation_id: The conversation that it is part of.
        deadline: Until when the caller waits, in seconds of `time.time`; None if he does not say.
        traceparent: The trace that it is part of, as W3C Trace Context writes it; None if there is none.
    """

    method: str
    arguments: Mapping[str, Any]
    call_id: str
    correlation_id: str
    deadline: float | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class _Method:
    """How a method is run: `accepts` names its arguments, those in `needs` have no default."""

    run: Callable[..., Any]
    needs: frozenset[str]
    accepts: frozenset[str] | None


_MALFORMED = "(malformed)"
"""Stands in the log for a text of a caller's that is none of ours and may be of any length and hold anything."""

Answer = Any
"""A JSON value, or the exception that a call ended in."""


class Calls:
    """Runs calls on the writer and the reader.

    Args:
        writer: For commands.
        reader: For everything else.
        logger: Gets one line for each call: commands at info level, reads at debug level.
    """

    def __init__(self, writer: Writer, reader: BeerReader, logger: FilteringBoundLogger) -> None:
        self._writer = writer
        self._reader = reader
        self._logger = logger
        self._reads = {
            "get": _method(self._get, "beer_id", "as_of="),
            "get_many": _method(self._get_many, "beer_ids"),
            "list": _method(
                self._list, "page_size=", "page_token=", "query=", "brewery=", "style=", "order_by=", "show_removed="
            ),
            "history": _method(self._history, "beer_id", "page_size=", "page_token="),
            "events": _method(self._events, "after=", "limit=", "types=", "beer_ids="),
            "ping": _method(self._ping),
        }

    def run(self, calls: Sequence[Call]) -> list[Answer]:
        """Run *calls* in order and return their answers; an exception stands in the place of the call it ended."""
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
                    self._check_read(call)
                    wanted.append((index, fields.beer_id(call.arguments["beer_id"])))
                else:
                    answers[index] = self._import(call) if call.method == _IMPORT else self._read(call)
            except BeersError as error:
                answers[index] = error
            except Exception as error:
                self._logger.exception("call failed", method=call.method, correlation_id=call.correlation_id)
                answers[index] = error
        self._write(waiting, calls, answers)
        self._look_up(wanted, answers)
        for call, answer in zip(calls, answers, strict=True):
            self._log(call, answer, started)
        return [answer.answer() if isinstance(answer, Import) else answer for answer in answers]

    def _write(self, waiting: list[tuple[int, Request]], calls: Sequence[Call], answers: list[Answer]) -> None:
        """Commit what is *waiting* and put the answers in their places."""
        outcomes = self._writer.submit([request for _, request in waiting])
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
            found = self._reader.beers({beer_id for _, beer_id in wanted})
            for index, beer_id in wanted:
                answers[index] = _present(found.get(beer_id), beer_id)
        except Exception as error:
            if not isinstance(error, BeersError):
                self._logger.exception("calls failed", method="get", number=len(wanted))
            for index, _ in wanted:
                answers[index] = error
        wanted.clear()

    def _import(self, call: Call) -> Import:
        _check_arguments(_IMPORT_ARGUMENTS, call.method, call.arguments)
        return import_beers(
            self._writer,
            call.arguments["beers"],
            correlation_id=call.correlation_id,
            deadline=_deadline(call),
            traceparent=call.traceparent,
        )

    def _read(self, call: Call) -> Answer:
        return self._check_read(call).run(**call.arguments)

    def _check_read(self, call: Call) -> _Method:
        method = self._reads.get(call.method)
        if method is None:
            raise InvalidField("method", f"there is no method {call.method!r}"[:100])
        if call.deadline is not None and call.deadline < time.time():
            raise DeadlinePassed("")
        _check_arguments(method, call.method, call.arguments)
        return method

    def _get(self, beer_id: object, as_of: object) -> Json:
        """Return the beer as it was; as it is, `_look_up` finds it."""
        identity = fields.beer_id(beer_id)
        answer = _present(self._past(identity, as_of), identity)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _past(self, beer_id: int, as_of: object) -> Beer | None:
        """Return the beer as it was at a position or a time; None if it was not there yet."""
        if isinstance(as_of, str):
            history = self._reader.history(beer_id, until=parse_time("as_of", as_of))
        else:
            position = fields.whole_number("as_of", as_of, minimum=0)
            self._require_position(position)
            history = self._reader.history(beer_id, until=position)
        return fold(beer_id, ((event.data, event.time) for event in history))

    def _get_many(self, beer_ids: object) -> list[Json]:
        wanted = _beer_ids(beer_ids, minimum=1)
        found = self._reader.beers(set(wanted))
        beers: list[Json] = []
        size = 0
        for beer_id in wanted:
            beer = found.get(beer_id)
            if beer is None or beer.removed_at is not None:
                raise BeerNotFound(str(beer_id))
            beers.append(represent_beer(beer))
            size += size_of(beers[-1])
        if size > ANSWER_BYTES:
            raise InvalidField("beer_ids", f"are those of {size / 10**6:.1f} MB of beers; ask for fewer at a time")
        return beers

    def _list(
        self,
        page_size: object = 0,
        page_token: object = "",
        query: object = "",
        brewery: object = "",
        style: object = "",
        order_by: object = "",
        show_removed: object = False,  # noqa: FBT002 - an RPC argument
    ) -> Json:
        size = items_per_page(page_size)
        order, descending = _order(order_by)
        if not isinstance(show_removed, bool):
            raise InvalidField("show_removed", "must be true or false")
        filters = (
            fields.text("query", query, fields.NAME_LENGTH),
            fields.text("brewery", brewery, fields.BREWERY_LENGTH),
            fields.text("style", style, fields.STYLE_LENGTH),
        )
        arguments = [*filters, order, descending, show_removed]
        place = read_token(page_token, arguments, (_KEYS[order], is_id))
        after = None if place is None else (place[0], place[1])
        # One more than the page holds tells whether there is another page.
        listing = BeerQuery(*filters, order, descending, show_removed, size + 1, after)
        # Text is looked for beer by beer: a page ends once so many were looked at, however few of them were found.
        end = self._reader.reach(listing, TEXT_MAXIMUM) if listing.query else None
        beers = self._reader.page(replace(listing, until=end))
        page = first_page(represent_beer(beer) for beer in beers[:size])
        following = ""
        if len(beers) > len(page):
            last = beers[len(page) - 1]
            following = make_token(arguments, [sort_key(last, order), last.id])
        elif end is not None:
            following = make_token(arguments, list(end))
        return {"beers": page, "next_page_token": following}

    def _history(self, beer_id: object, page_size: object = 0, page_token: object = "") -> Json:
        identity = fields.beer_id(beer_id)
        size = items_per_page(page_size)
        place = read_token(page_token, [identity], (is_id,))
        events = self._reader.history(identity, place[0] if place else 0, size + 1)
        if not events and not place:
            raise BeerNotFound(str(identity))
        log_id = self._reader.head().log_id
        page = first_page(envelope(event, log_id) for event in events[:size])
        following = make_token([identity], [events[len(page) - 1].version]) if len(events) > len(page) else ""
        return {"events": page, "next_page_token": following}

    def _events(self, after: object = 0, limit: object = 100, types: object = None, beer_ids: object = None) -> Json:
        position = fields.whole_number("after", after, minimum=0)
        number = fields.whole_number("limit", limit, minimum=1)
        names = [kind.__name__ for kind in EVENT_TYPES]
        if types is not None and (not isinstance(types, list | tuple) or any(kind not in names for kind in types)):
            raise InvalidField("types", f"must be a list of {', '.join(names)}")
        beers = () if beer_ids is None else _beer_ids(beer_ids, minimum=0)
        head = self._require_position(position)
        size = min(number, EVENTS_MAXIMUM)
        scanned = min(head.position, position + SCAN_MAXIMUM) if types or beers else head.position
        events = self._reader.events(position, size, types or (), beers, up_to=scanned)
        page = first_page(envelope(event, head.log_id) for event in events)
        complete = len(page) == len(events) < size
        return {
            "events": page,
            "through": scanned if complete else events[len(page) - 1].position,
            "head": head.position,
            "log_id": head.log_id,
        }

    def _ping(self) -> Json:
        head = self._reader.head()
        return {"log_id": head.log_id, "head": head.position, "version": VERSION}

    def _require_position(self, position: int) -> Head:
        head = self._reader.head()
        if position > head.position:
            raise PositionOutOfRange(str(position), str(head.position), head.log_id)
        return head

    def _log(self, call: Call, answer: Answer, started: float) -> None:
        is_command = call.method in _COMMANDS or call.method == _IMPORT
        counts = answer.counts() if isinstance(answer, Import) else {}
        (self._logger.info if is_command else self._logger.debug)(
            "command" if is_command else "read",
            method=call.method if is_command or call.method in self._reads else _MALFORMED,
            request_id=_named(call),
            correlation_id=call.correlation_id,
            outcome=type(answer).__name__ if isinstance(answer, Exception) else "ok",
            duration_ms=round((time.monotonic() - started) * 1000, 3),
            **counts,
        )


def _is_plain_get(call: Call) -> bool:
    return call.method == "get" and call.arguments.get("as_of") is None and "beer_id" in call.arguments


def _present(beer: Beer | None, beer_id: int) -> Json | BeerNotFound:
    return BeerNotFound(str(beer_id)) if beer is None or beer.removed_at is not None else represent_beer(beer)


def _method(run: Callable[..., Any], *arguments: str) -> _Method:
    """Return the method that takes *arguments*; those that end in ``=`` may be left out."""
    return _Method(
        run,
        needs=frozenset(argument for argument in arguments if not argument.endswith("=")),
        accepts=frozenset(argument.rstrip("=") for argument in arguments),
    )


def _beer_ids(value: object, minimum: int) -> list[int]:
    if not isinstance(value, list | tuple) or not minimum <= len(value) <= commands.BATCH_SIZE:
        raise InvalidField("beer_ids", f"must be a list of {minimum} to {commands.BATCH_SIZE} ids")
    return [fields.beer_id(beer_id, f"beer_ids[{index}]") for index, beer_id in enumerate(value)]


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


_COMMANDS: Mapping[str, _Method] = {
    "add": _method(_add, "name", "brewery=", "style=", "abv=", "ibu=", "description="),
    "add_many": _method(_add_many, "beers"),
    "rename": _method(lambda beer_id, name: (commands.rename(beer_id, name),), "beer_id", "name"),
    "update": _Method(_update, needs=frozenset({"beer_id"}), accepts=None),
    "remove": _method(lambda beer_id: (commands.remove(beer_id),), "beer_id"),
    "restore": _method(lambda beer_id: (commands.restore(beer_id),), "beer_id"),
}

_IMPORT = "import_beers"
_IMPORT_ARGUMENTS = _method(import_beers, "beers")


def _request(call: Call) -> Request:
    """Return the request that *call*, of a command, makes; raises `InvalidField`."""
    arguments = dict(call.arguments)
    request_id = arguments.pop("request_id", None)
    expected_version = arguments.pop("expected_version", None)
    method = _COMMANDS[call.method]
    _check_arguments(method, call.method, arguments)
    return Request(
        commands=method.run(**arguments),
        request_id=call.call_id if request_id is None else fields.request_id(request_id),
        correlation_id=call.correlation_id,
        traceparent=call.traceparent,
        expected_version=fields.expected_version(expected_version),
        deadline=_deadline(call),
    )


def _named(call: Call) -> str:
    """Return the id by which *call* is known, as a log may hold it."""
    given = call.arguments.get("request_id")
    try:
        return call.call_id if given is None else fields.request_id(given)
    except InvalidField:
        return _MALFORMED


def _deadline(call: Call) -> float:
    """Return the deadline of *call* in seconds of `time.monotonic`."""
    return float("inf") if call.deadline is None else time.monotonic() + call.deadline - time.time()


def _check_arguments(method: _Method, name: str, arguments: Mapping[str, Any]) -> None:
    given = arguments.keys()
    missing = method.needs - given
    if missing:
        raise InvalidField(min(missing), f"is missing; {name} needs it")
    unknown = given - method.accepts if method.accepts is not None else None
    if unknown:
        raise InvalidField(min(unknown), f"is no argument of {name}")


_KEYS: Mapping[str, Callable[[object], bool]] = {
    "id": is_id,
    "name": lambda key: isinstance(key, str) and "\0" not in key,
    "abv": lambda key: isinstance(key, float) and -1 <= key <= fields.ABV_MAXIMUM,
}
"""What the sort key in a page token must be, for each order."""


def _order(order_by: object) -> tuple[str, bool]:
    """Return the column that *order_by* names, and whether it is to be descended."""
    column, _, direction = order_by.strip().partition(" ") if isinstance(order_by, str) else ("?", "", "")
    if column not in {"", *ORDERS} or direction not in {"", "asc", "desc"}:
        raise InvalidField("order_by", f"must be one of {', '.join(ORDERS)}, or one of them followed by desc")
    return column or "id", direction == "desc"
