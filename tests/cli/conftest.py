"""The command line in this process, and the service that it calls."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from beers_cli.__main__ import main
from grpc_bridge import grpc_environment  # noqa: F401 - the service in this process shares the standard error with what is tested
from grpc_bridge.proto.beers.v1 import beers_pb2
from tests.cli.fake_service import FakeService
from tests.cli.watching import add


@dataclass(frozen=True)
class Result:
    """What a run of the command line came to."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """A service that answers; the command line finds it through the environment."""
    fake = FakeService()
    monkeypatch.setenv("BEERS_ADDRESS", fake.address)
    yield fake
    fake.stop()


@pytest.fixture
def beers(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line with these arguments and this standard input."""

    def run(*arguments: str, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "argv", ["beers", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin))))
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        code = end.value.code
        assert isinstance(code, int)
        return Result(code, out, err)

    return run


@pytest.fixture
def history(service: FakeService) -> FakeService:
    """A service that holds two beers and five events."""
    add(service, "Punk")
    add(service, "Jever")
    service.RenameBeer(beers_pb2.RenameBeerRequest(beer_id=1, name="Punk IPA"), None)
    service.RemoveBeer(beers_pb2.RemoveBeerRequest(beer_id=2), None)
    service.RestoreBeer(beers_pb2.RestoreBeerRequest(beer_id=2), None)
    return service
