"""Sends calls to the bridge, many at a time, and sees how each of them ends."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from fuzz import judging, requests
from fuzz.requests import Attempt

CHANNELS = 4
AT_A_TIME = 24
PATIENCE = 15.0
"""Seconds beyond its deadline after which a call that has not ended hangs."""

_OPTIONS: Any = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_reconnect_backoff_ms", 200),
]

Find = Callable[[str, object], None]
"""Takes what was found, and the input that did it."""


@dataclass
class Calls:
    """What became of the calls: how many ended with which status."""

    made: int = 0
    codes: Counter[str] = field(default_factory=Counter)


async def call_at_random(address: str, seed: int, number: int, calls: Calls, find: Find) -> None:
    """Make *number* calls, which *seed* decides."""
    chance = random.Random(seed)
    attempts = (requests.attempt(chance) for _ in range(number))
    channels = [grpc.aio.insecure_channel(address, _OPTIONS) for _ in range(CHANNELS)]

    async def work(channel: grpc.aio.Channel) -> None:
        for attempt in attempts:
            await _make(channel, attempt, calls, find)

    try:
        async with asyncio.TaskGroup() as workers:
            for worker in range(AT_A_TIME):
                workers.create_task(work(channels[worker % CHANNELS]))
    finally:
        for channel in channels:
            await channel.close()


async def _make(channel: grpc.aio.Channel, attempt: Attempt, calls: Calls, find: Find) -> None:
    calls.made += 1
    try:
        async with asyncio.timeout(attempt.timeout + PATIENCE):
            code, message, trailers = await _ended(_begin(channel, attempt), attempt)
    except TimeoutError:
        calls.codes["HANGS"] += 1
        find("a call that does not end", attempt.document())
        return
    if message == judging.CLIENTS_OWN:
        calls.codes["NOT ALL SENT"] += 1
        return
    calls.codes[code.name] += 1
    if wrong := judging.fault(attempt.path, code, message, trailers):
        find(wrong, attempt.document())


def _begin(channel: grpc.aio.Channel, attempt: Attempt) -> Any:
    kinds: Any = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    method = kinds[attempt.requests_stream, attempt.responses_stream](attempt.path)

    async def messages() -> AsyncIterator[bytes]:
        for message in attempt.messages:
            yield message

    return method(
        messages() if attempt.requests_stream else attempt.messages[0],
        timeout=attempt.timeout,
        metadata=attempt.metadata or None,
        wait_for_ready=True,
        compression=grpc.Compression.Gzip if attempt.compressed else None,
    )


async def _ended(call: Any, attempt: Attempt) -> tuple[grpc.StatusCode, str, Any]:
    """Wait for the end of *call*, or hang up; return its status, message and trailers."""
    if attempt.cancelled_after is not None:
        asyncio.get_running_loop().call_later(attempt.cancelled_after, call.cancel)
    try:
        if attempt.responses_stream:
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or "", tuple(error.trailing_metadata() or ())
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # it is ourselves who are to end
        return grpc.StatusCode.CANCELLED, "", ()
    return await call.code(), await call.details() or "", tuple(await call.trailing_metadata() or ())
