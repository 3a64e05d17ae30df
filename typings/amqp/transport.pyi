import socket
from contextlib import AbstractContextManager
from typing import Any

class _AbstractTransport:
    sock: socket.socket
    connected: bool
    def __init__(
        self,
        host: str,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        socket_settings: dict[int, Any] | None = None,
        raise_on_initial_eintr: bool = True,
    ) -> None: ...
    def having_timeout(self, timeout: float | None) -> AbstractContextManager[socket.socket]: ...
    def write(self, s: bytes | bytearray) -> None: ...
    def close(self) -> None: ...
