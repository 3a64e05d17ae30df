"""TLS and mutual TLS at the port: who gets through, and what happens when the files change."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc
from grpc_bridge.tls import TlsFiles
from tests.bridge.running_bridge import SERVING, RunningBridge, refusal, running_bridge
from tests.bridge.scripted_service import scripted_service
from tests.bridge.test_process import NOWHERE, PATIENCE, process, refused_start
from tests.certificates import Authority

Code = grpc.StatusCode

Identity = tuple[Path, Path]


@asynccontextmanager
async def client(
    target: str, trusted: Path | None, identity: Identity | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to *target*: of TLS if it is to trust somebody."""
    options = [("grpc.enable_retries", 0)]
    if trusted is None:
        opened = grpc.aio.insecure_channel(target, options=options)
    else:
        certificate, key = (None, None) if identity is None else map(content, identity)
        credentials = grpc.ssl_channel_credentials(content(trusted), key, certificate)
        opened = grpc.aio.secure_channel(target, credentials, options=options)
    async with opened as channel:
        yield channel


async def get(channel: grpc.aio.Channel) -> int:
    beers: Any = v1_grpc.BeersServiceStub(channel)
    return int((await beers.GetBeer(v1.GetBeerRequest(beer_id=1), timeout=5)).beer.id)


async def liveness(channel: grpc.aio.Channel) -> int:
    health: Any = health_pb2_grpc.HealthStub(channel)
    return int((await health.Check(health_pb2.HealthCheckRequest(service="liveness"), timeout=5)).status)


# Server, client's trust, client's certificate, what a call comes to.
MATRIX: list[tuple[str, str, str, grpc.StatusCode]] = [
    ("plaintext", "", "", Code.OK),
    ("plaintext", "authority", "", Code.UNAVAILABLE),
    ("TLS", "", "", Code.UNAVAILABLE),
    ("TLS", "stranger", "", Code.UNAVAILABLE),
    ("TLS", "authority", "", Code.OK),
    ("expired TLS", "authority", "", Code.UNAVAILABLE),
    ("mutual TLS", "", "", Code.UNAVAILABLE),
    ("mutual TLS", "stranger", "authority", Code.UNAVAILABLE),
    ("mutual TLS", "authority", "", Code.UNAVAILABLE),
    ("mutual TLS", "authority", "stranger", Code.UNAVAILABLE),
    ("mutual TLS", "authority", "expired", Code.UNAVAILABLE),
    ("mutual TLS", "authority", "authority", Code.OK),
]


@pytest.mark.parametrize(("server", "trust", "shown", "code"), MATRIX)
async def test_a_client_gets_through_only_if_either_side_trusts_the_other(
    amqp_uri: str, authority: Authority, stranger: Authority, server: str, trust: str, shown: str, code: grpc.StatusCode
) -> None:
    ours = authority.issue("bridge", days=-1 if server == "expired TLS" else 1)
    tls = None
    if server != "plaintext":
        tls = TlsFiles(*ours, client_ca=authority.file if server == "mutual TLS" else None)
    trusted = {"": None, "authority": authority.file, "stranger": stranger.file}[trust]
    issued: dict[str, Callable[[], Identity | None]] = {
        "": lambda: None,
        "authority": lambda: authority.issue("client"),
        "stranger": lambda: stranger.issue("client"),
        "expired": lambda: authority.issue("client", days=-1),
    }
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri, tls=tls) as running,
        client(running.target, trusted, issued[shown]()) as channel,
    ):
        if code is Code.OK:
            assert await get(channel) == 1
        else:
            assert (await refusal(get(channel))).code() is code
    assert [call["method"] for call in service.calls].count("get") == (code is Code.OK)


