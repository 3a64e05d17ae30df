"""What one would write first: a threaded gRPC server that calls the service through Nameko's ClusterRpcProxy.

    python -m benchmarks.contenders.naive_bridge AMQP-URI PORT (each | kept)

It stands in front of the same service and the same store as our own bridge. `each` opens a proxy for each call, as the
examples in Nameko's documentation do; `kept` keeps one for each thread, which is the best that can be done without
leaving the two libraries: a proxy must not be shared by threads. THREADS is where it is quickest.
"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from nameko.standalone.rpc import ClusterRpcProxy

from benchmarks import payload
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1

THREADS = 16


class Servicer:
    """AddBeer, and nothing else."""

    def __init__(self, amqp_uri: str, *, kept: bool) -> None:
        self._config = {"AMQP_URI": amqp_uri}
        self._kept = kept
        self._own = threading.local()

    def AddBeer(self, request: v1.AddBeerRequest, _context: Any) -> v1.AddBeerResponse:  # noqa: N802 - gRPC's name
        """Add a beer through the service."""
        arguments = {
            "name": request.name,
            "brewery": request.brewery,
            "style": request.style,
            "abv": request.abv if request.HasField("abv") else None,
            "ibu": request.ibu if request.HasField("ibu") else None,
            "description": request.description,
        }
        if self._kept:
            return response(self._proxy().beers.add(**arguments))
        with ClusterRpcProxy(self._config) as proxy:
            return response(proxy.beers.add(**arguments))

    def _proxy(self) -> Any:
        if not hasattr(self._own, "proxy"):
            self._own.proxy = ClusterRpcProxy(self._config).start()
        return self._own.proxy


def response(beer: dict[str, Any]) -> v1.AddBeerResponse:
    """Return what gRPC sends for a beer of the service's."""
    times = {name: beer.pop(name) for name in ("added_at", "changed_at", "removed_at")}
    message = v1.Beer(**beer)
    for name, text in times.items():
        if text is not None:
            getattr(message, name).FromJsonString(text)
    return v1.AddBeerResponse(beer=message)


def main(amqp_uri: str, port: int, manner: str) -> None:
    """Serve until killed."""
    server = grpc.server(ThreadPoolExecutor(THREADS), options=[("grpc.so_reuseport", 0)])
    handler = grpc.unary_unary_rpc_method_handler(
        Servicer(amqp_uri, kept=manner == "kept").AddBeer,
        request_deserializer=v1.AddBeerRequest.FromString,
        response_serializer=v1.AddBeerResponse.SerializeToString,
    )
    name = payload.SERVICE.removeprefix("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"AddBeer": handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
