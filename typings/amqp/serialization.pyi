from typing import Any

class GenericContent:
    properties: dict[str, Any]
    def __init__(self, frame_method: Any = None, frame_args: Any = None, **props: Any) -> None: ...
