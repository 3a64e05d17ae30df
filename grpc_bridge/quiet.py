"""Has gRPC write of errors only. It looks when it is loaded: whoever wants that imports this before.

Otherwise every stranger at the port of TLS costs a line of gRPC's own, in a form of its own.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
