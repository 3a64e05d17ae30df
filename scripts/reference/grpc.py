"""The gRPC API: what the .proto files declare and say, and what each failure means to a client."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from google.rpc import error_details_pb2, status_pb2
from grpc_tools import protoc

from grpc_bridge.errors import RULES, CallFailed, refusal
from scripts.reference.markdown import code, prose, table

_FILES: Final = ("beers/v1/beers.proto", "pb/beers.proto")
_Path = tuple[int, ...]

# The numbers that a path to a declaration is made of: descriptor.proto's own.
_PACKAGE: Final = FileDescriptorProto.PACKAGE_FIELD_NUMBER
_SERVICE: Final = FileDescriptorProto.SERVICE_FIELD_NUMBER
_MESSAGE: Final = FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER
_ENUM: Final = FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER
_METHOD: Final = ServiceDescriptorProto.METHOD_FIELD_NUMBER
_FIELD: Final = DescriptorProto.FIELD_FIELD_NUMBER
_ONEOF: Final = DescriptorProto.ONEOF_DECL_FIELD_NUMBER

_INTRODUCTION = """\
# The gRPC API

Two services at one port, both told of by reflection. The contract is
[`beers.proto`](../../grpc_bridge/proto/beers/v1/beers.proto); which calls a token is for is in
[security](../security.md), and what to do when one fails in [retries](../retries.md).

"""

_FAILURES = """\
## Failures

Each carries a `google.rpc.ErrorInfo` with the domain `beers` and the reason below; with it go the arguments of the
error as its metadata, and `RetryInfo` where trying again helps. Anything else is a bug: INTERNAL, with an id to quote.

"""


def page(folder: Path) -> str:
    """Return the page for the .proto files below *folder*."""
    parts = [_INTRODUCTION]
    for file in _described(folder):
        comments = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
        parts.append(f"## Package {file.package}\n\n")
        if said := comments.get((_PACKAGE,)):
            parts.append(prose(said) + "\n\n")
        for index, service in enumerate(file.service):
            parts += _service(service, (_SERVICE, index), comments)
        for index, message in enumerate(file.message_type):
            parts += _message(message, (_MESSAGE, index), comments)
        for index, kind in enumerate(file.enum_type):
            parts.append(f"### {kind.name}\n\n{_comment(comments, (_ENUM, index), kind.name)}\n\n")
            parts.append(table(("value", "number"), ((code(one.name), str(one.number)) for one in kind.value)))
    rows = [_failure(name) for name in RULES]
    return (
        "".join([*parts, _FAILURES, table(("status", "reason", "metadata", "try again after"), rows)]).rstrip() + "\n"
    )


def _described(folder: Path) -> Sequence[FileDescriptorProto]:
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "set"
        # Names below the folder: nothing of where it lies gets into the set.
        includes = [f"-I{folder}", f"-I{Path(protoc.__file__).with_name('_proto')}"]
        status = protoc.main(["protoc", *includes, f"--descriptor_set_out={out}", "--include_source_info", *_FILES])
        if status:
            raise LookupError(f"protoc cannot read {' and '.join(_FILES)}")
        return FileDescriptorSet.FromString(out.read_bytes()).file


def _service(service: ServiceDescriptorProto, path: _Path, comments: Mapping[_Path, str]) -> Iterator[str]:
    yield f"### {service.name}\n\n{_comment(comments, path, service.name)}\n\n"
    rows = []
    for index, method in enumerate(service.method):
        streams = ("stream " if method.client_streaming else "", "stream " if method.server_streaming else "")
        taken, given = (
            f"{stream}{_type(kind)}"
            for stream, kind in zip(streams, (method.input_type, method.output_type), strict=True)
        )
        said = _comment(comments, (*path, _METHOD, index), method.name)
        rows.append((code(method.name), taken, given, said.replace("\n\n", " ")))
    yield table(("method", "request", "response", "meaning"), rows)


def _message(message: DescriptorProto, path: _Path, comments: Mapping[_Path, str]) -> Iterator[str]:
    yield f"### {message.name}\n\n{_comment(comments, path, message.name)}\n\n"
    rows = []
    for index, field in enumerate(message.field):
        kind = (
            _type(field.type_name) if field.type_name else code(FieldDescriptorProto.Type.Name(field.type)[5:].lower())
        )
        if field.label == FieldDescriptorProto.LABEL_REPEATED:
            kind = f"repeated {kind}"
        said = prose(comments.get((*path, _FIELD, index), ""))
        if field.proto3_optional:
            kind = f"optional {kind}"
        elif field.HasField("oneof_index"):
            choice = message.oneof_decl[field.oneof_index].name
            also = prose(comments.get((*path, _ONEOF, field.oneof_index), ""))
            said = f"One of {code(choice)}. {said}" + (f" ({code(choice)}: {also})" if also else "")
        rows.append((str(field.number), code(field.name), kind, said))
    yield table(("number", "field", "type", "meaning"), rows)


def _type(name: str) -> str:
    """Return the message or enum *name*, which begins with a dot, linked where it is one of this page."""
    package, _, short = name.removeprefix(".").rpartition(".")
    return code(f"{package}.{short}") if package.startswith("google.") else f"[{code(short)}](#{short.lower()})"


def _comment(comments: Mapping[_Path, str], path: _Path, name: str) -> str:
    if not comments.get(path, "").strip():
        raise LookupError(f"{name} has no comment in its .proto file")
    return prose(comments[path])


def _failure(name: str) -> tuple[str, str, str, str]:
    rule = RULES[name]
    answer = refusal(CallFailed(name, rule.arguments))
    assert answer is not None  # noqa: S101 - it has a rule
    packed = status_pb2.Status.FromString(bytes(dict(answer.trailers)["grpc-status-details-bin"]))  # type: ignore[arg-type] # of -bin it is bytes
    info = error_details_pb2.ErrorInfo()
    packed.details[0].Unpack(info)
    again = "" if rule.retry_after is None else f"{rule.retry_after:g} s"
    return code(rule.code.name), code(info.reason), ", ".join(map(code, rule.arguments)), again
