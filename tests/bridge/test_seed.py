"""pb.Beers: what the original's clients rely on."""

from typing import Any

import pytest

from grpc_bridge.proto.pb import beers_pb2 as pb
from tests.bridge.running_bridge import running_bridge
from tests.bridge.scripted_service import Refused, beer, scripted_service


async def test_a_beer_is_added_and_removed(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.methods["add"] = lambda name, **_: beer(4, name=name)
        assert await running.seed.Add(pb.BeerAddRequest(name="Jever")) == pb.BeerAddResponse(id=4, name="Jever")
        removed = await running.seed.Remove(pb.BeerRemoveRequest(id=4))
        assert removed == pb.BeerRemoveResponse(id=4, name="Jever", status=pb.OK)
    assert [(call["method"], bool(call["kwargs"]["request_id"])) for call in service.calls] == [
        ("add", True),
        ("remove", True),
    ]


async def test_what_the_original_refused_is_refused_in_its_words(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        for blank in ("", " \t"):
            answer = await running.seed.Add(pb.BeerAddRequest(name=blank))
            assert answer == pb.BeerAddResponse(status=pb.BAD, err_msg="name cannot be blank")
        removed = await running.seed.Remove(pb.BeerRemoveRequest(id=-1))
        assert removed == pb.BeerRemoveResponse(status=pb.BAD, err_msg="invalid id")
    assert service.calls == []


@pytest.mark.parametrize("call", ["Add", "Remove"])
async def test_every_other_failure_is_a_bad_answer_that_can_be_read(amqp_uri: str, call: str) -> None:
    request: Any = pb.BeerAddRequest(name="A") if call == "Add" else pb.BeerRemoveRequest(id=1)
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:

        def failing(**_: Any) -> Any:
            raise failure

        service.methods.update({"add": failing, "remove": failing})
        failure = Refused("InvalidField", ["name", "is too long"], "name is too long")
        answer = await getattr(running.seed, call)(request)
        assert (answer.status, answer.err_msg) == (pb.BAD, "name is too long")
        failure = Refused("BeerNotFound", ["1"], "there is no beer 1")
        assert (await getattr(running.seed, call)(request)).err_msg == "there is no beer 1"
        failure = Refused("KeyError", ["secret"], "secret")
        answer = await getattr(running.seed, call)(request)
        assert answer.status == pb.BAD
        assert "secret" not in answer.err_msg
        assert answer.err_msg.startswith("internal error; quote ")


async def test_unavailability_is_a_bad_answer_as_well() -> None:
    async with running_bridge("amqp://127.0.0.1:1/", wait=False) as running:
        answer = await running.seed.Add(pb.BeerAddRequest(name="A"), timeout=1)
    assert answer.status == pb.BAD
    assert "broker" in answer.err_msg


async def test_an_id_beyond_the_contract_is_told_in_words(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.methods["add"] = lambda **_: beer(2**31, name="Late")
        answer = await running.seed.Add(pb.BeerAddRequest(name="Late"))
    assert answer.status == pb.BAD
    assert "2147483648" in answer.err_msg
