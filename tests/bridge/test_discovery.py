"""The bridge tells Consul where it is, and is no worse off when there is no Consul. Nobody needs a broker for that."""

import asyncio
import json
import ssl
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from beers_runtime.configuration import ConfigurationError
from grpc_bridge.discovery import Consul
from grpc_bridge.settings import Settings, settings
from tests.bridge.consul_agent import DEREGISTER, REGISTER, consul_agent
from tests.bridge.running_bridge import RunningBridge, running_bridge

if TYPE_CHECKING:
    from tests.certificates import Authority

NOWHERE = "amqp://127.0.0.1:1/"
SECRET = "b1gs08cr8t"
OFTEN = 0.05
"""Seconds between two registrations, so that tests need not wait as long as Consul can."""

GIVEN: dict[str, object] = {
    "AMQP_URI": NOWHERE,
    "HOST": "127.0.0.1",
    "PORT": 8000,
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "auto",
    "DEFAULT_DEADLINE": 10,
    "GRACE": 10,
    "HEARTBEAT": 10,
    "CONSUL_URL": "http://127.0.0.1:8500",
}


def bridge(url: str, patience: float = 2.0, renewal: float = OFTEN, drain_delay: float = 0.0, **changes: Any) -> Any:
    consul = Consul(url, "127.0.0.1", patience=patience, renewal=renewal, **changes)
    return running_bridge(NOWHERE, wait=False, consul=consul, drain_delay=drain_delay)


def told(running: RunningBridge) -> list[tuple[str, str | None]]:
    """Return what the log tells of Consul, each line with its reason."""
    return [(line["event"], line.get("reason")) for line in running.lines if "Consul" in line["event"]]


async def until_told(running: RunningBridge, event: str) -> None:
    async with asyncio.timeout(10):
        while event not in [line for line, _ in told(running)]:  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.005)


async def test_a_bridge_that_listens_is_registered_with_a_check_of_the_service() -> None:
    async with consul_agent() as agent, bridge(agent.url, service="ale", check_interval=2.5) as running:
        (request, *_) = await agent.until(1)
        port = running.bridge.port
        assert request.path == REGISTER
        assert request.token is None
        check = request.document.pop("Check")
        assert request.document == {
            "ID": f"ale-127.0.0.1-{port}",
            "Name": "ale",
            "Address": "127.0.0.1",
            "Port": port,
        }
        assert check["GRPC"] == f"127.0.0.1:{port}/beers.v1.BeersService"
        assert check["GRPCUseTLS"] is False
        assert check["Interval"] == "2.5s"
        assert check["DeregisterCriticalServiceAfter"] == "10m"
        await until_told(running, "registered in Consul")


async def test_what_is_advertised_is_registered_and_checked() -> None:
    changes: dict[str, Any] = {"tls": True, "port": 443}
    async with consul_agent() as agent:
        consul = Consul(agent.url, "2001:db8::1", **changes)
        async with running_bridge(NOWHERE, wait=False, consul=consul):
            (request, *_) = await agent.until(1)
        (gone,) = await agent.until(1, DEREGISTER)
    assert (request.document["Address"], request.document["Port"]) == ("2001:db8::1", 443)
    assert request.document["Check"]["GRPC"] == "[2001:db8::1]:443/beers.v1.BeersService"
    assert request.document["Check"]["GRPCUseTLS"] is True
    assert gone.path == f"{DEREGISTER}beers-2001%3Adb8%3A%3A1-443"
    assert agent.services == {}


