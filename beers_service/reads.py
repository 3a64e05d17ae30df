"""The RPC methods that read: a beer as it is and as it was, pages of beers and of events."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from beers_service.domain import commands, fields
from beers_service.domain.beer import Beer
from beers_service.domain.errors import BeerNotFound, DeadlinePassed, InvalidField, PositionOutOfRange
from beers_service.domain.events import EVENT_TYPES
from beers_service.envelope import envelope, envelope_of_record
from beers_service.histories import beer_until
from beers_service.methods import Answer, Call, Method, check_arguments, deadline_of, method
from beers_service.paging import ANSWER_BYTES, first_page, is_id, items_per_page, make_token, read_token, size_of
from beers_service.ports import ORDERS, BeerQuery, BeerReader, Head, sort_key
from beers_service.representation import Json, parse_time, represent_beer

VERSION = "0.1.0"

EVENTS_MAXIMUM = 1000
"""How many events one call of `events` returns at most."""

SCAN_MAXIMUM = 20_000
"""How many positions one call of `events` looks at for those that it is to return, so that a rare one costs many short
calls instead of a long one."""

TEXT_MAXIMUM = 5_000
"""How many beers one call of `list` looks at for a text, for the same reason."""


class Reads:
    """Runs the calls that change nothing.

    Args:
        reader: What they read.
    """

    def __init__(self, reader: BeerReader) -> None:
        self._reader = reader
        self._methods = {
            "get": method(self._get, "beer_id", "as_of="),
            "get_many": method(self._get_many, "beer_ids"),
            "list": method(
                self._list, "page_size=", "page_token=", "query=", "brewery=", "style=", "order_by=", "show_removed="
            ),
            "history": method(self._history, "beer_id", "page_size=", "page_token="),
            "events": method(self._events, "after=", "limit=", "types=", "beer_ids="),
            "ping": method(self._ping),
        }

    def __contains__(self, name: str) -> bool:
        """Tell whether there is a method of that *name*."""
        return name in self._methods

    def run(self, call: Call) -> Answer:
        """Run *call* and return its answer; raises what it ended in."""
        run = self.check(call).run
        if call.method == "get":  # of the past, which may take long
            return run(**call.arguments, deadline=deadline_of(call))
        return run(**call.arguments)

    def check(self, call: Call) -> Method:
        """Return the method that *call* is one of; raises `BeersError` if it cannot be run."""
        found = self._methods.get(call.method)
        if found is None:
            raise InvalidField("method", f"there is no method {call.method!r}"[:100])
        if call.deadline is not None and call.deadline < time.time():
            raise DeadlinePassed("")
        check_arguments(found, call.method, call.arguments)
        return found

    def present(self, beer_ids: Collection[int]) -> dict[int, Json | BeerNotFound]:
        """Return for each id what `get` answers if it is not asked for the past; all are read at once."""
        found = self._reader.beers(beer_ids)
        return {beer_id: _present(found.get(beer_id), beer_id) for beer_id in beer_ids}

    def _get(self, beer_id: object, as_of: object, *, deadline: float) -> Json:
        """Return the beer as it was; as it is, `present` finds it."""
        identity = fields.beer_id(beer_id)
        answer = _present(self._past(identity, as_of, deadline), identity)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _past(self, beer_id: int, as_of: object, deadline: float) -> Beer | None:
        """Return the beer as it was at a position or a time; None if it was not there yet."""
        if isinstance(as_of, str):
            return beer_until(self._reader, beer_id, parse_time("as_of", as_of), deadline=deadline)
        position = fields.whole_number("as_of", as_of, minimum=0)
        self._require_position(position)
        return beer_until(self._reader, beer_id, position, deadline=deadline)

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
        events = self._reader.records(position, size, types or (), beers, up_to=scanned)
        page = first_page(envelope_of_record(event, head.log_id) for event in events)
        complete = len(page) == len(events) < size
        return {
            "events": page,
            "through": scanned if complete else events[len(page) - 1].position,
            "head": head.position,
            "log_id": head.log_id,
        }

    def _ping(self) -> Json:
        head = self._reader.head()
        former_logs = self._reader.former_logs()
        return {"log_id": head.log_id, "head": head.position, "version": VERSION, "former_logs": former_logs}

    def _require_position(self, position: int) -> Head:
        head = self._reader.head()
        if position > head.position:
            raise PositionOutOfRange(str(position), str(head.position), head.log_id)
        return head


def _present(beer: Beer | None, beer_id: int) -> Json | BeerNotFound:
    return BeerNotFound(str(beer_id)) if beer is None or beer.removed_at is not None else represent_beer(beer)


def _beer_ids(value: object, minimum: int) -> list[int]:
    if not isinstance(value, list | tuple) or not minimum <= len(value) <= commands.BATCH_SIZE:
        raise InvalidField("beer_ids", f"must be a list of {minimum} to {commands.BATCH_SIZE} ids")
    return [fields.beer_id(beer_id, f"beer_ids[{index}]") for index, beer_id in enumerate(value)]


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
