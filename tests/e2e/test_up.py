"""`beers up` on a bare folder: everything that the README promises, in real processes."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest

from fuzz import judging
from grpc_bridge.proto.beers.v1 import beers_pb2, beers_pb2_grpc
from tests.e2e.running import Product, fuzz, until
from tests.nodes import processes_with, wait_for_none_with


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    product = Product(tmp_path_factory.mktemp("up"))
    product.start()
    try:
        yield product
    finally:
        product.stop()


def test_a_beer_is_added_listed_renamed_removed_restored_and_has_a_history(product: Product) -> None:
    product.beers("add", "Punk IPA", "--brewery", "BrewDog", "--style", "IPA", "--abv", "5.6")
    assert "BrewDog" in product.beers("list")
    product.beers("rename", "1", "Punk IPA 2")
    product.beers("update", "1", "--abv", "unknown", "--ibu", "40")
    product.beers("remove", "1")
    assert "beer 1" in product.beers("get", "1", status=1)
    product.beers("restore", "1")
    history = product.json("history", "1")
    types = [event["type"] for event in history]
    assert types == ["BeerAdded", "BeerNameChanged", "BeerDetailsChanged", "BeerRemoved", "BeerRestored"]
    assert product.json("get", "1")["abv"] is None
    assert product.json("get", "1", "--at", str(history[0]["position"]))["name"] == "Punk IPA"


def test_the_supervisor_starts_again_whatever_died(product: Product) -> None:
    before = product.json("add", "Before")["id"]
    for part in ("service", "bridge", "rabbitmq"):
        product.kill(part)
        product.beers("health", "--wait", "60")
        assert product.json("get", str(before))["name"] == "Before"
        product.beers("add", f"After {part}", "--timeout", "30")


def test_a_second_supervisor_on_the_same_folder_or_port_is_refused(product: Product, tmp_path: Path) -> None:
    assert "is running on" in product.beers("up", "--data", str(product.data), status=1)
    refused = product.beers("up", "--data", str(tmp_path), "--port", str(product.port), status=1)
    assert f"Port {product.port} of 127.0.0.1 is taken" in refused


def test_nameko_shell_adds_reads_and_shows_a_readable_error(product: Product) -> None:
    script = "print(n.rpc.beers.add(name='Jever')['version'])\nprint(n.rpc.beers.get(1))\nn.rpc.beers.add(name='')\n"
    done = subprocess.run(
        [Path(sys.executable).with_name("nameko"), "shell", "--interface", "plain", "--broker", product.broker()],
        env=product.environment,
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1\n" in done.stdout
    assert "'name': 'Punk IPA 2'" in done.stdout
    assert "InvalidField name: must not be blank" in done.stderr


def test_a_client_that_knows_no_proto_lists_adds_and_reads_through_reflection(product: Product) -> None:
    def grpcurl(*arguments: str) -> str:
        done = subprocess.run(
            [Path(sys.executable).with_name("grpcurl"), "-plaintext", *arguments],
            env=product.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    address = f"127.0.0.1:{product.port}"
    assert {"beers.v1.BeersService", "pb.Beers", "grpc.health.v1.Health"} <= set(grpcurl(address, "list").split())
    added = json.loads(grpcurl("-d", '{"name": "Jever", "ibu": 44}', address, "beers.v1.BeersService/AddBeer"))
    beer_id = added["beer"]["id"]
    read = json.loads(grpcurl("-d", json.dumps({"beer_id": beer_id}), address, "beers.v1.BeersService/GetBeer"))
    assert read["beer"]["ibu"] == 44
    seed = json.loads(grpcurl("-d", '{"name": "Urtyp"}', address, "pb.Beers/Add"))
    assert seed["name"] == "Urtyp"
    assert "status" not in seed  # OK is zero, and zeros are not shown


def test_what_should_never_be_sent_ends_stops_and_fills_nothing(product: Product, tmp_path: Path) -> None:
    address = product.environment["BEERS_ADDRESS"]
    result = fuzz(
        tmp_path,
        *("--seed", "1", "--requests", "800", "--on", str(product.data), "--address", address),
        patience=100,
    )
    assert result["requests"] == 800
    assert list(filter(None, map(judging.exception, product.running.lines))) == []


def test_sigterm_stops_everything_in_order_and_the_next_run_has_the_data(tmp_path: Path) -> None:
    product = Product(tmp_path)
    product.start()
    try:
        beer = product.json("add", "Kept")
    finally:
        status = product.stop()
    assert status == 0
    assert not list(product.data.rglob("*.pid"))
    stops = [line for line in product.running.lines if '"service stopped"' in line or '"event":"stopped"' in line]
    assert ["bridge" in line for line in stops] == [True, False]
    broker = product.broker()
    product.start()
    try:
        assert product.broker() == broker
        assert product.json("get", str(beer["id"])) == beer
    finally:
        product.stop()


def test_nothing_outlives_a_supervisor_that_was_killed_and_the_next_one_starts(tmp_path: Path) -> None:
    product = Product(tmp_path)
    product.start()
    beer = product.json("add", "Kept")
    assert len(processes_with(product.marker)) >= 5
    product.running.stop(signal.SIGKILL)
    assert wait_for_none_with(product.marker) == {}
    product.start()
    try:
        assert product.json("get", str(beer["id"])) == beer
    finally:
        product.stop()


def test_several_services_and_bridges_share_the_work_and_outlast_the_death_of_one_of_each(
    tmp_path: Path, fresh_amqp_uri: str
) -> None:
    product = Product(tmp_path, AMQP_URI=fresh_amqp_uri)
    product.start("--services", "2", "--bridges", "2")
    lines = product.running.lines
    added: list[int] = []

    def have_worked(parts: set[str], since: int) -> bool:
        added.append(add(product))
        done = [json.loads(line) for line in lines[since:] if '"duration_ms"' in line]
        return parts <= {line["process"] for line in done}

    try:
        until(partial(have_worked, {"service-1", "service-2", "bridge-1", "bridge-2"}, 0), "all take part")
        for part, again in (("service-1", "service started"), ("bridge-2", "listening")):
            killed = len(lines)
            product.kill(part)
            added.append(add(product))
            product.running.wait_for(f'"process":"{part}".*"event":"{again}"', 2)
            until(partial(have_worked, {part}, killed), f"{part} takes part again")
    finally:
        status = product.stop()
    assert added == list(range(1, len(added) + 1))
    assert status == 0
    assert not list(product.data.rglob("*.pid"))
    stops = [line for line in lines if '"service stopped"' in line or '"event":"stopped"' in line]
    assert ["bridge" in line for line in stops] == [True, True, False, False]


def add(product: Product) -> int:
    """Add a beer over a connection of its own, so that the kernel chooses a bridge for it."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{product.port}", options) as channel:
        request = beers_pb2.AddBeerRequest(name="Punk IPA")
        return beers_pb2_grpc.BeersServiceStub(channel).AddBeer(request, timeout=20).beer.id
