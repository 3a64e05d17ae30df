"""Calls a service through stock ClusterRpcProxy: so many calls outstanding, for so long.

    python -m benchmarks.clients.nameko_calls AMQP-URI SERVICE OUTSTANDING WARM-UP SECONDS

`call_async`, then `result` in the same order, is how Nameko's documentation keeps several calls outstanding from one
thread. Prints one line of JSON. An answer that is an error ends it.
"""

import sys
import time
import warnings
from collections import deque
from typing import Any

warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")

from nameko.standalone.rpc import ClusterRpcProxy  # noqa: E402

from benchmarks import payload  # noqa: E402
from benchmarks.clients.timing import Clock  # noqa: E402


def main(amqp_uri: str, service: str, outstanding: int, warm_up: float, seconds: float) -> None:
    """Call until the time is up, then wait for what is outstanding."""
    with ClusterRpcProxy({"AMQP_URI": amqp_uri}, timeout=30) as cluster:
        add = getattr(cluster, service).add
        clock = Clock(warm_up, seconds)
        waiting: deque[tuple[float, Any]] = deque()
        while clock.runs():
            waiting.append((time.perf_counter(), add.call_async(**payload.BEER)))
            if len(waiting) == outstanding:
                started, reply = waiting.popleft()
                reply.result()
                clock.answered(started)
        for started, reply in waiting:
            reply.result()
            clock.answered(started)
    clock.tell()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
