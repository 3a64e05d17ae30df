"""Runs the parts of beers on one machine: starts them in order, starts again what died, stops them in order.

It is one thread and one event loop, without gRPC, and so may fork at any time.
"""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from beers_cli import processes
from beers_cli.failure import Failure
from beers_cli.parts import Part, ended, stop
from beers_runtime.configuration import EXIT_CONFIGURATION

QUICK_DEATH = 10.0
"""A part that lived shorter than these seconds died quickly."""
MOST_QUICK_DEATHS = 5
"""After so many quick deaths in a row a part is given up."""

ECHO = 0.5
"""A signal within these seconds of another is the same one: `make` hands on what its whole group got already."""

_SLOWEST_RESTART = 30.0
_REMIND_EVERY = 20.0


class Supervisor:
    """Runs parts until a signal comes or one of them cannot go on."""

    def __init__(
        self,
        foundation: Sequence[Part],
        parts: Sequence[Sequence[Part]],
        *,
        address: str,
        environment: Mapping[str, str],
        say: Callable[[str], None],
        on_serving: Callable[[], None],
    ) -> None:
        """Prepare to run.

        Args:
            foundation: What has to work before the others are started, in this order.
            parts: The others, group by group in the order in which they are started; all stop in the reverse order,
                those of a group at the same time.
            address: Where the bridge listens, to be asked for its health. Of several that share it one is asked, by
                the kernel's choice. The others may come later: what a client sends to one that has yet to find the
                service waits there, and to one that does not listen yet nothing is sent.
            environment: For the program that asks.
            say: Takes lines for people.
            on_serving: Called once, when health first says SERVING.
        """
        self._foundation = foundation
        self._groups = [*([part] for part in foundation), *parts]
        self._address = address
        self._environment = environment
        self._say = say
        self._on_serving = on_serving
        self._begun: set[Part] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failure: Failure | None = None
        self._signalled = 0.0

    async def run(self) -> None:
        """Run everything until it is to stop, and stop it; afterwards none of its processes is left.

        Raises:
            Failure: If a part could not be kept running.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        self._spawn(self._start())
        await self._stopping.wait()
        for task in self._tasks:
            task.cancel()
        # Before anything is stopped: a restart under way must be over or never begin.
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for group in reversed(self._groups):
            await asyncio.gather(*(self._stop(part) for part in group if part in self._begun))
        self._say("stopped")
        if self._failure is not None:
            raise self._failure

    async def _stop(self, part: Part) -> None:
        if not await stop(part, self._hurry):
            self._say(f"{part.name} did not stop and was killed")

    def _on_signal(self) -> None:
        now = time.monotonic()
        if not self._stopping.is_set():
            self._say("stopping (once more to kill)")
            self._stopping.set()
        elif now - self._signalled > ECHO:
            self._say("killing what is left")
            self._hurry.set()
        self._signalled = now

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        def finished(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self._fail(error if isinstance(error, Failure) else Failure(f"{type(error).__name__}: {error}"))

        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(finished)
        self._tasks.append(task)

    def _fail(self, failure: Failure) -> None:
        self._failure = self._failure or failure
        self._stopping.set()

    async def _start(self) -> None:
        for part in self._foundation:
            self._say(f"starting {part.name}")
            self._begin(part)
            await part.ready()
        for group in self._groups[len(self._foundation) :]:
            for part in group:
                self._begin(part)
        await self._wait_until_serving()
        self._on_serving()

    def _begin(self, part: Part) -> None:
        part.begin()
        self._begun.add(part)
        self._spawn(self._keep(part))

    async def _keep(self, part: Part) -> None:
        """Start *part* again whenever it ends."""
        quick_deaths = 0
        while True:
            started = time.monotonic()
            status = await ended(part.process)
            words = await part.last_line()
            if status == EXIT_CONFIGURATION:
                raise Failure(words.removeprefix("beers: ") or f"{part.name} says that it cannot run as configured")
            quick_deaths = quick_deaths + 1 if time.monotonic() - started < QUICK_DEATH else 0
            how = processes.described(status)
            if quick_deaths >= MOST_QUICK_DEATHS:
                raise Failure(f"{part.name} {how}, {quick_deaths} times in a row.", f"It said last: {words}")
            pause = min(2.0 ** (quick_deaths - 1), _SLOWEST_RESTART) if quick_deaths > 1 else 0.0
            self._say(f"{part.name} {how}; starting it again" + (f" in {pause:g} s" if pause else ""))
            await asyncio.sleep(pause)
            part.begin()

    async def _wait_until_serving(self) -> None:
        # A process of its own asks: gRPC's threads have no place in one that forks.
        command = [sys.executable, "-m", "beers_cli", "health", "--wait", "86400", "--address", self._address]
        asking = processes.start(command, environment=self._environment, output=subprocess.DEVNULL)
        try:
            end = asyncio.ensure_future(ended(asking))
            while not (await asyncio.wait([end], timeout=_REMIND_EVERY))[0]:
                self._say("waiting until the bridge, the service and RabbitMQ have found each other")
        finally:
            asking.kill()
            asking.wait()
