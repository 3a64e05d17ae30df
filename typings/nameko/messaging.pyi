from typing import Any

from nameko.extensions import Entrypoint

class HeaderDecoder:
    header_prefix: str
    def unpack_message_headers(self, message: Any) -> dict[str, Any]: ...

class Consumer(Entrypoint, HeaderDecoder):
    queue: Any
    requeue_on_error: bool
    def __init__(self, queue: Any, requeue_on_error: bool = False, **kwargs: Any) -> None: ...
