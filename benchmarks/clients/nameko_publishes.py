"""Publishes calls through stock ClusterRpcProxy, to a service that is not there, for so long.

    python -m benchmarks.clients.nameko_publishes AMQP-URI WARM-UP SECONDS

They lie in a queue that nobody reads, durable as those of services are, and no answer is waited for: a call costs what
the client does for it and the broker's confirm, and no service can be called more often. Prints one line of JSON.
"""

import sys
import time
import warnings

warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")

from kombu import Connection  # noqa: E402
from nameko.standalone.rpc import ClusterRpcProxy  # noqa: E402

from benchmarks import payload  # noqa: E402
from benchmarks.clients.timing import Clock  # noqa: E402

SERVICE, QUEUE, EXCHANGE = "nobody", "rpc-nobody", "nameko-rpc"


def main(amqp_uri: str, warm_up: float, seconds: float) -> None:
    """Publish until the time is up."""
    with Connection(amqp_uri) as connection:
        channel = connection.default_channel
        channel.exchange_declare(EXCHANGE, "topic", durable=True, auto_delete=False)
        channel.queue_declare(QUEUE, durable=True, auto_delete=False)
        channel.queue_bind(QUEUE, EXCHANGE, f"{SERVICE}.*")
        try:
            with ClusterRpcProxy({"AMQP_URI": amqp_uri}) as cluster:
                add = getattr(cluster, SERVICE).add
                clock = Clock(warm_up, seconds)
                while clock.runs():
                    started = time.perf_counter()
                    add.call_async(**payload.BEER)
                    clock.answered(started)
        finally:
            channel.queue_delete(QUEUE)
    clock.tell()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
