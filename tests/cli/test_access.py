"""How the command line gets in at a service that asks for something, and what it says where it does not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from tests.certificates import Authority
from tests.cli.conftest import Result, Run
from tests.cli.fake_service import FakeService

Start = Callable[..., FakeService]


@pytest.fixture
def start(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a service that speaks TLS; the command line finds it through the environment."""
    started: list[FakeService] = []

    def begin(*, days: int = 1, mutual: bool = False, host: str = "127.0.0.1") -> FakeService:
        certificate, key = (path.read_bytes() for path in authority.issue("bridge", days=days, host=host))
        clients = authority.file.read_bytes() if mutual else None
        service = FakeService(grpc.ssl_server_credentials([(key, certificate)], clients, mutual))
        started.append(service)
        monkeypatch.setenv("BEERS_ADDRESS", service.address)
        return service

    yield begin
    for service in started:
        service.stop()


def test_tls_takes_the_authority_to_trust_from_an_option_or_the_environment(
    start: Start, authority: Authority, beers: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start()
    assert beers("add", "Jever", "--tls-ca", str(authority.file)).status == 0
    monkeypatch.setenv("BEERS_TLS_CA", str(authority.file))
    assert beers("list").status == 0
    assert beers("health").status == 0
    assert beers("watch", "--from", "beginning", "--until-caught-up").status == 0
    assert service.beers[1].name == "Jever"


def test_tls_alone_trusts_whom_the_system_trusts(
    start: Start, authority: Authority, beers: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    assert "is of no authority that you trust" in beers("list", "--tls").err
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert beers("list", "--tls").status == 0


def test_a_client_shows_its_certificate(start: Start, authority: Authority, beers: Run) -> None:
    start(mutual=True)
    certificate, key = authority.issue("client")
    shown = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    assert beers("list", "--tls-ca", str(authority.file), *shown).status == 0


def test_what_is_in_the_way_is_told_with_what_to_do(
    start: Start, authority: Authority, stranger: Authority, beers: Run
) -> None:
    trusted = ("--tls-ca", str(authority.file))
    service = start()
    for arguments in (("list",), ("health",), ("watch",)):
        told(beers(*arguments), f"{service.address} speaks TLS, and was not spoken to in TLS.", "--tls-ca")
    result = beers("list", "--tls-ca", str(stranger.file))
    told(result, f"The certificate of {service.address} is of no authority that you trust", "--tls-ca")
    service = start(days=-1)
    told(beers("list", *trusted), f"The certificate of {service.address} has expired.", "Tell whoever")
    service = start(mutual=True)
    told(beers("list", *trusted), f"{service.address} wants to see a certificate of yours.", "--tls-certificate")
    certificate, key = (str(path) for path in stranger.issue("client"))
    result = beers("list", *trusted, "--tls-certificate", certificate, "--tls-key", key)
    told(result, f"{service.address} does not accept the certificate in {certificate}.", "--tls-certificate")


def test_a_certificate_for_another_name_is_told(start: Start, authority: Authority, beers: Run) -> None:
    service = start(host="127.0.0.9")
    result = beers("list", "--tls-ca", str(authority.file))
    told(result, f"The certificate of {service.address} is for another name.", "--address")


def test_a_service_without_tls_is_told(service: FakeService, authority: Authority, beers: Run) -> None:
    told(beers("list", "--tls-ca", str(authority.file)), f"{service.address} does not speak TLS.", "plaintext")


@pytest.mark.usefixtures("service")
def test_files_that_cannot_be_used_are_named(authority: Authority, beers: Run, tmp_path: Path) -> None:
    certificate = str(authority.issue("client")[0])
    other = str(authority.issue("other")[1])
    rubbish, missing = tmp_path / "rubbish", str(tmp_path / "missing")
    rubbish.write_text("secret")
    for arguments, expected in (
        (("--tls-ca", missing), f"Cannot read {missing}: No such file or directory."),
        (("--tls-ca", str(rubbish)), f"{rubbish} does not hold certificates, in PEM."),
        (("--tls-certificate", certificate), "A certificate and its key are given together."),
        (("--tls-certificate", certificate, "--tls-key", other), f"{other} is not the key of {certificate}."),
        (("--tls-certificate", certificate, "--tls-key", str(rubbish)), f"{rubbish} does not hold a certificate and"),
        (("--tls-certificate", certificate, "--tls-key", missing), "No such file or directory."),
    ):
        result = beers("list", *arguments)
        assert result.status == 1
        assert expected in result.err
        assert "secret" not in result.err


def told(result: Result, message: str, hint: str) -> None:
    said = result.err[result.err.index("Error: ") :]  # before it, gRPC of this process may speak for the service
    assert result.status == 1
    assert message in said
    assert hint in said
    assert "SSL" not in said