async def test_it_is_deregistered_while_it_still_takes_calls_and_not_registered_again() -> None:
    async with consul_agent() as agent, AsyncExitStack() as stack:
        running = await stack.enter_async_context(bridge(agent.url, drain_delay=6 * OFTEN))
        await agent.hold(REGISTER, DEREGISTER)
        await agent.until(len(agent.requests) + 1)
        stopping = asyncio.ensure_future(stack.aclose())
        await asyncio.sleep(4 * OFTEN)
        assert agent.requests[-1].path == REGISTER, "what is under way comes first"
        await agent.hold(DEREGISTER)
        await agent.until(1, DEREGISTER)
        await asyncio.sleep(4 * OFTEN)  # and the delay is over
        async with grpc.aio.insecure_channel(running.target) as newcomer:
            asked = health_pb2.HealthCheckRequest(service="liveness")
            assert (await health_pb2_grpc.HealthStub(newcomer).Check(asked, timeout=5)).status
        assert not stopping.done()
        await agent.hold()
        await stopping
        assert told(running)[-1] == ("deregistered from Consul", None)
        assert agent.services == {}
        assert [request.path.startswith(DEREGISTER) for request in agent.requests].index(True) == len(
            agent.requests
        ) - 1


async def test_what_consul_has_lost_is_registered_again_without_a_word() -> None:
    async with consul_agent() as agent, bridge(agent.url) as running:
        await agent.until(1)
        agent.services.clear()
        await agent.until(len(agent.requests) + 2)
        assert list(agent.services) == [f"beers-127.0.0.1-{running.bridge.port}"]
        assert told(running) == [("registered in Consul", None)]


async def test_a_consul_that_is_away_is_told_of_once_and_found_when_it_comes_back() -> None:
    async with consul_agent() as agent, bridge(agent.url) as running:
        await until_told(running, "registered in Consul")
        await agent.stop()
        agent.services.clear()
        await until_told(running, "not registered in Consul")
        await asyncio.sleep(4 * OFTEN)
        assert [event for event, _ in told(running)] == ["registered in Consul", "not registered in Consul"]
        assert "refused" in str(told(running)[-1][1]).lower()
        await agent.start()
        await agent.until(len(agent.requests) + 1)
        assert list(agent.services) == [f"beers-127.0.0.1-{running.bridge.port}"]


async def test_a_consul_that_says_nothing_keeps_neither_the_start_nor_calls_nor_the_end_waiting() -> None:
    async with consul_agent() as agent:
        await agent.hold(REGISTER, DEREGISTER)
        async with bridge(agent.url, patience=0.3) as running:
            assert told(running) == [], "it did not wait for that"
            await until_told(running, "not registered in Consul")
            assert await running.check("liveness")
            began = time.monotonic()
        assert time.monotonic() - began < 2
    assert told(running) == [
        ("not registered in Consul", "no answer within 0.3 s"),
        ("not deregistered from Consul", "no answer within 0.3 s"),
    ]


async def test_the_longer_consul_is_away_the_more_seldom_it_is_asked() -> None:
    async with consul_agent() as agent:
        agent.refusal = ("500 Internal Server Error", "No cluster leader")
        async with bridge(agent.url, renewal=60) as running:
            came = []
            for count in (1, 2, 3):
                await agent.until(count)
                came.append(time.monotonic())
            assert came[1] - came[0] > 0.35
            assert came[2] - came[1] > 0.7
            assert told(running) == [("not registered in Consul", "500 No cluster leader")]


async def test_the_token_is_shown_to_consul_and_to_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    async with consul_agent() as agent:
        agent.refusal = ("403 Forbidden", f"token {SECRET} lacks service:write")
        async with bridge(agent.url, token_file=file) as running:
            (first, *_) = await agent.until(1)
            await until_told(running, "not registered in Consul")
            file.write_text("another")
            agent.refusal = None
            await until_told(running, "registered in Consul")
    assert first.token == SECRET
    assert agent.requests[-1].token == "another"
    assert told(running)[0] == ("not registered in Consul", "403 token *** lacks service:write")
    assert SECRET not in json.dumps(running.lines, default=str)
    assert not [request for request in agent.requests if SECRET in f"{request.path}{request.document}"]


