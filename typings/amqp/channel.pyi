import queue
from collections.abc import Callable
from typing import Any

from amqp.abstract_channel import AbstractChannel
from amqp.basic_message import Message
from amqp.connection import Connection
from amqp.protocol import queue_declare_ok_t

class Channel(AbstractChannel):
    # None once the channel or its connection has ended.
    connection: Connection
    is_open: bool
    active: bool
    events: dict[str, set[Callable[..., object]]]
    callbacks: dict[str, Callable[[Message], object]]
    # Filled by nobody unless `events["basic_return"]` does.
    returned_messages: queue.Queue[Any]
    def __init__(
        self,
        connection: Connection,
        channel_id: int | None = None,
        auto_decode: bool = True,
        on_open: Callable[..., object] | None = None,
    ) -> None: ...
    def close(
        self, reply_code: int = 0, reply_text: str = "", method_sig: tuple[int, int] = (0, 0), argsig: str = "BsBB"
    ) -> Any: ...
    def collect(self) -> None: ...
    def open(self) -> Any: ...
    def exchange_declare(
        self,
        exchange: str,
        type: str,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = True,
        nowait: bool = False,
        arguments: dict[str, Any] | None = None,
        argsig: str = "BssbbbbbF",
    ) -> None: ...
    def exchange_delete(
        self, exchange: str, if_unused: bool = False, nowait: bool = False, argsig: str = "Bsbb"
    ) -> Any: ...
    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = True,
        nowait: bool = False,
        arguments: dict[str, Any] | None = None,
        argsig: str = "BsbbbbbF",
    ) -> queue_declare_ok_t: ...
    def queue_bind(
        self,
        queue: str,
        exchange: str = "",
        routing_key: str = "",
        nowait: bool = False,
        arguments: dict[str, Any] | None = None,
        argsig: str = "BsssbF",
    ) -> Any: ...
    def queue_unbind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        nowait: bool = False,
        arguments: dict[str, Any] | None = None,
        argsig: str = "BsssF",
    ) -> Any: ...
    def queue_delete(
        self,
        queue: str = "",
        if_unused: bool = False,
        if_empty: bool = False,
        nowait: bool = False,
        argsig: str = "Bsbbb",
    ) -> Any: ...
    def queue_purge(self, queue: str = "", nowait: bool = False, argsig: str = "Bsb") -> Any: ...
    def basic_ack(self, delivery_tag: int, multiple: bool = False, argsig: str = "Lb") -> Any: ...
    def basic_reject(self, delivery_tag: int, requeue: bool, argsig: str = "Lb") -> Any: ...
    def basic_qos(self, prefetch_size: int, prefetch_count: int, a_global: bool, argsig: str = "lBb") -> Any: ...
    def basic_consume(
        self,
        queue: str = "",
        consumer_tag: str = "",
        no_local: bool = False,
        no_ack: bool = False,
        exclusive: bool = False,
        nowait: bool = False,
        callback: Callable[[Message], object] | None = None,
        arguments: dict[str, Any] | None = None,
        on_cancel: Callable[[str], object] | None = None,
        argsig: str = "BssbbbbF",
    ) -> str: ...
    def basic_cancel(self, consumer_tag: str, nowait: bool = False, argsig: str = "sb") -> Any: ...
    def basic_get(self, queue: str = "", no_ack: bool = False, argsig: str = "Bsb") -> Message | None: ...
    def basic_publish(
        self,
        msg: Message,
        exchange: str = "",
        routing_key: str = "",
        mandatory: bool = False,
        immediate: bool = False,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
        argsig: str = "Bssbb",
    ) -> Any: ...
    def basic_publish_confirm(self, *args: Any, **kwargs: Any) -> Any: ...
    def confirm_select(self, nowait: bool = False) -> Any: ...
