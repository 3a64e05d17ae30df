"""A stand-in for a Consul agent: the part of its HTTP API that registers services, on a real socket."""

import asyncio
import http.client
import io
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

PATIENCE = 10.0
REGISTER = "/v1/agent/service/register"
DEREGISTER = "/v1/agent/service/deregister/"


@dataclass(frozen=True)
class Request:
    path: str
    token: str | None
    document: Any


class ConsulAgent:
    """Keeps what is registered.

    Attributes:
        services: What is registered, by its id.
        requests: All that came, in order.
        refusal: What to answer instead, a status and its body.
    """

    def __init__(self) -> None:
        self.services: dict[str, Any] = {}
        self.requests: list[Request] = []
        self.refusal: tuple[str, str] | None = None
        self._held: tuple[str, ...] = ()
        self.port = 0
        self._news = asyncio.Condition()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen: at a port that is free, or again at the same one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def until(self, count: int, path: str = "") -> list[Request]:
        """Wait for that many requests to *path*, or to what begins like it, and return them."""

        def come() -> list[Request]:
            return [request for request in self.requests if request.path.startswith(path)]

        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: len(come()) >= count)
        return come()

    async def hold(self, *paths: str) -> None:
        """From now on, answer no request to these paths, or to what begins like them; answer all others."""
        async with self._news:
            self._held = paths
            self._news.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            line, _, fields = head.partition(b"\r\n")
            method, path, version = line.decode("ascii").split(" ")
            headers = http.client.parse_headers(io.BytesIO(fields))
            body = await reader.readexactly(int(headers["Content-Length"]))
            assert (method, version, headers["Connection"]) == ("PUT", "HTTP/1.1", "close")
            assert headers["Host"] == f"127.0.0.1:{self.port}"
            request = Request(path, headers["X-Consul-Token"], json.loads(body))
            async with self._news:
                self.requests.append(request)
                self._news.notify_all()
                await self._news.wait_for(lambda: not path.startswith(self._held))
            status, said = self.refusal or self._carry_out(request)
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(said)}\r\n\r\n{said}".encode())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # who asked has gone
        finally:
            writer.close()

    def _carry_out(self, request: Request) -> tuple[str, str]:
        if request.path == REGISTER:
            self.services[request.document["ID"]] = request.document
            return "200 OK", ""
        if request.path.startswith(DEREGISTER):
            found = self.services.pop(unquote(request.path.removeprefix(DEREGISTER)), None)
            return ("200 OK", "") if found else ("404 Not Found", "Unknown service ID")
        return "404 Not Found", ""


@asynccontextmanager
async def consul_agent(tls: ssl.SSLContext | None = None) -> AsyncIterator[ConsulAgent]:
    agent = ConsulAgent()
    await agent.start(tls)
    try:
        yield agent
    finally:
        await agent.hold()
        await agent.stop()
