from typing import Any

from nameko.extensions import DependencyProvider, Entrypoint
from nameko.messaging import HeaderDecoder

class Rpc(Entrypoint, HeaderDecoder): ...

rpc = Rpc.decorator

class RpcProxy(DependencyProvider):
    target_service: str
    def __init__(self, target_service: str, **options: Any) -> None: ...
