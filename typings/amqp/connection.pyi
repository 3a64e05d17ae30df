import socket
from collections.abc import Callable
from typing import Any

from amqp.abstract_channel import AbstractChannel
from amqp.channel import Channel
from amqp.transport import _AbstractTransport

class Connection(AbstractChannel):
    host: str
    virtual_host: str
    heartbeat: float | None
    frame_max: int
    bytes_sent: int
    on_inbound_frame: Callable[[tuple[int, int, bytes]], bool]
    frame_writer: Callable[..., None]
    channels: dict[int, AbstractChannel] | None
    server_properties: dict[str, Any]
    def __init__(
        self,
        host: str = "localhost:5672",
        userid: str = "guest",
        password: str = "guest",
        login_method: str | None = None,
        login_response: Any = None,
        authentication: Any = (),
        virtual_host: str = "/",
        locale: str = "en_US",
        client_properties: dict[str, Any] | None = None,
        ssl: Any = False,
        connect_timeout: float | None = None,
        channel_max: int | None = None,
        frame_max: int | None = None,
        heartbeat: float = 0,
        on_open: Callable[..., object] | None = None,
        on_blocked: Callable[[str], object] | None = None,
        on_unblocked: Callable[[], object] | None = None,
        confirm_publish: bool = False,
        on_tune_ok: Callable[..., object] | None = None,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        socket_settings: dict[int, Any] | None = None,
        frame_handler: Any = ...,
        frame_writer: Any = ...,
        **kwargs: Any,
    ) -> None: ...
    def connect(self, callback: Callable[[], object] | None = None) -> Any: ...
    @property
    def transport(self) -> _AbstractTransport: ...
    @transport.setter
    def transport(self, transport: _AbstractTransport) -> None: ...
    @property
    def sock(self) -> socket.socket: ...
    @property
    def connected(self) -> bool: ...
    def channel(self, channel_id: int | None = None, callback: Callable[..., object] | None = None) -> Channel: ...
    def drain_events(self, timeout: float | None = None) -> None: ...
    def blocking_read(self, timeout: float | None = None) -> Any: ...
    def close(
        self, reply_code: int = 0, reply_text: str = "", method_sig: tuple[int, int] = (0, 0), argsig: str = "BsBB"
    ) -> Any: ...
    def collect(self) -> None: ...
    def send_heartbeat(self) -> None: ...
    def heartbeat_tick(self, rate: float = 2) -> None: ...
