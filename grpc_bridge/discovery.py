"""Telling where this bridge is to those who look for it: in a registry of services, Consul's, or in none.

Clients that find bridges by a name of the DNS need none of this. A registry that is away, slow or of another opinion
keeps no call waiting: it is told again later, and its state is logged when it changes.
"""

import asyncio
import http.client
import io
import json
import random
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote, urlsplit

from structlog.typing import FilteringBoundLogger

from beers_runtime.configuration import ConfigurationError

_PORTS: Final = {"http": 80, "https": 443}
_CHECK_PATIENCE: Final = 3
"""Seconds that Consul waits for the answer to one of its checks."""

_FORGET_AFTER: Final = "10m"
"""How long Consul keeps a bridge that fails its checks and does not come back: one that was killed."""

_FIRST_RETRY: Final = 0.5
"""Seconds after a first failure; doubled with each further one, up to the renewal."""

_LONGEST_ANSWER: Final = 64 * 1024
"""Bytes. Of what Consul says only its reason for a refusal is read."""

_LONGEST_REASON: Final = 200
_TOKEN: Final = re.compile(r"[!-~]+")


class Registry(Protocol):
    """Where clients look bridges up."""

    async def keep(self, port: int) -> None:
        """Keep this bridge, which listens on *port*, in the registry, until cancelled or deregistered."""

    async def deregister(self) -> None:
        """Take it out for good. Takes no longer than the registry's patience, and never fails."""


