from collections.abc import Mapping
from typing import Final, NewType

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.internal.containers import MessageMap
from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper
from google.protobuf.message import Message

DESCRIPTOR: Final[FileDescriptor]

_ServingStatus = NewType("_ServingStatus", int)

class _ServingStatusWrapper(_EnumTypeWrapper[_ServingStatus]): ...

class HealthCheckRequest(Message):
    service: str
    def __init__(self, *, service: str = ...) -> None: ...

class HealthCheckResponse(Message):
    ServingStatus: Final[_ServingStatusWrapper]
    UNKNOWN: Final[_ServingStatus]
    SERVING: Final[_ServingStatus]
    NOT_SERVING: Final[_ServingStatus]
    SERVICE_UNKNOWN: Final[_ServingStatus]
    status: _ServingStatus
    def __init__(self, *, status: _ServingStatus | str = ...) -> None: ...

class HealthListRequest(Message):
    def __init__(self) -> None: ...

class HealthListResponse(Message):
    @property
    def statuses(self) -> MessageMap[str, HealthCheckResponse]: ...
    def __init__(self, *, statuses: Mapping[str, HealthCheckResponse] = ...) -> None: ...
