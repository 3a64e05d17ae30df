"""What the tests of `beers watch` share: a service with a past, and the program in a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from grpc_bridge.proto.beers.v1 import beers_pb2
from tests.cli.fake_service import PATIENCE, FakeService

CAUGHT_UP = ("watch", "--from", "beginning", "--until-caught-up")


def add(service: FakeService, name: str) -> None:
    service.AddBeer(beers_pb2.AddBeerRequest(name=name, request_id=f"add {name}"), None)


def positions(out: str) -> list[int]:
    return [json.loads(line)["position"] for line in out.splitlines()]


def until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def program(service: FakeService, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    with subprocess.Popen(
        [sys.executable, "-m", "beers_cli", "watch", *arguments],
        env=os.environ | {"BEERS_ADDRESS": service.address},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
