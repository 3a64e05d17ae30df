"""Stock Nameko 2.14.1: a service that sends a beer back. No gRPC, no storage, no line of ours in the way.

    python -m benchmarks.contenders.nameko_echo AMQP-URI

It does what `nameko run` does. More workers than the default of ten, since Nameko takes as many messages at a time as
it has workers, and 64 calls are outstanding.
"""

import warnings

warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")

import eventlet  # noqa: E402

eventlet.monkey_patch()

# Everything below has to find the patched modules.
import sys  # noqa: E402
from typing import Any  # noqa: E402

from nameko.containers import ServiceContainer  # noqa: E402
from nameko.rpc import rpc  # noqa: E402

WORKERS = 64


class EchoService:
    """Sends beers back."""

    name = "echo"

    @rpc
    def add(self, **beer: Any) -> dict[str, Any]:
        """Return what came."""
        return beer


if __name__ == "__main__":
    container = ServiceContainer(EchoService, {"AMQP_URI": sys.argv[1], "max_workers": WORKERS})
    container.start()
    print("ready", flush=True)
    container.wait()
