"""What an answer must not be: an INTERNAL, an end that nobody explains, a word of the inside."""

import re
from collections.abc import Sequence

import grpc

_INSIDE = re.compile(
    rb"Traceback|\.py\b|\b(beers_service|grpc_bridge|beers_runtime|sqlalchemy|psycopg2?|sqlite3?|orjson|nameko|kombu|asyncio|"
    rb"eventlet|greenlet|structlog|upb)\b(?!\.proto)|\b(SELECT|INSERT|UPDATE|DELETE) \w|\b\w*(Exception|Error)\b|"
    rb"/(usr|home|var|tmp|root|opt)/|object at 0x|NoneType|site-packages"
)
"""Texts that stand only where something of the inside does: nothing that is sent holds one of them."""

_OF_GRPC: dict[grpc.StatusCode, str] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: "Deadline Exceeded",
    grpc.StatusCode.CANCELLED: "",
    grpc.StatusCode.UNIMPLEMENTED: "",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "SERVER: Received message larger than max|metadata size exceeds",
}
"""The ends of calls that gRPC itself explains, in words of its own; an expression for those."""

_CLIENTS_OWN = "Internal error from Core"
"""With which gRPC's own client ends a call whose deadline passes while it is being sent; it never came to us."""

_EXPLAINED = "grpc-status-details-bin"
_OURS = "/beers.v1.BeersService/"


def leak(text: bytes) -> str | None:
    """Return what of the inside *text* tells; None if nothing."""
    found = _INSIDE.search(text)
    return None if found is None else found.group().decode(errors="replace")


def fault(path: str, code: grpc.StatusCode, message: str, trailers: Sequence[tuple[str, str | bytes]]) -> str | None:
    """Return what is wrong with an answer; None if nothing."""
    if message == _CLIENTS_OWN:
        return None
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
