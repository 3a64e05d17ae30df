"""The connection to the broker: what its library does that must not show."""

import asyncio
from typing import Any

import aiormq
import pytest
from aiormq.connection import TCPTransportFactory

import grpc_bridge.link
from grpc_bridge.bus import backoff
from grpc_bridge.link import Link, LinkLost, _Socket, open_link


def link(patience: float = 1.0) -> Link:
    return Link(aiormq.Connection("amqp://127.0.0.1:1/"), _Socket(TCPTransportFactory()), patience)


async def test_a_wait_that_the_library_cancels_is_a_lost_connection_and_not_our_own_end() -> None:
    lost = link()
    given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    given_up.cancel()
    with pytest.raises(LinkLost):
        await lost._answered(given_up)
    assert lost.closed.done()


async def test_a_wait_that_the_library_ends_without_a_reason_is_a_lost_connection() -> None:
    lost = link()
    given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    given_up.set_exception(Exception())
    with pytest.raises(LinkLost):
        await lost._answered(given_up)
    assert lost.closed.done()


async def test_a_mistake_of_our_own_is_not_taken_for_a_lost_connection() -> None:
    ours = link()
    mistaken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    mistaken.set_exception(TypeError())
    with pytest.raises(TypeError):
        await ours._answered(mistaken)
    assert not ours.closed.done()


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


class Late(TCPTransportFactory):
    """Hands a connection over only once the other side has closed it."""

    async def create(self, *arguments: Any, **keywords: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await super().create(*arguments, **keywords)
        async with asyncio.timeout(5):
            while not reader.at_eof():  # noqa: ASYNC110 - nothing tells of it but reading, which is not ours
                await asyncio.sleep(0)
        return reader, writer


async def test_a_broker_that_closes_the_connection_at_once_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    monkeypatch.setattr(grpc_bridge.link, "TCPTransportFactory", Late)
    async with await asyncio.start_server(close, "127.0.0.1", 0) as broker:
        port = broker.sockets[0].getsockname()[1]
        with pytest.raises(LinkLost):
            await open_link(f"amqp://127.0.0.1:{port}/", 10, 1.0, "queue", "key", lambda _key, _body: None)


def test_the_waits_between_attempts_begin_short_and_stay_so() -> None:
    assert all(0.05 <= backoff(0) <= 0.1 for _ in range(50))
    assert all(1.0 <= backoff(attempts) <= 2.0 for attempts in range(5, 2000, 50))
