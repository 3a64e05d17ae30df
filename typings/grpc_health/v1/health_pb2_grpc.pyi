from typing import Any, overload

import grpc
from grpc import aio

from grpc_health.v1 import health_pb2

class HealthStub:
    @overload
    def __new__(cls, channel: grpc.Channel) -> HealthStub: ...
    @overload
    def __new__(cls, channel: aio.Channel) -> HealthAsyncStub: ...
    Check: grpc.UnaryUnaryMultiCallable[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]
    List: grpc.UnaryUnaryMultiCallable[health_pb2.HealthListRequest, health_pb2.HealthListResponse]
    Watch: grpc.UnaryStreamMultiCallable[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]

# What `HealthStub` is on an asyncio channel; at run time there is only the one class.
class HealthAsyncStub(HealthStub):
    Check: aio.UnaryUnaryMultiCallable[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]  # type: ignore[assignment]
    List: aio.UnaryUnaryMultiCallable[health_pb2.HealthListRequest, health_pb2.HealthListResponse]  # type: ignore[assignment]
    Watch: aio.UnaryStreamMultiCallable[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]  # type: ignore[assignment]

# Its methods may be plain or coroutines, whatever the server is.
class HealthServicer:
    def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any: ...
    def List(self, request: health_pb2.HealthListRequest, context: Any) -> Any: ...
    def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any: ...

def add_HealthServicer_to_server(servicer: HealthServicer, server: grpc.Server | aio.Server) -> None: ...
