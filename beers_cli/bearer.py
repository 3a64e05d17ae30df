"""Shows a bearer token with every call of a channel."""

from collections.abc import Callable
from typing import Any, NamedTuple

import grpc


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
):
    """Asks *token* before each call, as it may have been replaced since the last one."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Show the token; see `grpc.UnaryUnaryClientInterceptor`."""
        return continuation(self._showing(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Show the token; see `grpc.UnaryStreamClientInterceptor`."""
        return continuation(self._showing(client_call_details), request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Show the token; see `grpc.StreamUnaryClientInterceptor`."""
        return continuation(self._showing(client_call_details), request_iterator)

    def _showing(self, details: Any) -> _Details:
        return _Details(
            details.method,
            details.timeout,
            [*(details.metadata or ()), ("authorization", f"Bearer {self._token()}")],
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
