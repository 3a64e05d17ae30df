from collections.abc import Iterable
from typing import Any, Self

from amqp.channel import Channel
from kombu.transport.pyamqp import Transport

class Connection:
    def __init__(
        self,
        hostname: str = "localhost",
        userid: str | None = None,
        password: str | None = None,
        virtual_host: str | None = None,
        port: int | None = None,
        insist: bool = False,
        ssl: Any = False,
        transport: str | None = None,
        connect_timeout: float = 5,
        transport_options: dict[str, Any] | None = None,
        login_method: str | None = None,
        uri_prefix: str | None = None,
        heartbeat: float = 0,
        failover_strategy: Any = "round-robin",
        alternates: Iterable[str] | None = None,
        credential_provider: Any = None,
        **kwargs: Any,
    ) -> None: ...
    @property
    def transport(self) -> Transport: ...
    @property
    def connected(self) -> bool: ...
    # Opens the connection and a channel on it when it is first asked for.
    @property
    def default_channel(self) -> Channel: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, exc_type: object, exc_val: object, exc_tb: object) -> None: ...
    def connect(self) -> Any: ...
    def channel(self) -> Channel: ...
    def drain_events(self, **kwargs: Any) -> None: ...
    def release(self) -> None: ...
    def close(self) -> None: ...
    def as_uri(self, include_password: bool = False, mask: str = "**", getfields: Any = ...) -> str: ...
