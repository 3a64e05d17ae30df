"""Who did it: what a client has proved goes with each of its commands, and nothing that it says."""

import asyncio
from pathlib import Path
from typing import Any

import grpc

from grpc_bridge.auth import SCOPES
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc
from grpc_bridge.proto.pb import beers_pb2 as pb
from grpc_bridge.tls import TlsFiles
from tests.bridge.running_bridge import RunningBridge, details, refusal, running_bridge
from tests.bridge.scripted_service import ScriptedService, beer, scripted_service
from tests.bridge.test_tls import client
from tests.bridge.tokens import Issuer, bearing
from tests.certificates import Authority

CLAIMS = [("user_id", "somebody"), ("nameko.user_id", "somebody"), ("actor", "somebody"), ("ce-actor", "somebody")]
"""What a client might say of itself."""


def actors(service: ScriptedService) -> dict[str, Any]:
    """Return the actor of each call that came, by its method."""
    return {call["method"]: call.get("user_id") for call in service.calls if call["method"] != "ping"}


async def send_everything(running: RunningBridge, service: ScriptedService, metadata: Any) -> None:
    """Call every method of both contracts that changes something, and one that does not."""
    service.methods["add_many"] = lambda beers, **_: [beer() for _ in beers]
    service.methods["import_beers"] = lambda beers: {"added": len(beers), "already_added": 0, "refused": []}
    beers, chunk = running.beers, v1.ImportBeersRequest(import_id="i", beers=[v1.AddBeerRequest(name="a")])
    await beers.AddBeer(v1.AddBeerRequest(name="a"), metadata=metadata)
    await beers.RenameBeer(v1.RenameBeerRequest(beer_id=1, name="a"), metadata=metadata)
    await beers.UpdateBeer(v1.UpdateBeerRequest(beer_id=1, style="a"), metadata=metadata)
    await beers.RemoveBeer(v1.RemoveBeerRequest(beer_id=1), metadata=metadata)
    await beers.RestoreBeer(v1.RestoreBeerRequest(beer_id=1), metadata=metadata)
    await beers.BatchAddBeers(v1.BatchAddBeersRequest(beers=[v1.NewBeer(name="a")]), metadata=metadata)
    await beers.ImportBeers(iter([chunk]), metadata=metadata)
    await beers.GetBeer(v1.GetBeerRequest(beer_id=1), metadata=metadata)


COMMANDS = ("add", "rename", "update", "remove", "restore", "add_many", "import_beers")


async def test_the_subject_of_the_token_goes_with_every_command(amqp_uri: str, tmp_path: Path) -> None:
    issuer = Issuer(tmp_path / "jwks.json")
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, tokens=issuer.rules()) as running:
        metadata = [*bearing(issuer.token(sub="Åse")), *CLAIMS]
        await send_everything(running, service, metadata)
        assert actors(service) == dict.fromkeys(COMMANDS, "Åse") | {"get": None}
        service.calls.clear()
        await running.seed.Add(pb.BeerAddRequest(name="a"), metadata=metadata)
        await running.seed.Remove(pb.BeerRemoveRequest(id=1), metadata=metadata)
        assert actors(service) == {"add": "Åse", "remove": "Åse"}


async def test_without_a_proof_nobody_is_named_whatever_a_client_says(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        await send_everything(running, service, CLAIMS)
        assert actors(service) == dict.fromkeys([*COMMANDS, "get"])
        assert all("user_id" not in call for call in service.calls)
        assert all("nameko.user_id" not in (message.header.properties.headers or {}) for message in service.messages)


async def test_the_name_in_the_certificate_goes_with_a_command(amqp_uri: str, authority: Authority) -> None:
    tls = TlsFiles(*authority.issue("bridge"), client_ca=authority.file)
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri, tls=tls, clients={"*": SCOPES}) as running,
        client(running.target, authority.file, authority.issue("till")) as channel,
    ):
        beers: Any = v1_grpc.BeersServiceStub(channel)
        await beers.AddBeer(v1.AddBeerRequest(name="a"), metadata=CLAIMS)
        assert actors(service) == {"add": "till"}


async def test_a_batch_carries_the_commands_of_several_actors_each_with_its_own(amqp_uri: str, tmp_path: Path) -> None:
    issuer = Issuer(tmp_path / "jwks.json")
    shown = {who: bearing(issuer.token(sub=who)) for who in ("Åse", "Bo", "till 3")}
    rules = issuer.rules()
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri, tokens=rules, batches_in_flight=1) as running,
    ):
        calls = [
            running.beers.AddBeer(v1.AddBeerRequest(name=who), metadata=metadata)
            for _ in range(50)
            for who, metadata in shown.items()
        ]
        await asyncio.gather(*calls)
    came = iter([(call["kwargs"]["name"], call["user_id"]) for call in service.calls])
    batches = [[next(came) for _ in range(size)] for size in service.batches]
    assert {name for batch in batches for name, _ in batch} == shown.keys()
    assert all(name == actor for batch in batches for name, actor in batch)
    assert any(len(set(batch)) > 1 for batch in batches)


async def test_a_subject_that_could_not_be_kept_is_not_let_in(amqp_uri: str, tmp_path: Path) -> None:
    issuer = Issuer(tmp_path / "jwks.json")
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, tokens=issuer.rules()) as running:
        for subject in ("", "x" * 201, "till\n3", "till\u2028", "\ud800"):
            call = running.beers.AddBeer(v1.AddBeerRequest(name="a"), metadata=bearing(issuer.token(sub=subject)))
            error = await refusal(call)
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED, subject
            assert details(error)["ErrorInfo"].reason == "TOKEN_INVALID"
        assert {line["fault"] for line in running.calls_logged()} == {"the subject is no name"}
        await running.beers.AddBeer(v1.AddBeerRequest(name="a"), metadata=bearing(issuer.token(sub="👩\u200d🍳" * 66)))
        assert actors(service) == {"add": "👩\u200d🍳" * 66}


async def test_a_history_and_a_watch_tell_who_did_it(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.log.append()["actor"] = "Åse"
        service.log.append()
        service.methods["history"] = lambda **_: {"events": service.log.events, "next_page_token": ""}
        history = await running.beers.ListBeerEvents(v1.ListBeerEventsRequest(beer_id=1))
        assert [event.actor for event in history.events] == ["Åse", ""]
        watch = running.beers.WatchBeers(v1.WatchBeersRequest(from_beginning=True))
        told: Any = await watch.read()
        assert list(told.events.events) == list(history.events)
        while not told.HasField("caught_up"):
            told = await watch.read()
        happened = service.log.append()
        happened["actor"] = "till 3"
        await service.tell(happened)  # over the bus
        told = await watch.read()
        (event,) = told.events.events
        assert (event.position, event.actor) == (3, "till 3")
        watch.cancel()
