"""gRPC straight into Nameko, by the package nameko-grpc: a service that sends a beer back. No bus, no storage.

    python -m benchmarks.contenders.nameko_grpc_echo PORT

Runs in an environment of its own, build/nameko-grpc: the package needs a release candidate of Nameko 3. More workers
than the default of ten, so that 256 calls need not wait for one.
"""

import warnings

warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")

import eventlet  # noqa: E402

eventlet.monkey_patch()

# Everything below has to find the patched modules.
import importlib  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

import nameko  # noqa: E402
from nameko.containers import ServiceContainer  # noqa: E402

from grpc_bridge.proto.beers.v1 import beers_pb2_grpc  # noqa: E402

WORKERS = 256


def main(port: int) -> None:
    """Serve until killed."""
    # Typed as Any: mypy sees the Nameko of the other environment, whose container takes its configuration differently.
    library: Any = nameko
    grpc_entrypoint: Any = importlib.import_module("nameko_grpc.entrypoint")  # nowhere but in that environment

    grpc = grpc_entrypoint.Grpc.implementing(beers_pb2_grpc.BeersServiceStub)

    class EchoService:
        name = "echo"

        @grpc  # type: ignore[untyped-decorator,unused-ignore] # the package has no types
        def AddBeer(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the method's name in the contract
            return request

    container: Any = ServiceContainer
    settings = {"GRPC_BIND_HOST": "127.0.0.1", "GRPC_BIND_PORT": port, "max_workers": WORKERS}
    library.config.setup(settings)
    running = container(EchoService)
    running.start()
    print("ready", flush=True)
    running.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
