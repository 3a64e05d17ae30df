"""Refusing calls when there is too much to do, at the least cost: before anything of them is read.

A call that is refused must cost far less than one that is served, or refusing is all that is done. So the answer is
ready before, the request stays unread, and the log tells of many with one line.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import grpc
from structlog.typing import FilteringBoundLogger

from grpc_bridge import errors

_ANSWERS: Final = 32
"""How many are made ready: they differ in when to come back."""

_TELL_EVERY: Final = 1.0  # seconds


class Desk(grpc.GenericRpcHandler):
    """Gives out the handlers of the *methods* of *service*, and while it is `crowded` refuses calls of one request.

    What tells whether it is takes the number of calls that were let in before and have not ended, as far as known.

    What it refuses is in *refused*, as ``unread``.

    Streams have limits of their own, and so has the contract whose failures are no statuses; health has none.

    Attributes:
        unary: The paths of those methods whose calls are of one request and one response.
    """

    def __init__(
        self,
        service: str,
        methods: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]",
        crowded: Callable[[int], bool],
        refused: Counter[str],
        logger: FilteringBoundLogger,
    ) -> None:
        self._handlers = {f"/{service}/{name}": handler for name, handler in methods.items()}
        self.unary: Final = frozenset(
            path
            for path, handler in self._handlers.items()
            if not (handler.request_streaming or handler.response_streaming)
        )
        self._crowded = crowded
        self._logger = logger
        self._refused = refused
        self._untold = 0
        ready = [errors.refusal(errors.overloaded("too much to do")) for _ in range(_ANSWERS)]
        self._answers = itertools.cycle([answer for answer in ready if answer is not None])
        # As a stream of requests: of any other kind gRPC would read the first one before it asks us.
        self._refusing: grpc.RpcMethodHandler[Any, Any] = grpc.stream_unary_rpc_method_handler(self._refuse)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return who is to handle a call; None if it is none of ours."""
        path = handler_call_details.method
        if path in self.unary and self._crowded(0):
            return self._refusing
        return self._handlers.get(path)

    def handler(self, path: str, busy: int) -> "grpc.RpcMethodHandler[Any, Any] | errors.Refusal":
        """Return who is to handle a call that has just come of one of the `unary` methods, or what it is told.

        Args:
            path: That of the method.
            busy: How many calls were let in before, and have not ended.
        """
        return self._refusal() if self._crowded(busy) else self._handlers[path]

    async def _refuse(self, _requests: object, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        answer = self._refusal()
        await context.abort(answer.code, answer.message, answer.trailers)

    def _refusal(self) -> errors.Refusal:
        if not self._untold:
            asyncio.get_running_loop().call_later(_TELL_EVERY, self._tell)
        self._untold += 1
        self._refused["unread"] += 1
        return next(self._answers)

    def _tell(self) -> None:
        self._logger.warning("refused calls: too much to do", count=self._untold)
        self._untold = 0
