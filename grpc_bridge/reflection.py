"""Server reflection: the contract, told to clients that do not know it.

The grpcio-reflection package serves v1alpha only, while newer clients ask for v1. The two differ in nothing but the
name of their package, on the wire in nothing at all; so v1 is the same servicer under the other name, and its
descriptor the other one's, renamed.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2  # noqa: F401 - brings the descriptor of the health service
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from grpc_bridge import errors
from grpc_bridge.auth import Door

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"


def handlers(services: Sequence[str], door: Door | None, scope: str) -> list[grpc.GenericRpcHandler]:
    """Return what gRPC needs to tell about *services*, and reflection itself, in both versions.

    If there is a *door*, only those are told whom it lets in for *scope*.
    """
    servicer = aio.ReflectionServicer([*services, V1, V1ALPHA], pool=_pool_with_v1())

    async def tell(
        requests: AsyncIterator[reflection_pb2.ServerReflectionRequest],
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        if door is not None:
            try:
                door.admit(context, scope)
            except errors.CallFailed as failure:
                refusal = errors.refusal(failure)
                if refusal is None:
                    raise
                await context.abort(refusal.code, refusal.message, refusal.trailers)
        async for response in servicer.ServerReflectionInfo(  # type: ignore[attr-defined] # its types forget that it yields
            requests, context
        ):
            yield response

    method = grpc.stream_stream_rpc_method_handler(
        tell, _request, reflection_pb2.ServerReflectionResponse.SerializeToString
    )
    return [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method}) for name in (V1, V1ALPHA)]


def _request(received: bytes) -> reflection_pb2.ServerReflectionRequest:
    try:
        return reflection_pb2.ServerReflectionRequest.FromString(received)
    except DecodeError:
        # An empty request is answered with INVALID_ARGUMENT; raising would show the client our insides.
        return reflection_pb2.ServerReflectionRequest()


def _pool_with_v1() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.Default()
    renamed = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(renamed)
    renamed.name = "grpc/reflection/v1/reflection.proto"
    renamed.package = "grpc.reflection.v1"
    for message in renamed.message_type:
        for field in message.field:
            if field.HasField("type_name"):
                field.type_name = _renamed(field.type_name)
    for method in renamed.service[0].method:
        method.input_type = _renamed(method.input_type)
        method.output_type = _renamed(method.output_type)
    pool.AddSerializedFile(renamed.SerializeToString())
    return pool


def _renamed(type_name: str) -> str:
    return type_name.replace(".grpc.reflection.v1alpha.", ".grpc.reflection.v1.")
