from collections.abc import Callable
from typing import Any

PROPERTY_CLASSES: dict[int, Callable[[Any, int], tuple[dict[str, Any], int]]]

def loads(format: str, buf: bytes, offset: int) -> tuple[list[Any], int]: ...

class GenericContent:
    properties: dict[str, Any]
    def __init__(self, frame_method: Any = None, frame_args: Any = None, **props: Any) -> None: ...
    def _load_properties(self, class_id: int, buf: bytes, offset: int) -> int: ...
