from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVICE_NAME: Final[str]
OVERALL_HEALTH: Final[str]

class HealthServicer(health_pb2_grpc.HealthServicer):
    def __init__(
        self, experimental_non_blocking: bool = True, experimental_thread_pool: ThreadPoolExecutor | None = None
    ) -> None: ...
    def Watch(
        self,
        request: health_pb2.HealthCheckRequest,
        context: Any,
        send_response_callback: Callable[..., object] | None = None,
    ) -> Any: ...
    def set(self, service: str, status: health_pb2._ServingStatus) -> None: ...
    def enter_graceful_shutdown(self) -> None: ...