async def test_new_files_serve_the_next_connection_and_leave_those_that_are_open_alone(
    authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    tls = copied(authority.issue("bridge"), authority.file, tmp_path)
    identity, other_identity = authority.issue("client"), stranger.issue("client")
    async with (
        running_bridge(NOWHERE, wait=False, tls=tls) as running,
        client(running.target, authority.file, identity) as before,
    ):
        assert await liveness(before) == SERVING
        copied(stranger.issue("bridge"), stranger.file, tmp_path)
        assert await liveness(before) == SERVING
        async with client(running.target, stranger.file, other_identity) as after:
            assert await liveness(after) == SERVING
        async with client(running.target, authority.file, identity) as late:
            assert (await refusal(liveness(late))).code() is grpc.StatusCode.UNAVAILABLE
        assert len(told(running, "certificate")) == 2


async def test_files_that_do_not_fit_each_other_yet_change_nothing_and_are_warned_of_once(
    authority: Authority, tmp_path: Path
) -> None:
    tls = copied(authority.issue("bridge"), authority.file, tmp_path)
    identity = authority.issue("client")
    async with running_bridge(NOWHERE, wait=False, tls=tls) as running:
        tls.certificate.write_bytes(authority.issue("bridge")[0].read_bytes())
        for _ in range(2):
            async with client(running.target, authority.file, identity) as channel:
                assert await liveness(channel) == SERVING
        (line,) = told(running, "certificates changed and cannot be used")
        assert line["log_level"] == "warning"
        assert line["reason"] == f"TLS_KEY {tls.key} is not the key of TLS_CERTIFICATE {tls.certificate}"
        tls.key.unlink()
        async with client(running.target, authority.file, identity) as channel:
            assert await liveness(channel) == SERVING


async def test_an_expired_certificate_is_warned_of(authority: Authority) -> None:
    async with running_bridge(NOWHERE, wait=False, tls=TlsFiles(*authority.issue("late", days=-1))) as running:
        (line,) = told(running, "certificate")
    assert line["log_level"] == "warning"


def test_a_stranger_at_the_port_costs_no_line(authority: Authority, port: int) -> None:
    certificate, key = (str(path) for path in authority.issue("bridge"))
    with process(port, NOWHERE, TLS_CERTIFICATE=certificate, TLS_KEY=key) as bridge:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            connection.settimeout(PATIENCE)
            while connection.recv(1000):
                pass
        bridge.terminate()
        assert bridge.wait(PATIENCE) == 0
        assert bridge.stderr is not None
        assert bridge.stderr.read() == b""


def test_files_that_cannot_be_used_stop_the_start_with_one_line(authority: Authority, tmp_path: Path) -> None:
    certificate, key = (str(path) for path in authority.issue("bridge"))
    other_key = str(authority.issue("other")[1])
    nothing, rubbish = str(tmp_path / "nothing.pem"), tmp_path / "rubbish.pem"
    rubbish.write_text("-----BEGIN secret-----\n")
    for given, expected in (
        ({"TLS_CERTIFICATE": nothing, "TLS_KEY": key}, f"TLS_CERTIFICATE: cannot read {nothing}: No such file"),
        ({"TLS_CERTIFICATE": certificate, "TLS_KEY": str(rubbish)}, f"TLS_KEY: {rubbish} does not hold a PEM private"),
        ({"TLS_CERTIFICATE": certificate, "TLS_KEY": other_key}, f"TLS_KEY {other_key} is not the key of"),
        ({"TLS_CERTIFICATE": certificate}, "TLS_KEY must be given, since TLS_CERTIFICATE is"),
        ({"TLS_CLIENT_CA": certificate}, "TLS_CERTIFICATE must be given, since TLS_CLIENT_CA is"),
        ({"TLS_CERTIFICATE": certificate, "TLS_KEY": key, "TLS_CLIENT_CA": key}, f"TLS_CLIENT_CA: {key} does not hold"),
    ):
        refused = refused_start(0, **given)
        assert refused.returncode == 78
        (line,) = refused.stderr.decode().splitlines()
        assert expected in line
        assert "secret" not in line


def content(path: Path) -> bytes:
    return path.read_bytes()


def copied(identity: Identity, client_ca: Path, folder: Path) -> TlsFiles:
    """Put files into *folder* under names that stay."""
    files = TlsFiles(folder / "own.crt", folder / "own.key", folder / "clients.pem")
    for source, destination in ((identity[0], files.certificate), (identity[1], files.key)):
        destination.write_bytes(source.read_bytes())
    (folder / "clients.pem").write_bytes(client_ca.read_bytes())
    return files


def told(running: RunningBridge, event: str) -> list[Any]:
    return [line for line in running.lines if line["event"] == event]
