"""The parts that `beers up` runs: programs of ours, and the private RabbitMQ."""

import asyncio
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from beers_cli import processes
from beers_cli.failure import Failure
from beers_cli.rabbitmq import RabbitMQNode

_LOOK_EVERY = 0.05


class Part(Protocol):
    """Something that runs in a process of its own and is started again when it ends."""

    @property
    def name(self) -> str:
        """What it is called in front of its lines."""

    @property
    def patience(self) -> float:
        """Seconds that it may take to stop."""

    @property
    def deaf_for(self) -> float | None:
        """Seconds after which it is told again to stop, as it may have missed that; None if it hears the first time."""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Its process, once it was started."""

    def begin(self) -> None:
        """Start it, without waiting until it works."""

    async def ready(self) -> None:
        """Wait until others can work with it; for ever, if it never comes to that."""

    async def last_line(self) -> str:
        """Return what it said last; empty if that goes elsewhere."""

    def clear(self) -> None:
        """Tidy up behind its process, which has ended for good."""


class Program:
    """A program whose lines go to us."""

    # To our own programs a second signal would mean more than the first.
    deaf_for = None

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        *,
        patience: float,
        trace: Path,
        on_line: Callable[[str, str], None],
    ) -> None:
        """Describe the program.

        Args:
            name: What it is called.
            command: The program and its arguments.
            environment: Its whole environment.
            patience: Seconds that it may take to stop.
            trace: The file that keeps its pid, for a later run to find it should this one be killed.
            on_line: Takes the name and each line that it writes.
        """
        self.name = name
        self.patience = patience
        self._command = command
        self._environment = environment
        self._trace = trace
        self._on_line = on_line
        self._process: subprocess.Popen[bytes] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._last_line = ""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Its process, once it was started."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    def begin(self) -> None:
        """Start the program and read what it writes."""
        self._process = processes.start(self._command, environment=self._environment, output=subprocess.PIPE)
        processes.Trace.of(self._process.pid).write(self._trace)
        self._reading = asyncio.get_running_loop().create_task(self._read(self._process))

    async def ready(self) -> None:
        """Return at once: whether it works is what health tells."""

    async def last_line(self) -> str:
        """Return what the program, which has ended, wrote last."""
        if self._reading is not None:
            # What it wrote is still in the pipe; a child of its own might hold that open for ever.
            await asyncio.wait([self._reading], timeout=1)
        return self._last_line

    def clear(self) -> None:
        """Forget the pid."""
        self._trace.unlink(missing_ok=True)

    async def _read(self, process: subprocess.Popen[bytes]) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), process.stdout)
        unfinished = b""
        try:
            while chunk := await reader.read(2**16):
                *lines, unfinished = (unfinished + chunk).split(b"\n")
                for line in lines:
                    self._take(line)
            if unfinished:
                self._take(unfinished)
        finally:
            transport.close()

    def _take(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        self._last_line = text or self._last_line
        self._on_line(self.name, text)


class Broker:
    """The private RabbitMQ. Its log stays in its folder."""

    name = "rabbitmq"
    patience = 30.0
    # While Erlang starts there is a moment in which it takes signals and nobody there listens to them yet.
    deaf_for = 1.0

    def __init__(self, node: RabbitMQNode, on_uri: Callable[[str], object]) -> None:
        """Describe the broker.

        Args:
            node: The node to run.
            on_uri: Takes the AMQP URI once it is sure; it stays the same from then on.
        """
        self._node = node
        self._on_uri = on_uri
        self._told = ""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server's process."""
        return self._node.process

    def begin(self) -> None:
        """Start the node, where its clients look for it if they have been told."""
        self._node.begin()
        if self._told not in ("", self._node.uri):
            raise Failure(f"Another program has taken the port of the private RabbitMQ, {urlsplit(self._told).port}.")

    async def ready(self) -> None:
        """Wait until the node takes connections."""
        while not self._node.answers():  # noqa: ASYNC110 - another program's port tells nobody when it opens
            await asyncio.sleep(_LOOK_EVERY)
        self._told = self._node.uri
        self._on_uri(self._told)

    async def last_line(self) -> str:
        """Return where to look."""
        return f"its log is in {self._node.log.parent}"

    def clear(self) -> None:
        """Stop what belongs to the server."""
        self._node.stop()


async def ended(process: subprocess.Popen[bytes]) -> int:
    """Wait until *process* has ended and return its status: negative for the signal that killed it."""
    if process.poll() is None:
        loop = asyncio.get_running_loop()
        if hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(process.pid)
            over = asyncio.Event()
            loop.add_reader(descriptor, over.set)
            try:
                await over.wait()
            finally:
                loop.remove_reader(descriptor)
                os.close(descriptor)
        else:
            await loop.run_in_executor(None, process.wait)
    return process.wait()


async def stop(part: Part, hurry: asyncio.Event) -> bool:
    """Stop the process of *part*; kill it when its patience is over or *hurry* is set.

    Returns:
        Whether it stopped by itself.
    """
    end = asyncio.ensure_future(ended(part.process))
    hurried = asyncio.ensure_future(hurry.wait())
    asking = asyncio.ensure_future(_ask(part, hurry))
    await asyncio.wait([end, hurried], timeout=part.patience, return_when=asyncio.FIRST_COMPLETED)
    asking.cancel()
    hurried.cancel()
    by_itself = end.done()
    if not by_itself:
        part.process.kill()
        await end
    await part.last_line()  # what it wrote while stopping is to be seen as well
    part.clear()
    return by_itself


async def _ask(part: Part, hurry: asyncio.Event) -> None:
    """Tell *part* to stop, again and again if it may not have heard."""
    while not hurry.is_set():
        part.process.terminate()
        if part.deaf_for is None:
            return
        await asyncio.sleep(part.deaf_for)
