"""The gRPC server, and another one in its place when it has ended by itself.

gRPC's asyncio server decodes the path of each call in the loop that takes calls in. A path that is no UTF-8, which
anybody can send, ends that loop, and with it the server: the port is closed, the process goes on, and nothing tells.
There is no hook before it. So we look for it, which is all that its interface offers, and put a new server in the place
of the one that has ended. Calls that the old one had taken go on there; its connections are told to go elsewhere.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from grpc_bridge.intake import Intake

LOOK_EVERY: Final = 0.1
"""Seconds between two looks whether the server still serves."""

_ATTEMPTS = 50
"""How often a port is tried that the last server is just leaving."""


class Serving:
    """A server that is there again when it has ended by itself. Needs a running event loop.

    Args:
        make: Makes a server with all that it serves.
        listen: Has a server listen, and returns its port; raises an exception with the reason if it cannot.
        grace: Seconds that a server which has ended by itself has for the calls that it had taken.
        logger: Told of each end.
    """

    def __init__(
        self,
        make: Callable[[], Intake],
        listen: Callable[[Intake], int],
        grace: float,
        logger: FilteringBoundLogger,
    ) -> None:
        self._make = make
        self._listen = listen
        self._grace = grace
        self._logger = logger
        self._server = make()
        self._leaving: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen and serve; return the port. Raises what `listen` raises."""
        port = self._listen(self._server)
        await self._server.start()
        return port

    async def run(self) -> None:
        """Put another server in the place of one that ends by itself, until cancelled."""
        while True:
            try:
                await self._server.ended(LOOK_EVERY)
            except Exception as error:  # noqa: BLE001 - whatever has ended it, another one is needed
                # Its traceback is gRPC's, and in the log already.
                self._logger.warning("the gRPC server ended; another one takes its place", error=type(error).__name__)
                await self._replace()

    async def stop(self, grace: float) -> None:
        """End the server, and those that have ended before; calls have *grace* seconds."""
        await asyncio.gather(self._server.stop(grace), *self._leaving, return_exceptions=True)

    async def _replace(self) -> None:
        old, self._server = self._server, self._make()
        leaving = asyncio.get_running_loop().create_task(old.stop(self._grace))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        for attempt in range(_ATTEMPTS):
            try:
                self._listen(self._server)
            except Exception:
                if attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(LOOK_EVERY)
            else:
                break
        await self._server.start()
