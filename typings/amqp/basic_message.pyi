from typing import Any

from amqp.channel import Channel
from amqp.serialization import GenericContent

class Message(GenericContent):
    body: bytes | str
    channel: Channel | None
    # Only what the broker delivered or returned has it.
    delivery_info: dict[str, Any]
    def __init__(
        self, body: bytes | str = "", children: object = None, channel: Channel | None = None, **properties: Any
    ) -> None: ...
    @property
    def headers(self) -> dict[str, Any] | None: ...
    @property
    def delivery_tag(self) -> int: ...
