"""Finding out whether the service is there."""

import asyncio
from collections.abc import Callable

from grpc_bridge.availability import Availability
from grpc_bridge.bus import Bus


class Prober:
    """Finds out every so often whether the service is there, and tells `Availability`.

    It counts the consumers of the service's queue, which shows at once when the last instance has left, and sends a
    ping if there are any, which shows whether they work.
    """

    def __init__(
        self, bus: Bus, availability: Availability, *, interval: float, patience: float, clock: Callable[[], float]
    ) -> None:
        self._bus = bus
        self._availability = availability
        self._interval = interval
        self._patience = patience
        self._clock = clock
        self._pings: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Probe at once after connecting, then at every interval, until cancelled."""
        while True:
            next_at = self._clock() + self._interval
            if await self._is_connected():
                await self._probe()
            now = self._clock()
            due = max(now, next_at)
            await asyncio.sleep(due - now)
            now = self._clock()
            self._availability.tick(now, late=max(0.0, now - due))

    async def _is_connected(self) -> bool:
        """Wait for a connection, but no longer than an interval: absence has to be noticed as well."""
        try:
            async with asyncio.timeout(self._interval):
                return await self._bus.connected.wait()
        except TimeoutError:
            return False

    async def _probe(self) -> None:
        instances = await self._bus.count_instances()
        if instances is not None:
            self._availability.counted(instances, self._clock())
        if instances:
            # Not awaited: with several instances one that hangs must not hide the others.
            ping = asyncio.get_running_loop().create_task(self._bus.ping(self._patience))
            self._pings.add(ping)
            ping.add_done_callback(self._pings.discard)
