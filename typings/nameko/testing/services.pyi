from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from nameko.containers import ServiceContainer

_S = TypeVar("_S")

def worker_factory(service_cls: type[_S], **dependencies: Any) -> _S: ...
def entrypoint_hook(
    container: ServiceContainer, method_name: str, context_data: dict[str, Any] | None = None, timeout: float = 30
) -> AbstractContextManager[Callable[..., Any]]: ...
def replace_dependencies(container: ServiceContainer, *dependencies: str, **dependency_map: Any) -> Any: ...
