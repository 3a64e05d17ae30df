"""What every call of a channel tells besides its request: the trace that it is part of, and a bearer token."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc

from beers_runtime.tracing import as_version_00, is_traceparent


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class Metadata(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
):
    """Tells TRACEPARENT of the environment, by which who starts us makes us part of a trace, and the *token*, if any.

    It is asked for before each call, as it may have been replaced since the last one.
    """

    def __init__(self, token: Callable[[], str] | None) -> None:
        self._token = token
        given = as_version_00(os.environ.get("TRACEPARENT", ""))
        self._always = [("traceparent", given)] if is_traceparent(given) else []

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Tell it; see `grpc.UnaryUnaryClientInterceptor`."""
        return continuation(self._telling(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Tell it; see `grpc.UnaryStreamClientInterceptor`."""
        return continuation(self._telling(client_call_details), request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Tell it; see `grpc.StreamUnaryClientInterceptor`."""
        return continuation(self._telling(client_call_details), request_iterator)

    def _telling(self, details: Any) -> _Details:
        token = [] if self._token is None else [("authorization", f"Bearer {self._token()}")]
        return _Details(
            details.method,
            details.timeout,
            [*(details.metadata or ()), *self._always, *token],
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
