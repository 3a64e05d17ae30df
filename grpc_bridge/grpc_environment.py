"""What gRPC is told before it is loaded, which is when it looks. Whoever wants that imports this first.

It writes of errors only: otherwise every stranger at the port of TLS costs a line of gRPC's own, in a form of its own.
And it need not be ready for a fork, which costs a twentieth of each call, since this process makes none. That a client
has left before its answer could be sent is no error either: any of them could fill the log with tracebacks.
"""

import logging
import os


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return type(error).__name__ != "ExecuteBatchError" or not str(error).startswith('Failed "execute_batch"')


os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)
