"""Calls a method over gRPC, one call at a time, for so long.

    python -m benchmarks.clients.grpc_calls ADDRESS METHOD REQUEST-FILE WARM-UP SECONDS

The plain synchronous client, as a program of a user's would be. With 0 seconds it makes one call and tells
the answer. Prints one line of JSON. An answer that is an error ends it.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import grpc

from benchmarks import payload
from benchmarks.clients.timing import Clock


def main(address: str, method: str, file: str, warm_up: float, seconds: float) -> None:
    """Call until the time is up."""
    request = Path(file).read_bytes()
    with grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(f"{payload.SERVICE}/{method}")
        answer = call(request, timeout=30)
        if seconds == 0:
            print(json.dumps({"answer": answer.hex()}))
            return
        clock = Clock(warm_up, seconds)
        while clock.runs():
            started = time.perf_counter()
            call(request, timeout=30)
            clock.answered(started)
    clock.tell()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), float(sys.argv[5]))
