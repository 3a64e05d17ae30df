# ruff: noqa: SLF001 - what is inside of gRPC is what this is about
"""Takes calls in, several at a time.

gRPC's asyncio server asks its core for one call, begins it, and asks for the next one: between any two calls there are
some turns of the event loop and of gRPC's own thread. Asked for several at a time, the core hands over as many at once,
and a call costs a third less of the processor, from the first to the last byte (docs/decisions/0036).

What is asked for is a call of a method that is registered; each of those has a queue of its own in the core. So who
asks for health does not wait behind the calls of those who overload us.

gRPC promises nothing of what this takes, and nothing else gives it. So it is looked for first; with a version of gRPC
that lacks some of it, all calls come in as gRPC's own server takes them.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import grpc
from grpc._cython import cygrpc
from grpc.aio import _server

from grpc_bridge.errors import Refusal

AT_ONCE: Final = 16
"""How many calls of one method are asked for at a time. More, and they come in bursts; fewer, and they come singly."""

_TAKEN = {
    cygrpc: (
        *("ExecuteBatchError", "SendInitialMetadataOperation", "_RequestCallError"),
        *("_handle_unary_unary_rpc", "_schedule_rpc_coro", "_send_error_status_from_server"),
    ),
    cygrpc.AioServer: ("_make_request_call_future", "_request_registered_call", "add_registered_method_handlers"),
}

POSSIBLE: Final = all(hasattr(owner, name) for owner, names in _TAKEN.items() for name in names)
"""Whether this version of gRPC has what it takes."""

FindHandler = Callable[[int], "grpc.RpcMethodHandler[Any, Any] | Refusal"]
"""Tells who is to handle the call that has just come, or what it is told at once, unread. Takes the number of calls
that were let in before and have not ended."""


class Intake:
    """A server with methods whose calls are taken in several at a time. Needs a running event loop.

    Args:
        options: gRPC's channel arguments.
        handlers: Of all methods.
        methods: Those of one request and one response; by their paths.

    Attributes:
        server: What to listen with, before it is started.
    """

    def __init__(
        self,
        options: Sequence[tuple[str, int]],
        handlers: Sequence[grpc.GenericRpcHandler],
        methods: Mapping[str, FindHandler],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.server: Final = _Server(self._loop, options) if POSSIBLE else grpc.aio.server(options=options)
        self.server.add_generic_rpc_handlers(handlers)
        self._methods = methods
        self._calls: set[asyncio.Task[None]] = set()
        self._refusals: set[asyncio.Task[None]] = set()
        self._takers: list[asyncio.Task[None]] = []
        if isinstance(self.server, _Server):
            self.server.core.add_registered_method_handlers(dict.fromkeys(methods))

    async def start(self) -> None:
        """Serve."""
        await self.server.start()
        if isinstance(self.server, _Server):
            self._takers = [
                self._loop.create_task(self._take(self.server.core, path, find), name=f"intake of {path}")
                for path, find in self._methods.items()
                for _ in range(AT_ONCE)
            ]

    async def ended(self, patience: float) -> None:
        """Return once the server has been stopped, or after *patience* seconds; raise what ended it, if that did."""
        for taker in self._takers:
            if taker.done():
                taker.result()
        await self.server.wait_for_termination(patience)

    async def stop(self, grace: float) -> None:
        """End: take no call any more, and give those that were taken *grace* seconds."""
        await self.server.stop(grace)
        await asyncio.gather(*self._takers, return_exceptions=True)

    async def _take(self, core: Any, path: str, find: FindHandler) -> None:
        """Take calls of one method, until the server is stopped."""
        loop, name = self._loop, path.encode()
        while core.is_running():
            try:
                state = await core._request_registered_call(name)
            except cygrpc._RequestCallError:
                continue  # the server stops, or that client has gone
            handler = find(len(self._calls))
            if isinstance(handler, Refusal):
                work, tasks = self._refuse(state, handler), self._refusals
            else:
                answering = cygrpc._handle_unary_unary_rpc(handler, state, loop)
                work, tasks = cygrpc._schedule_rpc_coro(answering, state, loop, path), self._calls
            task = loop.create_task(work, name=path)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _refuse(self, state: Any, refusal: Refusal) -> None:
        """Tell the client no, and nothing else: who is refused in a crowd must not wait for what others cost."""
        code, before = refusal.code.value[0], cygrpc.SendInitialMetadataOperation((), 0)
        with suppress(cygrpc.ExecuteBatchError):  # the client has gone
            await cygrpc._send_error_status_from_server(
                state, code, refusal.message, refusal.trailers, before, self._loop
            )


class _Core(cygrpc.AioServer):  # type: ignore[misc]  # which has no types
    """Leaves calls of methods that are registered to us."""

    never: "asyncio.Future[None]"
    """Stands for all of them in the loop of gRPC's own, which would take them as well."""

    def _make_request_call_future(self, method: bytes | None) -> Any:
        return super()._make_request_call_future(None) if method is None else self.never


class _Server(_server.Server):
    """gRPC's own, but for its core.

    Attributes:
        core: What it does all its work with.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, options: Sequence[tuple[str, int]]) -> None:
        self._loop = loop
        self._server = self.core = _Core(loop, None, (), (), tuple(options), None)
        self.core.never = loop.create_future()
