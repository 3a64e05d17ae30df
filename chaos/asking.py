"""The calls of the workload as requests of the gRPC API, and what their answers show."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from chaos.history import Call, Seen
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1

OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),  # every client has a connection of its own
]

_REQUESTS: Mapping[str, Callable[..., Message]] = {
    "add": v1.AddBeerRequest,
    "rename": v1.RenameBeerRequest,
    "update": v1.UpdateBeerRequest,
    "remove": v1.RemoveBeerRequest,
    "restore": v1.RestoreBeerRequest,
    "get": v1.GetBeerRequest,
    "list": v1.ListBeersRequest,
}

BUG_TEXT = "internal error; quote"
"""How the bridge words its own internal errors; gRPC itself calls some broken connections so too."""


def method_of(call: Call) -> str:
    """Return the name of the gRPC method of *call*."""
    return f"{call.method.capitalize()}{'Beers' if call.method == 'list' else 'Beer'}"


def request_of(call: Call) -> Message:
    """Return the request of *call*, the same for each attempt."""
    arguments = dict(call.arguments)
    if call.method == "update":
        arguments["update_mask"] = FieldMask(paths=sorted(arguments.keys() - {"beer_id", "expected_version"}))
    if "as_of_time" in arguments:
        arguments["as_of_time"] = _timestamp(arguments["as_of_time"])
    if call.is_command:
        arguments["request_id"] = call.request_id
    return _REQUESTS[call.method](**arguments)


def seen_in(answer: Any) -> list[Seen]:
    """Return the beers of an answer."""
    beers = answer.beers if isinstance(answer, v1.ListBeersResponse) else [answer.beer]
    return [(beer.id, beer.version, beer.name) for beer in beers]


def code_of(error: grpc.RpcError) -> str:
    """Return the name of a failed call's status; ``INTERNAL`` only if it is the bridge that says so."""
    name = str(error.code().name)
    if name == "INTERNAL" and BUG_TEXT not in (error.details() or ""):
        return "INTERNAL (of the connection)"
    return name


def _timestamp(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromMicroseconds(round(seconds * 1_000_000))
    return moment
