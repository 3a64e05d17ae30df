"""What gRPC is told before it is loaded, which is when it looks. Whoever wants that imports this first.

It writes of errors only: otherwise every stranger at the port of TLS costs a line of gRPC's own, in a form of its own.
And it need not be ready for a fork, which costs a twentieth of each call, since this process makes none.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
