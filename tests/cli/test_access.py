"""How the command line gets in at a service that asks for something, and what it says where it does not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from beers_cli.access import Access, having
from beers_cli.client import Catalogue
from beers_cli.failure import Failure
from tests.certificates import Authority
from tests.cli.conftest import Result, Run
from tests.cli.fake_service import FakeService, status

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


def test_a_token_comes_from_a_file_or_the_environment_and_is_shown_with_each_call(
    service: FakeService, beers: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("abc.def\n")
    monkeypatch.setenv("BEERS_TOKEN", "of.environment")
    assert beers("add", "Jever").status == 0
    monkeypatch.setenv("BEERS_TOKEN_FILE", str(file))
    assert beers("list").status == 0
    assert beers("watch", "--from", "beginning", "--until-caught-up").status == 0
    assert beers("list", "--token-file", str(file)).status == 0
    assert beers("import", "-", "--format", "jsonl", stdin=b'{"name": "Duvel"}\n').status == 0
    assert service.authorizations[:2] == ["Bearer of.environment", "Bearer abc.def"]
    assert set(service.authorizations[1:]) == {"Bearer abc.def"}
    assert len(service.authorizations) == len(service.calls)


def test_a_token_is_read_anew_when_its_file_was_replaced(service: FakeService, tmp_path: Path) -> None:
    file = tmp_path / "token"
    with having(Access(token_file=str(file))):
        file.write_text("first")
        with Catalogue(service.address, 10) as catalogue:
            catalogue.add({"name": "a"}, "")
            file.write_text("second")
            catalogue.add({"name": "b"}, "")
            file.unlink()
            with pytest.raises(Failure, match="Cannot read"):
                catalogue.add({"name": "c"}, "")
    assert service.authorizations == ["Bearer first", "Bearer second"]


@pytest.mark.usefixtures("service")
def test_what_is_no_token_is_told_without_its_text(beers: Run, tmp_path: Path) -> None:
    file, missing = tmp_path / "token", str(tmp_path / "missing")
    file.write_text("hush hush")
    result = beers("list", "--token-file", str(file))
    assert result.status == 1
    assert f"{file} does not hold a token." in result.err
    assert "hush" not in result.err
    assert f"Cannot read {missing}: No such file" in beers("list", "--token-file", missing).err


def test_a_token_is_not_sent_over_the_network_in_plaintext(beers: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEERS_TOKEN", "abc.def")
    result = beers("list", "--address", "beers.example:8000")
    assert result.status == 1
    assert "A token is not sent to beers.example:8000 without TLS" in result.err
    assert "--tls" in result.err
    assert "abc.def" not in result.err


def test_who_is_not_let_in_is_told_how_to_show_a_token(service: FakeService, beers: Run) -> None:
    service.failures.append(status(grpc.StatusCode.UNAUTHENTICATED, "this needs a bearer token"))
    result = beers("list")
    assert result.status == 1
    assert "does not let you in: this needs a bearer token." in result.err
    assert "--token-file" in result.err


def told(result: Result, message: str, hint: str) -> None:
    assert result.status == 1
    assert result.err.startswith("Error: ")
    assert message in result.err
    assert hint in result.err
    assert "SSL" not in result.err
