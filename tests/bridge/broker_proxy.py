"""A TCP proxy between the bridge and its broker, with which a broker can seem frozen, gone or cut off."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from yarl import URL


class BrokerProxy:
    """Passes bytes on, unless told otherwise.

    Attributes:
        uri: What to connect to instead of the broker.
        connections: How many have been made in all.
    """

    def __init__(self, uri: str) -> None:
        self._broker = URL(uri)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._writers: set[StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.connections = 0

    @property
    def uri(self) -> str:
        return str(self._broker.with_host("127.0.0.1").with_port(self._port))

    async def listen(self) -> None:
        """Take connections, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def freeze(self) -> None:
        """Keep connections open, take new ones, and say nothing on any of them: SIGSTOP."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def cut(self) -> None:
        """Reset every connection; new ones are taken."""
        for writer in self._writers:
            writer.transport.abort()

    def go_away(self) -> None:
        """Reset every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
        self.cut()

    async def close(self) -> None:
        self.go_away()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        there, back = await asyncio.open_connection(self._broker.host, self._broker.port)
        self._writers.add(back)
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.get_running_loop().create_task(self._pump(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: StreamReader, target: StreamWriter) -> None:
        with suppress(OSError):
            while received := await source.read(65536):
                await self._flowing.wait()
                target.write(received)
                await target.drain()
        target.transport.abort()
        self._writers.discard(target)


@asynccontextmanager
async def broker_proxy(uri: str) -> AsyncIterator[BrokerProxy]:
    proxy = BrokerProxy(uri)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()
