"""What is sent to the bridge: valid requests, odd ones, and what is left of them after some bytes were changed."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.pb import beers_pb2 as pb

Metadata = tuple[tuple[str, str | bytes], ...]

TEXTS: Sequence[str] = (
    "",
    " ",
    "Punk IPA",
    "\0",
    "a\nb",
    "\x1b[2J",
    "\u202egnitirw",
    "\u200b",
    "e\u0301" * 100,
    "🍺" * 201,
    "🍺" * 3000,
    "x" * 10_001,
    "%s%n%x",
    "' OR 1=1 --",
    "../../../x",
    "\ufffe\uffff",
    "id desc",
    "name",
    "abv desc",
    "BeerAdded",
    "BeerRemoved",
    "*",
    "brewery",
    "e30",
    "AAAA",
    "W10",
    "00000000-0000-0000-0000-000000000000:7",
    ":",
    "🍺" * 400 + ":7",
    "a:99999999999999999999",
)
WHOLE: Sequence[int] = (
    0,
    1,
    2,
    3,
    5,
    50,
    1000,
    1001,
    -1,
    2**31 - 1,
    -(2**31),
    2**53,
    2**63 - 1,
    -(2**63),
    253_402_300_800,
)
FLOATS: Sequence[float] = (
    0.0,
    -0.0,
    5.6,
    100.0,
    100.000001,
    10_000.5,
    -1.0,
    1e-320,
    1e308,
    float("inf"),
    float("-inf"),
    float("nan"),
)
LONGEST = 100
"""Items that a repeated field gets at most, most of the time."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method: its path, the class of its requests, and which sides are streams."""

    path: str
    request: type[Message]
    requests_stream: bool
    responses_stream: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call.

    Attributes:
        path: The method's path.
        messages: What is sent, in this order.
        requests_stream: Whether it is called as a method that takes a stream.
        responses_stream: The same of its answer.
        metadata: What goes with it.
        timeout: Its deadline in seconds.
        cancelled_after: Seconds after which the client hangs up; None if it does not.
        compressed: Whether its messages are.
    """

    path: str
    messages: tuple[bytes, ...]
    requests_stream: bool
    responses_stream: bool
    metadata: Metadata
    timeout: float
    cancelled_after: float | None
    compressed: bool

    def document(self) -> dict[str, Any]:
        """Return it as it is written down, bytes in hexadecimal."""
        metadata = [[key, value.hex() if isinstance(value, bytes) else value] for key, value in self.metadata]
        return {
            "path": self.path,
            "messages": [message.hex() for message in self.messages],
            "streams": [self.requests_stream, self.responses_stream],
            "metadata": metadata,
            "timeout": self.timeout,
            "cancelled_after": self.cancelled_after,
            "compressed": self.compressed,
        }


def _methods() -> list[Method]:
    found = []
    for file in (v1, pb, health_pb2, reflection_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            names = [service.full_name]
            if file is reflection_pb2:
                names.append("grpc.reflection.v1.ServerReflection")
            described = descriptor_pb2.ServiceDescriptorProto()
            service.CopyToProto(described)
            for method, streams in zip(service.methods, described.method, strict=True):
                request = GetMessageClass(method.input_type)
                found += [
                    Method(f"/{name}/{method.name}", request, streams.client_streaming, streams.server_streaming)
                    for name in names
                ]
    return found


METHODS: Sequence[Method] = _methods()


def attempt(chance: random.Random) -> Attempt:
    """Make up a call."""
    method = chance.choice(METHODS)
    path = method.path if chance.random() > 0.02 else _path(chance, method.path)
    count = chance.choice((1, 1, 2, 0, 5)) if method.requests_stream or chance.random() < 0.03 else 1
    messages = tuple(_message(chance, method) for _ in range(count))
    # A method that takes one message and gets none is left by gRPC's server without an answer.
    endless = method.responses_stream or not (count or method.requests_stream)
    cancelled_after = chance.choice((0.0, 0.001, 0.02)) if chance.random() < 0.05 else None
    return Attempt(
        path=path,
        messages=messages,
        requests_stream=method.requests_stream or count != 1,
        responses_stream=method.responses_stream or chance.random() < 0.02,
        metadata=_metadata(chance),
        timeout=chance.choice((0.001, 0.02, 0.1)) if endless or chance.random() < 0.03 else 20.0,
        cancelled_after=cancelled_after,
        compressed=chance.random() < 0.05,
    )


def _path(chance: random.Random, path: str) -> str:
    service, _, method = path[1:].partition("/")
    return chance.choice(
        (f"/{service}/{method}x", f"/{service}", "/", f"/{method}/{service}", "/x" * 3000, f"{path}/", "//")
    )


def _message(chance: random.Random, method: Method) -> bytes:
    if chance.random() < 0.02:
        return chance.randbytes(chance.choice((0, 1, 7, 100, 70_000)))
    message = method.request()
    _fill(chance, message, 0)
    written = message.SerializeToString()
    return _mutated(chance, written) if chance.random() < 0.3 else written


def _fill(chance: random.Random, message: Message, depth: int) -> None:
    """Set some of the fields of *message*."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.3:
            continue
        if field.is_repeated:
            most = 1200 if chance.random() < 0.01 else chance.choice((1, 2, LONGEST))
            for _ in range(chance.randrange(most + 1) if depth < 2 else 0):
                if field.message_type is not None:
                    _fill(chance, getattr(message, field.name).add(), depth + 1)
                else:
                    getattr(message, field.name).append(_value(chance, field))
        elif field.message_type is not None:
            getattr(message, field.name).SetInParent()
            _fill(chance, getattr(message, field.name), depth + 1)
        else:
            setattr(message, field.name, _value(chance, field))


