"""The RPC methods of the service ``beers``, as a Python team calls them: ``n.rpc.beers.add(name="Punk IPA")``.

Everything is plain JSON. A beer is an object with ``id``, ``name``, ``brewery``, ``style``, ``abv`` (percent by
volume), ``ibu``, ``description``, ``version``, ``added_at``, ``changed_at`` and ``removed_at`` (RFC 3339, UTC). Every
command takes a ``request_id``, which makes it safe to repeat, and an ``expected_version``, which makes it safe against
others. Errors are those of `beers_service.domain.errors`.

Who a command is from is no argument but part of Nameko's context, its ``user_id``, which a service hands on by itself
from whoever called it and ``ClusterRpcProxy(config, context_data={"user_id": "till 3"})`` sets: text of 1 to 200
characters, or a whole number. Its events keep it as their ``actor``; without one they have none.
"""

from typing import Any

from nameko.exceptions import deserialize_to_instance

from beers_service.dependencies import CallsProvider
from beers_service.domain.errors import BeersError
from beers_service.representation import Json
from beers_service.transport import rpc

# Named here because the class has a method `list`.
Objects = list[Json]
Names = list[str]
Ids = list[int]

# Whoever imports this package gets the errors themselves from a Nameko client instead of a RemoteError.
for error in BeersError.__subclasses__():
    deserialize_to_instance(error)


