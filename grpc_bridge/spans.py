"""The spans of the bridge: a gRPC call, and within it the sending of what it asks of the service.

beers.v1.BeersService/AddBeer    from its arrival to its status
└── send beers.execute           from then on until it has left, in a message that it may share
└── …                        what the service does

"""

from typing import Final

import grpc

from beers_runtime.topology import RPC_EXCHANGE, SERVICE
from beers_runtime.tracing import Span, Tracing

_BEERS: Final = f"{SERVICE}.v1.BeersService"
_SEED: Final = "pb."
"""How the log tells methods of the original's contract from ours."""

_OURS: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Statuses that say that a server did not do what it should."""

_SEND: Final[dict[str, str | int]] = {
    "messaging.system": "rabbitmq",
    "messaging.operation.name": "send",
    "messaging.operation.type": "send",
    "messaging.destination.name": f"{RPC_EXCHANGE}:{SERVICE}.execute",
}


def answered(tracing: Tracing, span: Span, name: str, code: grpc.StatusCode, correlation_id: str) -> None:
    """End the *span* of a call of the method that the log calls *name*."""
    service, method = _BEERS, name
    if name.startswith(_SEED):
        service, method = f"{_SEED}Beers", name.removeprefix(_SEED)
    attributes: dict[str, str | int] = {
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.method": method,
        "rpc.grpc.status_code": int(code.value[0]),
        "messaging.message.conversation_id": correlation_id,
    }
    tracing.end(span, f"{service}/{method}", "server", attributes, error=code.name if code in _OURS else "")


def sent(tracing: Tracing, span: Span, together: int) -> None:
    """End the *span* of the sending of a call that left as one of so many."""
    attributes = _SEND if together == 1 else {**_SEND, "messaging.batch.message_count": together}
    tracing.end(span, f"send {SERVICE}.execute", "producer", attributes)
