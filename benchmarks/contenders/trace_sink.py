"""A collector of traces that drops what it gets: what tracing costs the product, and next to nothing beyond.

python -m benchmarks.contenders.trace_sink PORT
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Says that it has taken a batch of spans."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read, and answer that all is well."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print("ready", flush=True)
    server.serve_forever()
