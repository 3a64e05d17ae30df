"""Where the broker is: what a URI says of it."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

_PORTS: Final = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is, and as whom to go there.

    Attributes:
        tls: What to speak TLS with; None for plain TCP.
    """

    host: str
    port: int
    user: str
    password: str
    virtual_host: str
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, uri: str) -> Self:
        """Read a *uri* of the scheme ``amqp`` or ``amqps``.

        The query of the latter may name a ``cafile`` or ``capath`` to trust, a ``certfile`` and ``keyfile`` to show,
        and say ``no_verify_ssl=1`` to trust anybody.

        Raises:
            OSError: If one of these files cannot be read.
        """
        parts = urlsplit(uri)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        return cls(
            parts.hostname or "localhost",
            parts.port or _PORTS[parts.scheme],
            unquote(parts.username or "guest"),
            unquote(parts.password or "guest"),
            unquote(parts.path[1:]) or "/",
            _tls(query) if parts.scheme == "amqps" else None,
        )


def _tls(query: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=query.get("cafile"), capath=query.get("capath"))
    if "certfile" in query:
        context.load_cert_chain(query["certfile"], query.get("keyfile"))
    if query.get("no_verify_ssl", "0") != "0":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
