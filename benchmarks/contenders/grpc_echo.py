"""The ceiling: a bare grpc.aio server on uvloop that decodes an AddBeerRequest and sends it back.

    python -m benchmarks.contenders.grpc_echo PORT [shared]

No interceptor, no log, no storage, nothing but gRPC in Python. As gRPC's performance guide for Python advises: one
process, the asyncio API, no thread beside it; uvloop is what we run on ourselves. With *shared*, others may listen on
the same port.
"""

import sys
from typing import Any

import grpc
import uvloop

from benchmarks import payload
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1

# By default gRPC begins to refuse calls, at random, when a thousand wait; 1,024 are sent at once.
OPTIONS = [
    ("grpc.server.max_pending_requests", 4096),
    ("grpc.server.max_pending_requests_hard_limit", 4096),
]


async def echo(request: v1.AddBeerRequest, _context: Any) -> v1.AddBeerRequest:
    """Send back what came."""
    return request


async def serve(port: int, *, shared: bool) -> None:
    """Serve until killed."""
    server = grpc.aio.server(options=[*OPTIONS, ("grpc.so_reuseport", int(shared))])
    handler = grpc.unary_unary_rpc_method_handler(
        echo,
        request_deserializer=v1.AddBeerRequest.FromString,
        response_serializer=v1.AddBeerRequest.SerializeToString,
    )
    name = payload.SERVICE.removeprefix("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"AddBeer": handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), shared="shared" in sys.argv[2:]))
