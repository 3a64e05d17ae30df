from collections.abc import Callable
from typing import Any, Self

from amqp.basic_message import Message
from amqp.connection import Connection

class AbstractChannel:
    is_closing: bool
    channel_id: int
    def __init__(self, connection: Connection, channel_id: int) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...
    def send_method(
        self,
        sig: tuple[int, int],
        format: str | None = None,
        args: tuple[Any, ...] | None = None,
        content: Message | None = None,
        wait: tuple[int, int] | list[tuple[int, int]] | None = None,
        callback: Callable[..., object] | None = None,
        returns_tuple: bool = False,
    ) -> Any: ...
    def dispatch_method(self, method_sig: tuple[int, int], payload: Any, content: Any) -> None: ...
    def wait(
        self,
        method: tuple[int, int] | list[tuple[int, int]],
        callback: Callable[..., object] | None = None,
        timeout: float | None = None,
        returns_tuple: bool = False,
    ) -> Any: ...
