from collections.abc import Callable
from typing import Any

import amqp

class Transport:
    Connection: Callable[..., amqp.Connection]
    def __init__(
        self, client: Any, default_port: int | None = None, default_ssl_port: int | None = None, **kwargs: Any
    ) -> None: ...
    def establish_connection(self) -> amqp.Connection: ...