async def test_a_bridge_that_shares_its_address_leaves_it_to_the_others() -> None:
    async with consul_agent() as agent:
        async with bridge(agent.url, stays=True):
            await agent.until(1)
        assert len(agent.services) == 1


@pytest.mark.parametrize("trusted", [True, False])
async def test_over_tls_consul_has_to_be_who_it_says(
    authority: "Authority", stranger: "Authority", *, trusted: bool
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("consul"))
    async with consul_agent(context) as agent:
        ca = (authority if trusted else stranger).file
        async with bridge(f"https://127.0.0.1:{agent.port}", ca=ca) as running:
            await until_told(running, "registered in Consul" if trusted else "not registered in Consul")
    assert bool(agent.requests) is trusted
    assert trusted or "not to be trusted" in str(told(running)[0][1])


async def test_what_speaks_no_http_is_not_taken_for_consul() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-beer\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with bridge(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as running:
        await until_told(running, "not registered in Consul")
    server.close()
    assert told(running)[0][1] == "what answers there speaks no HTTP"


def test_by_default_nothing_is_registered() -> None:
    assert settings(GIVEN | {"CONSUL_URL": None}).consul is None
    assert settings(GIVEN | {"CONSUL_URL": ""}).consul is None


def test_the_address_is_the_one_to_listen_on_unless_another_one_is_advertised() -> None:
    assert settings(GIVEN).consul == Consul("http://127.0.0.1:8500", "127.0.0.1")
    everywhere = GIVEN | {"HOST": "0.0.0.0", "ALLOW_INSECURE": True}  # noqa: S104 - nothing listens
    with pytest.raises(ConfigurationError, match="ADVERTISED_HOST must be given"):
        settings(everywhere)
    advertised = settings(everywhere | {"ADVERTISED_HOST": "pub.example", "ADVERTISED_PORT": 443}).consul
    assert advertised == Consul("http://127.0.0.1:8500", "pub.example", 443)


def test_a_bridge_with_tls_is_checked_with_tls_and_one_that_shares_its_port_stays() -> None:
    files = {"TLS_CERTIFICATE": "c.pem", "TLS_KEY": "k.pem"}
    consul = settings(GIVEN | files | {"REUSE_PORT": True, "CONSUL_URL": "https://consul.example:8501/"}).consul
    assert consul == Consul("https://consul.example:8501", "127.0.0.1", tls=True, stays=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONSUL_URL", "127.0.0.1:8500"),
        ("CONSUL_URL", f"http://me:{SECRET}@127.0.0.1:8500"),
        ("CONSUL_URL", f"http://:{SECRET}@127.0.0.1:8500"),
        ("CONSUL_URL", "http://127.0.0.1:8500 "),
        ("CONSUL_URL", f"http://127.0.0.1:8500?token={SECRET}"),
        ("CONSUL_URL", "http://127.0.0.1:x"),
        ("CONSUL_URL", "http://a..b:8500"),
        ("CONSUL_URL", 8500),
        ("CONSUL_SERVICE", ""),
        ("CONSUL_CHECK_INTERVAL", 0.5),
        ("ADVERTISED_PORT", -1),
    ],
)
def test_a_malformed_value_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} ") as refused:
        settings(GIVEN | {name: value})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("CONSUL_TOKEN_FILE", None),
        ("CONSUL_TOKEN_FILE", "no token\n"),
        ("CONSUL_TOKEN_FILE", ""),
        ("CONSUL_CA", None),
        ("CONSUL_CA", "no PEM"),
    ],
)
async def test_a_file_that_cannot_be_used_stops_the_start(tmp_path: Path, name: str, content: str | None) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_text(content)
    read: Settings = settings(GIVEN | {"CONSUL_URL": "https://127.0.0.1", "PORT": 0, name: str(file)})
    with pytest.raises(ConfigurationError, match=f"^{name} {file} "):
        async with running_bridge(NOWHERE, wait=False, consul=read.consul):
            pass
