"""Who reaches the port: this machine alone, unless the port is protected or somebody says that it need not be."""

from typing import Any

import pytest

from beers_runtime.configuration import ConfigurationError
from grpc_bridge.settings import settings
from tests.bridge.running_bridge import running_bridge
from tests.bridge.test_process import NOWHERE, refused_start

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what this is about

GIVEN: dict[str, Any] = {
    "AMQP_URI": NOWHERE,
    "PORT": 8000,
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "auto",
    "DEFAULT_DEADLINE": 10,
    "GRACE": 10,
    "HEARTBEAT": 10,
}
TLS = {"TLS_CERTIFICATE": "own.crt", "TLS_KEY": "own.key"}
MUTUAL = TLS | {"TLS_CLIENT_CA": "clients.pem"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_this_machine_needs_no_protection_from_itself(host: str) -> None:
    assert settings(GIVEN | {"HOST": host}).host == host


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "10.0.0.1", "beers.example"])
def test_another_host_must_be_protected_or_said_to_be_insecure(host: str) -> None:
    for given in ({}, TLS):
        with pytest.raises(ConfigurationError, match="ALLOW_INSECURE=true"):
            settings(GIVEN | {"HOST": host} | given)
    assert settings(GIVEN | {"HOST": host} | MUTUAL).host == host
    assert settings(GIVEN | {"HOST": host, "ALLOW_INSECURE": True}).host == host


def test_the_start_is_refused_with_one_line_that_says_what_to_do() -> None:
    refused = refused_start(0, HOST=EVERYWHERE)
    assert refused.returncode == 78
    (line,) = refused.stderr.decode().splitlines()
    for words in ("HOST=0.0.0.0", "TLS_CERTIFICATE", "TLS_CLIENT_CA", "127.0.0.1", "ALLOW_INSECURE=true"):
        assert words in line


async def test_a_port_that_is_open_without_protection_is_warned_of_at_each_start() -> None:
    async with running_bridge(NOWHERE, wait=False, host=EVERYWHERE, allow_insecure=True) as running:
        (line,) = [line for line in running.lines if line["event"].startswith("insecure")]
    assert line["log_level"] == "warning"
    assert "TLS" in line["missing"]
    async with running_bridge(NOWHERE, wait=False, allow_insecure=True) as running:
        assert not [line for line in running.lines if line["event"].startswith("insecure")]