class NoRegistry:
    """Nobody is told; clients know the address from elsewhere."""

    async def keep(self, port: int) -> None:  # noqa: ARG002 - the port's interface
        """Do nothing, until cancelled."""
        await asyncio.Event().wait()

    async def deregister(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Consul:
    """A Consul agent, and what to tell it. Durations are in seconds.

    Attributes:
        url: Of the agent: http or https, host and port.
        host: Where clients, and the agent's checks, reach this bridge.
        port: And on which port; 0 for that on which it listens.
        service: The name under which clients look for it.
        tls: Whether the bridge speaks TLS.
        stays: Whether others may serve behind the same address when this bridge ends.
        token_file: What to show to Consul; read anew each time.
        ca: Whom to trust as Consul, instead of whom the system trusts. PEM.
        check_interval: Between two of Consul's checks.
        renewal: Between two registrations, a fifth more or less: Consul may have lost it.
        patience: For Consul to answer.
    """

    url: str
    host: str
    port: int = 0
    service: str = "beers"
    tls: bool = False
    stays: bool = False
    token_file: Path | None = None
    ca: Path | None = None
    check_interval: float = 5.0
    renewal: float = 30.0
    patience: float = 2.0


class _Refused(Exception):
    """Consul does not do it. The message says why."""


class ConsulRegistry:
    """An instance of a service in Consul, with a gRPC health check that the agent makes.

    The check asks for *checked*, a service of `grpc.health.v1`: the instance is critical as soon as that does not
    serve, whatever the reason, while the bridge runs. Registering again changes nothing for Consul, also not the state
    of the check, and begins anew the time after which it would forget a bridge whose service is away.

    Raises:
        ConfigurationError: If a file that *consul* names cannot be used.
    """

    def __init__(self, consul: Consul, checked: str, logger: FilteringBoundLogger) -> None:
        self._consul = consul
        self._checked = checked
        self._logger = logger
        self._told = ""
        self._id = ""
        self._turn = asyncio.Lock()
        self._leaving = False
        _token(consul.token_file)
        self._tls = _tls(consul)

    async def keep(self, port: int) -> None:
        """Register, and again at every renewal; sooner, but ever later, while Consul refuses or is away."""
        port = self._consul.port or port
        # The same after a restart, so that a bridge which was killed finds its own instance again.
        self._id = f"{self._consul.service}-{self._consul.host}-{port}"
        failures = 0
        while True:
            # Never both on the way: Consul could take the end of the instance before its renewal.
            async with self._turn:
                if self._leaving:
                    return
                problem = await self._put("/v1/agent/service/register", self._instance(port))
            failures = failures + 1 if problem else 0
            self._tell(problem)
            await asyncio.sleep(self._pause(failures) * random.uniform(0.8, 1.2))  # noqa: S311 - not a secret

    async def deregister(self) -> None:
        """Take the instance out; it stays where others may serve behind its address, which Consul's check finds out."""
        self._leaving = True
        if self._consul.stays or not self._id:
            return
        try:
            async with asyncio.timeout(self._consul.patience), self._turn:
                problem = await self._put(f"/v1/agent/service/deregister/{quote(self._id, safe='')}")
        except TimeoutError:
            problem = f"no answer within {self._consul.patience:g} s"
        if problem:
            self._logger.warning("not deregistered from Consul", id=self._id, reason=problem)
        else:
            self._logger.info("deregistered from Consul", id=self._id)

    def _instance(self, port: int) -> Mapping[str, Any]:
        consul = self._consul
        host = f"[{consul.host}]" if ":" in consul.host else consul.host
        return {
            "ID": self._id,
            "Name": consul.service,
            "Address": consul.host,
            "Port": port,
            "Check": {
                "Name": f"{self._checked} serves",
                "GRPC": f"{host}:{port}/{self._checked}",
                "GRPCUseTLS": consul.tls,
                "Interval": f"{consul.check_interval:g}s",
                "Timeout": f"{_CHECK_PATIENCE}s",
                "DeregisterCriticalServiceAfter": _FORGET_AFTER,
            },
        }

    def _pause(self, failures: int) -> float:
        if not failures:
            return self._consul.renewal
        return float(min(_FIRST_RETRY * 2 ** min(failures - 1, 30), self._consul.renewal))

    def _tell(self, problem: str) -> None:
        """Log what is news: a registration after none, a failure, and another reason for it."""
        news = problem or "registered"
        if news == self._told:
            return
        self._told = news
        if problem:
            self._logger.warning("not registered in Consul", url=self._consul.url, reason=problem)
        else:
            self._logger.info("registered in Consul", url=self._consul.url, id=self._id)

    async def _put(self, path: str, document: Mapping[str, Any] | None = None) -> str:
        """Return what was in the way, for people; empty if nothing."""
        token = ""
        try:
            token = _token(self._consul.token_file)
            async with asyncio.timeout(self._consul.patience):
                answer = await self._exchange(path, json.dumps(document or {}).encode(), token)
            _require_success(answer)
        except TimeoutError:
            return f"no answer within {self._consul.patience:g} s"
        except ssl.SSLCertVerificationError as error:
            return f"its certificate is not to be trusted: {error.verify_message}"
        except http.client.HTTPException:
            return "what answers there speaks no HTTP"
        except OSError as error:
            return error.strerror or str(error) or type(error).__name__
        except (_Refused, ConfigurationError) as error:
            return str(error).replace(token, "***") if token else str(error)
        return ""

    async def _exchange(self, path: str, body: bytes, token: str) -> bytes:
        """Send a PUT and return the answer as it came.

        Not by http.client, which would need a thread that nothing can cancel, nor by a library, which would be a
        dependency for one request in half a minute.
        """
        parts = urlsplit(self._consul.url)
        head = [
            f"PUT {path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *([f"X-Consul-Token: {token}"] if token else []),
        ]
        port = parts.port or _PORTS[parts.scheme]
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=self._tls)
        try:
            writer.write("\r\n".join([*head, "", ""]).encode("ascii") + body)
            await writer.drain()
            answer = b""
            while len(answer) < _LONGEST_ANSWER and (part := await reader.read(_LONGEST_ANSWER)):
                answer += part
            return answer
        finally:
            writer.transport.abort()


class _Received:
    """Bytes in the shape of the socket that http.client reads an answer from."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._content)


def _require_success(answer: bytes) -> None:
    """Raise `_Refused` with Consul's reason unless *answer* says that it was done."""
    response = http.client.HTTPResponse(_Received(answer))  # type: ignore[arg-type] # all that it asks of a socket
    response.begin()
    if response.status == http.client.OK:
        return
    said = " ".join(response.read().decode("utf-8", errors="replace").split())[:_LONGEST_REASON]
    raise _Refused(f"{response.status} {said or response.reason}")


def _tls(consul: Consul) -> ssl.SSLContext | None:
    if not consul.url.startswith("https:"):
        return None
    try:
        return ssl.create_default_context(cafile=consul.ca)
    except ssl.SSLError as error:
        raise ConfigurationError(f"CONSUL_CA {consul.ca} does not hold PEM certificates") from error
    except OSError as error:
        raise ConfigurationError(f"CONSUL_CA {consul.ca} cannot be read: {error.strerror}") from error


def _token(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        token = file.read_text("ascii").strip()
    except OSError as error:
        raise ConfigurationError(f"CONSUL_TOKEN_FILE {file} cannot be read: {error.strerror}") from error
    except UnicodeError:
        token = ""  # which is no token either
    if not _TOKEN.fullmatch(token):
        raise ConfigurationError(f"CONSUL_TOKEN_FILE {file} does not hold a token")
    return token