def _value(chance: random.Random, field: Any) -> Any:
    return _VALUES[field.cpp_type](chance)


_VALUES: Mapping[int, Callable[[random.Random], Any]] = {
    FieldDescriptor.CPPTYPE_STRING: lambda chance: chance.choice(TEXTS) if chance.random() < 0.7 else _text(chance),
    FieldDescriptor.CPPTYPE_INT64: lambda chance: (
        chance.choice(WHOLE) if chance.random() < 0.5 else chance.randrange(100)
    ),
    FieldDescriptor.CPPTYPE_INT32: lambda chance: max(-(2**31), min(chance.choice(WHOLE), 2**31 - 1)),
    FieldDescriptor.CPPTYPE_DOUBLE: lambda chance: chance.choice(FLOATS),
    FieldDescriptor.CPPTYPE_BOOL: lambda chance: chance.random() < 0.5,
    FieldDescriptor.CPPTYPE_ENUM: lambda chance: chance.randrange(3),
}


def _text(chance: random.Random) -> str:
    return f"Beer {chance.randrange(1000)}"


def _mutated(chance: random.Random, written: bytes) -> bytes:
    """Return *written* with some bytes changed, lost, doubled or put in between."""
    found = bytearray(written or b"\x0a\x01x")
    for _ in range(chance.choice((1, 1, 3, 10))):
        place = chance.randrange(len(found) + 1)
        match chance.randrange(6):
            case 0 if place < len(found):
                found[place] ^= 1 << chance.randrange(8)
            case 1:
                del found[place:]
            case 2:
                found[place:place] = chance.randbytes(chance.choice((1, 4, 40)))
            case 3:
                found[place:place] = found[place : place + 30]
            case 4:
                found[place:place] = b"\xff" * chance.choice((1, 9, 11))  # numbers that do not end
            case _:
                found[place:place] = b"\x0a\x03\xed\xa0\x80"  # half of a surrogate pair as text
    return bytes(found)


def _metadata(chance: random.Random) -> Metadata:
    if chance.random() < 0.7:
        return ()
    odd: Sequence[tuple[str, str | bytes]] = (
        ("x-correlation-id", chance.choice(("", "c", "x" * 129, 'a"b', "a b"))),
        ("traceparent", chance.choice(("", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "ff-x", "00-" * 300))),
        ("x-request-id", "r" * chance.choice((1, 200))),
        ("authorization", chance.choice(("Bearer x", "Basic Og==", "Bearer " + "e" * 5000))),
        ("grpc-previous-rpc-attempts", chance.choice(("0", "-1", "99999999999", "x"))),
        ("x-odd-bin", chance.randbytes(chance.choice((0, 10, 3000)))),
        ("x-large", "l" * chance.choice((4000, 12_000, 17_000))),
        ("user-agent", "%00%ff"),
    )
    return tuple(chance.sample(odd, chance.randrange(1, 4)))
