"""What an answer must not be: an INTERNAL, an end that nobody explains, a word of the inside."""

import json
import re
from collections.abc import Sequence

import grpc

_INSIDE = re.compile(
    rb"Traceback|\.py\b|\b(beers_service|grpc_bridge|beers_runtime|sqlalchemy|psycopg2?|sqlite3?|orjson|kombu|asyncio)\b|"
    rb"\b(eventlet|greenlet|structlog|upb)\b|\b(SELECT|INSERT|UPDATE|DELETE) \w|\b\w+(Exception|Error)\b|\bException\b|"
    rb"/(usr|home|var|tmp|root|opt)/|object at 0x|NoneType|site-packages"
)
"""Texts that stand only where something of the inside does: nothing that is sent holds one of them."""

_OF_GRPC: dict[grpc.StatusCode, str] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: "Deadline Exceeded",
    grpc.StatusCode.CANCELLED: "",
    grpc.StatusCode.UNIMPLEMENTED: "",
    # A server that another one takes the place of tells its clients to go there.
    grpc.StatusCode.UNAVAILABLE: "Cancelling all calls|Socket closed|failed to connect|GOAWAY|recvmsg|"
    "[Cc]onnection (reset|dropped)|Broken pipe|end of TCP stream",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "SERVER: Received message larger than max|metadata size exceeds",
}
"""The ends of calls that gRPC itself explains, in words of its own; an expression for those."""

CLIENTS_OWN = "Internal error from Core"
"""With which gRPC's own client, as INTERNAL, ends a call that is over before all was sent: its deadline passed, or the
server answered in the midst of a stream. Only the client has these words."""

_ENDED = "_server_main_loop"
"""Stands in the traceback of gRPC's own server that has ended, and in whose place another one is put."""

_EXPLAINED = "grpc-status-details-bin"
_OURS = "/beers.v1.BeersService/"


_UNPARSED = re.compile(
    rb"grpc-status\x0213\0\x0cgrpc-message."
    rb"(Error parsing '[^']*' metadata|Illegal header |Failed parsing HTTP/2 |Compression bit set but no encoding"
    rb"|Decompression failed)"
)
"""An INTERNAL among the bytes of an answer; by such gRPC itself tells of headers that HTTP/2 does not allow, and of a
compressed message without an encoding, or that cannot be expanded, as its specification has it."""


def internal(answer: bytes) -> bool:
    """Tell whether there is an INTERNAL in the bytes of an *answer* that is not gRPC's own about what came."""
    return b"grpc-status\x0213" in _UNPARSED.sub(b"", answer)


def leak(text: bytes) -> str | None:
    """Return what of the inside *text* tells; None if nothing."""
    found = _INSIDE.search(_UNPARSED.sub(b"", text))
    if found is None:
        return None
    return found.string[max(0, found.start() - 40) : found.end() + 40].decode("latin-1")


def fault(path: str, code: grpc.StatusCode, message: str, trailers: Sequence[tuple[str, str | bytes]]) -> str | None:
    """Return what is wrong with an answer; None if nothing."""
    told = b"\n".join(value if isinstance(value, bytes) else value.encode() for _, value in trailers)
    if found := leak(message.encode(errors="replace") + b"\n" + told):
        return f"tells of the inside: {found}"
    if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS):
        return f"{code.name}: {message}"
    if code is grpc.StatusCode.OK or any(key == _EXPLAINED for key, _ in trailers):
        return None
    known = _OF_GRPC.get(code)
    if path.startswith(_OURS) and (known is None or not re.search(known, message)):
        return f"{code.name} without a reason: {message}"
    return None


def exception(logged: str) -> str | None:
    """Return what a line of a log says of an exception; None if it has none."""
    if not logged.startswith("{"):
        return logged if logged.startswith("Traceback") else None
    document = json.loads(logged)
    if "exception" not in document or _ENDED in logged:
        return None
    return f"an exception in a log: {document.get('event')}"
