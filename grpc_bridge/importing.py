"""ImportBeers: a stream of chunks, each one call of the service, in constant memory.

While one chunk is on its way, at most the next one is read and made ready. Nobody reads on behind that: gRPC's flow
control then stops the client.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from grpc_bridge.bus import Caller
from grpc_bridge.errors import CallFailed, invalid_field
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.received import Call

CHUNK = 1000
"""How many beers a chunk may hold."""

FAILURES = 1000
"""How many refusals are told one by one."""

SILENCE = 300.0
"""Seconds for which a client may send nothing before it is taken for gone."""

_IMPORT_ID_LENGTH = 64
_TOO_LATE = "the deadline passed before an answer came; send the import again: no beer is added twice"

Describe = Callable[[v1.AddBeerRequest], dict[str, Any]]
"""Returns what the service is to be told of a beer; raises `CallFailed` with the field at fault."""


class Import:
    """One import on its way through the bridge. Used once.

    Args:
        bus: Where the service is.
        call: The gRPC call; it gets the import's id and counts.
        describe: Says what the service is to be told of a beer.
    """

    def __init__(self, bus: Caller, call: Call, describe: Describe) -> None:
        self._bus = bus
        self._call = call
        self._describe = describe
        self._received = 0
        self._response = v1.ImportBeersResponse()

    async def run(self, chunks: AsyncIterator[v1.ImportBeersRequest]) -> v1.ImportBeersResponse:
        """Pass *chunks* on in order, and return what became of their beers.

        Raises:
            CallFailed: What is wrong with a chunk, or why the service did not answer for one. Beers of earlier chunks,
                and possibly of that one, have been added.
        """
        try:
            async with asyncio.TaskGroup() as group:  # which ends the reading as soon as a chunk on its way fails
                on_its_way: asyncio.Task[None] | None = None
                while (chunk := await _next(chunks)) is not None:
                    self._identify(chunk)
                    ready = _Ready(self._call.request_id, chunk, self._received, self._describe)
                    self._received += len(chunk.beers)
                    if on_its_way is not None:
                        await on_its_way
                    on_its_way = group.create_task(self._send(ready))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            response = self._response
            self._call.counts = {
                "received": self._received,
                "added": response.added,
                "already_added": response.already_added,
                "refused": response.refused,
            }
        if not self._call.request_id:
            raise invalid_field("import_id", "is missing: the stream was empty")
        return self._response

    def _identify(self, chunk: v1.ImportBeersRequest) -> None:
        """Check the import's id, and that the service will take as many beers at once."""
        given, known = chunk.import_id, self._call.request_id
        if not known:
            if not (1 <= len(given) <= _IMPORT_ID_LENGTH and given.isascii() and given.isprintable()):
                raise invalid_field("import_id", f"must be 1 to {_IMPORT_ID_LENGTH} printable ASCII characters")
            if given != given.strip():
                raise invalid_field("import_id", "must not begin or end with a space")
            self._call.request_id = given
        elif given not in ("", known):
            raise invalid_field("import_id", "must be that of the first chunk, or empty")
        if len(chunk.beers) > CHUNK:
            raise invalid_field("beers", f"must be at most {CHUNK} in a chunk, got {len(chunk.beers)}")

    async def _send(self, ready: "_Ready") -> None:
        response = self._response
        refused = ready.refused
        if ready.beers:
            answer = await self._answer(ready)
            response.added += answer["added"]
            response.already_added += answer["already_added"]
            refused += [(ready.places[told["index"]], told["field"], told["reason"]) for told in answer["refused"]]
            refused.sort()
        response.refused += len(refused)
        for index, field, reason in refused[: FAILURES - len(response.failures)]:
            response.failures.add(index=index, field=field, reason=reason)

    async def _answer(self, ready: "_Ready") -> Any:
        call = self._call
        try:
            return await self._bus.call(
                "import_beers",
                {"beers": ready.beers},
                deadline=call.step_deadline(),
                correlation_id=call.correlation_id,
                traceparent=call.traceparent,
                request_id=call.request_id,
                actor=call.actor,
                rows=len(ready.beers),
            )
        except CallFailed as failure:
            if failure.name == "DeadlinePassed":  # whose usual words are about a single command
                raise CallFailed(failure.name, (), _TOO_LATE) from failure
            raise


class _Ready:
    """A chunk, ready to be sent.

    Attributes:
        beers: What the service is told.
        places: The place of each of them among all beers of the stream.
        refused: The beers that cannot be put into words: place, field and reason of each.
    """

    __slots__ = ("beers", "places", "refused")

    def __init__(self, import_id: str, chunk: v1.ImportBeersRequest, start: int, describe: Describe) -> None:
        self.beers: list[dict[str, Any]] = []
        self.places: list[int] = []
        self.refused: list[tuple[int, str, str]] = []
        for place, beer in enumerate(chunk.beers, start):
            try:
                described = describe(beer)
            except CallFailed as failure:
                field, reason = failure.arguments
                self.refused.append((place, field, reason))
                continue
            described["request_id"] = beer.request_id or f"{import_id}/{place}"
            self.beers.append(described)
            self.places.append(place)


async def _next(chunks: AsyncIterator[v1.ImportBeersRequest]) -> v1.ImportBeersRequest | None:
    """Return the next chunk; None if there is none."""
    try:
        async with asyncio.timeout(SILENCE):
            return await anext(chunks, None)
    except TimeoutError as error:
        raise CallFailed("DeadlinePassed", ("",), f"the client sent nothing for {SILENCE:g} s") from error
