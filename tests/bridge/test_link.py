"""The connection to the broker: what its library does that must not show."""

import asyncio

import aiormq
import pytest
from aiormq.connection import TCPTransportFactory

from grpc_bridge.bus import backoff
from grpc_bridge.link import Link, LinkLost, _Socket


def link(patience: float = 1.0) -> Link:
    return Link(aiormq.Connection("amqp://127.0.0.1:1/"), _Socket(TCPTransportFactory()), patience)


async def test_a_wait_that_the_library_cancels_is_a_lost_connection_and_not_our_own_end() -> None:
    lost = link()
    given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    given_up.cancel()
    with pytest.raises(LinkLost):
        await lost._answered(given_up)
    assert lost.closed.done()


async def test_a_wait_that_we_cancel_ends() -> None:
    ours = link()
    waiting = asyncio.ensure_future(ours._answered(asyncio.get_running_loop().create_future()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not ours.closed.done()


async def test_a_broker_that_says_nothing_loses_the_connection() -> None:
    silent = link(patience=0.05)
    with pytest.raises(LinkLost):
        await silent._answered(asyncio.get_running_loop().create_future())
    assert await silent.closed == "the broker did not answer in time"


def test_the_waits_between_attempts_begin_short_and_stay_so() -> None:
    assert all(0.05 <= backoff(0) <= 0.1 for _ in range(50))
    assert all(1.0 <= backoff(attempts) <= 2.0 for attempts in range(5, 2000, 50))
