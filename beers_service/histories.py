"""Beers as their histories have them: folded a page at a time, since a history may be of any length.

Between two pages the others have their turn, and a caller whose time is over is told so.
"""

import time
from datetime import datetime

from beers_service.domain.beer import Beer, fold
from beers_service.domain.errors import DeadlinePassed
from beers_service.ports import BeerReader

PAGE = 500
"""How many events are folded in one go: some milliseconds' worth."""


def beer_until(
    reader: BeerReader, beer_id: int, until: int | datetime | None, *, version: int | None = None, deadline: float
) -> Beer | None:
    """Return the beer as it was; None if it was not there yet.

    Args:
        reader: Has the history.
        beer_id: The beer.
        until: A position of the log, or a time in UTC; None: however long it is.
        version: The last version to look at; None: all of them.
        deadline: Until when it is worth doing, in seconds of `time.monotonic`.

    Raises:
        DeadlinePassed: If that was not long enough.
    """
    beer: Beer | None = None
    while True:
        reached = 0 if beer is None else beer.version
        limit = PAGE if version is None else min(PAGE, version - reached)
        events = reader.history(beer_id, reached, limit, until)
        beer = fold(beer_id, ((event.data, event.time) for event in events), beer)
        if len(events) < limit or (beer is not None and beer.version == version):
            return beer
        if time.monotonic() > deadline:
            raise DeadlinePassed("")
        time.sleep(0)  # gives way to other green threads