class BeersService:
    """A catalogue of beers."""

    name = "beers"

    calls = CallsProvider()

    @rpc(expected_exceptions=BeersError)
    def add(
        self,
        name: str,
        brewery: str = "",
        style: str = "",
        abv: float | None = None,
        ibu: float | None = None,
        description: str = "",
        request_id: str | None = None,
        expected_version: int | None = None,
    ) -> Json:
        """Add a beer and return it. Two beers may share a name."""
        return self.calls.one(
            "add",
            name=name,
            brewery=brewery,
            style=style,
            abv=abv,
            ibu=ibu,
            description=description,
            request_id=request_id,
            expected_version=expected_version,
        )

    @rpc(expected_exceptions=BeersError)
    def add_many(self, beers: Objects, request_id: str | None = None) -> Objects:
        """Add up to 1,000 beers, 4 MB together, all of them or none, and return them in the same order."""
        return self.calls.one("add_many", beers=beers, request_id=request_id)

    @rpc(expected_exceptions=BeersError)
    def import_beers(self, beers: Objects) -> Json:
        """Add up to 1,000 beers, each accepted or refused by itself, and tell how many went which way.

        Each beer is an object with the arguments of `add` and, which it must have, a ``request_id`` of its own. The
        answer is ``{"added", "already_added", "refused"}``: two numbers, and for each refused beer ``{"index", "field",
        "reason"}``, its index being its place in *beers*. If the call as a whole fails, some of the beers may have been
        added; it can be sent again.
        """
        return self.calls.one("import_beers", beers=beers)

    @rpc(expected_exceptions=BeersError)
    def rename(
        self, beer_id: int, name: str, request_id: str | None = None, expected_version: int | None = None
    ) -> Json:
        """Give a beer another name and return it."""
        return self.calls.one(
            "rename", beer_id=beer_id, name=name, request_id=request_id, expected_version=expected_version
        )

    @rpc(expected_exceptions=BeersError)
    def update(
        self, beer_id: int, request_id: str | None = None, expected_version: int | None = None, **changes: Any
    ) -> Json:
        """Change brewery, style, abv, ibu or description, those that are given, and return the beer; None clears."""
        return self.calls.one(
            "update", beer_id=beer_id, request_id=request_id, expected_version=expected_version, **changes
        )

    @rpc(expected_exceptions=BeersError)
    def remove(self, beer_id: int, request_id: str | None = None, expected_version: int | None = None) -> Json:
        """Take a beer out of the catalogue and return it as it was removed. Its history stays."""
        return self.calls.one("remove", beer_id=beer_id, request_id=request_id, expected_version=expected_version)

    @rpc(expected_exceptions=BeersError)
    def restore(self, beer_id: int, request_id: str | None = None, expected_version: int | None = None) -> Json:
        """Bring a removed beer back and return it."""
        return self.calls.one("restore", beer_id=beer_id, request_id=request_id, expected_version=expected_version)

    @rpc(expected_exceptions=BeersError)
    def get(self, beer_id: int, as_of: int | str | None = None) -> Json:
        """Return a beer as it is, or as it was at a position of the log (a number) or a time (RFC 3339)."""
        return self.calls.one("get", beer_id=beer_id, as_of=as_of)

    @rpc(expected_exceptions=BeersError)
    def get_many(self, beer_ids: list[int]) -> Objects:
        """Return up to 1,000 beers, 4 MB together, in the order of their ids here; if one is not to be found, none."""
        return self.calls.one("get_many", beer_ids=beer_ids)

    @rpc(expected_exceptions=BeersError)
    def list(
        self,
        page_size: int = 0,
        page_token: str = "",
        query: str = "",
        brewery: str = "",
        style: str = "",
        order_by: str = "",
        show_removed: bool = False,  # noqa: FBT001, FBT002 - an RPC argument
    ) -> Json:
        """Return a page of beers and the token of the next one: ``{"beers", "next_page_token"}``.

        Args:
            page_size: At most this many; 0 stands for 50, and there are never more than 1,000. A page ends after about
                1 MB, and once it has looked at 5,000 beers for *query*, also with fewer or none: the last one is that
                without a token.
            page_token: From the page before; the other arguments must be as they were there.
            query: Text in the name, brewery or style, upper and lower case alike.
            brewery: The whole name of the brewery, upper and lower case alike.
            style: The whole name of the style, upper and lower case alike.
            order_by: ``id``, ``name`` or ``abv``, or one of them followed by ``desc``.
            show_removed: Removed beers as well.
        """
        return self.calls.one(
            "list",
            page_size=page_size,
            page_token=page_token,
            query=query,
            brewery=brewery,
            style=style,
            order_by=order_by,
            show_removed=show_removed,
        )

    @rpc(expected_exceptions=BeersError)
    def history(self, beer_id: int, page_size: int = 0, page_token: str = "") -> Json:
        """Return a page of a beer's events, oldest first, removed or not: ``{"events", "next_page_token"}``.

        A page ends after about 1 MB, also with fewer than *page_size*.
        """
        return self.calls.one("history", beer_id=beer_id, page_size=page_size, page_token=page_token)

    @rpc(expected_exceptions=BeersError)
    def events(self, after: int = 0, limit: int = 100, types: Names | None = None, beer_ids: Ids | None = None) -> Json:
        """Return the events after a position, oldest first: ``{"events", "through", "head", "log_id"}``.

        Args:
            after: The position; 0 for the beginning.
            limit: At most this many events, never more than 1,000, and about 1 MB of them.
            types: Only events of these types; none or empty: all.
            beer_ids: Only events of these beers, at most 1,000; none or empty: all.

        Returns:
            ``through`` is the position up to which there are no others, and the next call's ``after``. With ``types``
            or ``beer_ids`` a call that finds nothing may yet have come some way, and is not at the end of the log
            before ``through`` is ``head``.
        """
        return self.calls.one("events", after=after, limit=limit, types=types, beer_ids=beer_ids)

    @rpc(expected_exceptions=BeersError)
    def execute(self, calls: Objects) -> Objects:
        """Run many calls in order; each is ``{"method", "kwargs"}`` and gets ``{"result", "error"}``.

        A call may have a ``deadline`` (seconds since 1970), a ``correlation_id`` and a ``user_id`` of its own. Commands
        that stand next to each other share one commit, yet each is accepted or refused by itself.
        """
        return self.calls.many(calls)

    @rpc(expected_exceptions=BeersError)
    def ping(self) -> Json:
        """Return ``{"log_id", "head", "version", "former_logs"}``; it fails if the store does.

        ``former_logs`` has the ids that the log had before older copies of it were restored, each with the position of
        the last event that is still there: what came after it under that id is gone.
        """
        return self.calls.one("ping")
