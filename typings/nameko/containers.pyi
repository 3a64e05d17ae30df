from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from eventlet.greenpool import GreenPool
from eventlet.greenthread import GreenThread

from nameko.extensions import DependencyProvider, Entrypoint, Extension

class WorkerContext:
    container: ServiceContainer
    config: dict[str, Any]
    service: Any
    entrypoint: Entrypoint
    service_name: str
    args: Sequence[Any]
    kwargs: dict[str, Any]
    data: dict[str, Any]
    def __init__(
        self,
        container: ServiceContainer,
        service: Any,
        entrypoint: Entrypoint,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
    ) -> None: ...
    @property
    def call_id(self) -> str: ...
    @property
    def call_id_stack(self) -> list[str]: ...
    @property
    def context_data(self) -> dict[str, Any]: ...

class ServiceContainer:
    service_cls: type[Any]
    config: dict[str, Any]
    service_name: str
    max_workers: int
    started: bool
    entrypoints: set[Entrypoint]
    dependencies: set[DependencyProvider]
    subextensions: set[Extension]
    shared_extensions: dict[type[Any], Extension]
    _worker_threads: dict[WorkerContext, GreenThread]
    _worker_pool: GreenPool
    _being_killed: bool
    def __init__(self, service_cls: type[Any], config: dict[str, Any]) -> None: ...
    @property
    def extensions(self) -> set[Extension]: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(
        self, exc_info: tuple[type[BaseException], BaseException, TracebackType | None] | None = None
    ) -> None: ...
    def wait(self) -> None: ...
    def spawn_worker(
        self,
        entrypoint: Entrypoint,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        context_data: dict[str, Any] | None = None,
        handle_result: Callable[[WorkerContext, Any, Any], tuple[Any, Any]] | None = None,
    ) -> WorkerContext: ...
    def spawn_managed_thread(self, fn: Callable[[], object], identifier: str | None = None) -> GreenThread: ...
    def _run_worker(
        self, worker_ctx: WorkerContext, handle_result: Callable[[WorkerContext, Any, Any], tuple[Any, Any]] | None
    ) -> None: ...
    def _inject_dependencies(self, worker_ctx: WorkerContext) -> None: ...
    def _worker_setup(self, worker_ctx: WorkerContext) -> None: ...
    def _worker_result(self, worker_ctx: WorkerContext, result: Any, exc_info: Any) -> None: ...
    def _worker_teardown(self, worker_ctx: WorkerContext) -> None: ...
    def _handle_worker_thread_exited(self, gt: GreenThread, worker_ctx: WorkerContext) -> None: ...
