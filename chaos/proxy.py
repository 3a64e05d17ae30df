"""TCP connections that can be cut, refused, stalled and slowed: a proxy in a thread of its own."""

import asyncio
import socket
import struct
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import suppress

PATIENCE = 10.0
"""Seconds within which the proxy has to do what it is told."""

_PIECE = 65536


class Link:
    """The connections to one server. What is called `cut` and so on does it to all of them, and to new ones.

    Attributes:
        port: Where to connect to instead of the server, on 127.0.0.1.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, upstream: Callable[[], int]) -> None:
        self._loop = loop
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._ends: set[StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._delay = 0.0
        self.port = 0

    def cut(self) -> None:
        """Reset every connection; new ones are taken."""
        self._do(self._abort)

    def refuse(self) -> None:
        """Reset every connection, and new ones as soon as they are made."""

        def refuse() -> None:
            self._refusing = True
            self._abort()

        self._do(refuse)

    def stall(self) -> None:
        """Let no byte pass, and say nothing of it to anybody."""
        self._do(self._flowing.clear)

    def slow(self, seconds: float) -> None:
        """Let each piece of data, of whatever size, arrive late."""

        def slow() -> None:
            self._delay = seconds

        self._do(slow)

    def heal(self) -> None:
        """Pass everything on again."""

        def heal() -> None:
            self._refusing = False
            self._delay = 0.0
            self._flowing.set()

        self._do(heal)

    async def listen(self) -> None:
        """Take connections, on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Take no more connections, and end those that there are."""
        if self._server is not None:
            self._server.close()
        self._abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _do(self, what: Callable[[], None]) -> None:
        async def do() -> None:
            what()

        asyncio.run_coroutine_threadsafe(do(), self._loop).result(PATIENCE)

    def _abort(self) -> None:
        for end in self._ends:
            _reset(end)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        if self._refusing:
            _reset(writer)
            return
        self._ends.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._upstream())
        except OSError:  # the server is away, and whoever connects finds that out as he would without us
            writer.transport.abort()
            self._ends.discard(writer)
            return
        self._ends.add(back)
        for source, target in ((reader, back), (there, writer)):
            task = self._loop.create_task(self._pass(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: StreamReader, target: StreamWriter) -> None:
        with suppress(OSError):
            while received := await source.read(_PIECE):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._flowing.wait()
                target.write(received)
                await target.drain()
        # A half-closed connection is of no use to AMQP or PostgreSQL.
        with suppress(OSError):
            target.close()
        self._ends.discard(target)


def _reset(end: StreamWriter) -> None:
    """Drop a connection as a crash would: the other side learns of it by a reset, not by a goodbye."""
    with suppress(OSError):  # it has ended already
        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.transport.abort()


class Proxy:
    """The thread, and its links."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._links: list[Link] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()

    def link(self, upstream: Callable[[], int]) -> Link:
        """Return a new link to the server on 127.0.0.1 whose port *upstream* returns, each time it is connected to."""
        link = Link(self._loop, upstream)
        asyncio.run_coroutine_threadsafe(link.listen(), self._loop).result(PATIENCE)
        self._links.append(link)
        return link

    def close(self) -> None:
        """End all links, and the thread."""
        for link in self._links:
            asyncio.run_coroutine_threadsafe(link.close(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()
