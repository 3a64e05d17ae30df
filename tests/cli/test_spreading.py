"""The command line calls all that stand behind its address, one after the other, as all clients are told to."""

import time
from collections.abc import Iterator

import pytest

from beers_cli.client import Catalogue
from tests.cli.fake_service import PATIENCE, FakeService


@pytest.fixture
def another_service() -> Iterator[FakeService]:
    another = FakeService()
    yield another
    another.stop()


def test_calls_go_to_all_services_behind_an_address(service: FakeService, another_service: FakeService) -> None:
    services = service, another_service
    with Catalogue(f"ipv4:{service.address},{another_service.address}", PATIENCE) as catalogue:
        deadline = time.monotonic() + PATIENCE
        while not all(each.calls for each in services):  # one counts once it is connected
            assert time.monotonic() < deadline
            catalogue.add({"name": "Jever"}, "")
        before = [len(each.calls) for each in services]
        for _ in range(10):
            catalogue.add({"name": "Jever"}, "")
    assert [len(each.calls) for each in services] == [count + 5 for count in before]
