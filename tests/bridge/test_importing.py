"""ImportBeers: a stream without end in constant memory, each beer accounted for by its place."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from grpc_bridge.availability import Patience
from grpc_bridge.errors import CallFailed
from grpc_bridge.importing import CHUNK, FAILURES, Import
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.received import Call
from tests.bridge.broker_proxy import broker_proxy
from tests.bridge.running_bridge import details, refusal, running_bridge, trailers
from tests.bridge.scripted_service import Refused, ScriptedService, scripted_service

Chunks = list[v1.ImportBeersRequest]


def beer(number: int, **fields: Any) -> v1.AddBeerRequest:
    return v1.AddBeerRequest(name=f"b{number}", **fields)


def chunk(*beers: v1.AddBeerRequest, import_id: str = "imp") -> v1.ImportBeersRequest:
    return v1.ImportBeersRequest(import_id=import_id, beers=beers)


class Catalogue:
    """What the scripted service does with an import: keeps each request id, and refuses what is called bad."""

    def __init__(self, service: ScriptedService) -> None:
        self.names: list[str] = []
        self.ids: set[str] = set()
        self.fail: Refused | None = None
        service.methods["import_beers"] = self.take

    def take(self, beers: list[dict[str, Any]]) -> dict[str, Any]:
        if self.fail is not None:
            raise self.fail
        refused = [
            {"index": index, "field": "name", "reason": "is bad"}
            for index, told in enumerate(beers)
            if told["name"] == "bad"
        ]
        good = [told for told in beers if told["name"] != "bad"]
        new = [told for told in good if told["request_id"] not in self.ids]
        self.ids |= {told["request_id"] for told in new}
        self.names += [told["name"] for told in new]
        return {"added": len(new), "already_added": len(good) - len(new), "refused": refused}


async def test_chunks_become_calls_in_the_order_of_the_stream(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        catalogue = Catalogue(service)
        chunks = [
            chunk(beer(0, brewery="B", abv=5, request_id="mine"), beer(1)),
            chunk(import_id=""),
            chunk(beer(2), import_id=""),
            chunk(*(beer(number) for number in range(3, 1003))),
        ]
        response = await running.beers.ImportBeers(iter(chunks))
        assert response == v1.ImportBeersResponse(added=1003)
        assert catalogue.names == [f"b{number}" for number in range(1003)]
        assert [call["method"] for call in service.calls] == ["import_beers"] * 3
        assert service.calls[0]["kwargs"]["beers"] == [
            {"name": "b0", "brewery": "B", "abv": 5.0, "request_id": "mine"},
            {"name": "b1", "request_id": "imp/1"},
        ]
        assert service.calls[1]["kwargs"]["beers"] == [{"name": "b2", "request_id": "imp/2"}]
        assert len({call["correlation_id"] for call in service.calls}) == 1
        again = await running.beers.ImportBeers(iter(chunks))
        assert again == v1.ImportBeersResponse(already_added=1003)
        first, _ = running.calls_logged()
    assert (first["method"], first["code"], first["request_id"]) == ("ImportBeers", "OK", "imp")
    assert (first["received"], first["added"], first["already_added"], first["refused"]) == (1003, 1003, 0, 0)


async def test_refusals_carry_the_place_in_the_whole_stream_whoever_refused(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        catalogue = Catalogue(service)
        response = await running.beers.ImportBeers(
            iter(
                [
                    chunk(beer(0), beer(1, abv=math.nan), v1.AddBeerRequest(name="bad"), beer(3, ibu=math.inf)),
                    chunk(beer(4, abv=-math.inf)),
                    chunk(v1.AddBeerRequest(name="bad"), beer(6)),
                ]
            )
        )
    assert (response.added, response.refused, catalogue.names) == (2, 5, ["b0", "b6"])
    assert [(told.index, told.field, told.reason) for told in response.failures] == [
        (1, "abv", "must be a number"),
        (2, "name", "is bad"),
        (3, "ibu", "must be a number"),
        (4, "abv", "must be a number"),
        (5, "name", "is bad"),
    ]
    assert catalogue.ids == {"imp/0", "imp/6"}


async def test_only_the_first_thousand_refusals_are_told_and_all_are_counted(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        Catalogue(service)
        bad = chunk(*[v1.AddBeerRequest(name="bad")] * 700)
        response = await running.beers.ImportBeers(iter([bad, bad, bad]))
    assert response.refused == 2100
    assert [told.index for told in response.failures] == list(range(FAILURES))


@pytest.mark.parametrize(
    ("chunks", "field"),
    [
        ([], "import_id"),
        ([chunk(import_id="")], "import_id"),
        ([chunk(import_id="x" * 65)], "import_id"),
        ([chunk(import_id="Bière")], "import_id"),
        ([chunk(import_id="a\tb")], "import_id"),
        ([chunk(import_id=" imp")], "import_id"),
        ([chunk(beer(0)), chunk(beer(1), import_id="other")], "import_id"),
        ([chunk(*[beer(0)] * (CHUNK + 1))], "beers"),
    ],
)
async def test_a_stream_that_is_no_import_is_refused_by_field(amqp_uri: str, chunks: Chunks, field: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        Catalogue(service)
        error = await refusal(running.beers.ImportBeers(iter(chunks)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(error)["BadRequest"].field_violations[0].field == field


async def test_an_import_of_no_beers_is_none_the_worse(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        assert await running.beers.ImportBeers(iter([chunk()])) == v1.ImportBeersResponse()
        assert service.calls == []


async def test_bytes_that_are_no_chunk_are_refused(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri), running_bridge(amqp_uri) as running:
        call: Any = running.channel.stream_unary("/beers.v1.BeersService/ImportBeers")
        error = await refusal(call(iter([chunk().SerializeToString(), b"\xff"])))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(error)["ErrorInfo"].reason == "UNDECODABLE_REQUEST"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("StoreUnavailable", grpc.StatusCode.UNAVAILABLE),
        ("OutcomeUnknown", grpc.StatusCode.UNAVAILABLE),
        ("Overloaded", grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("DeadlinePassed", grpc.StatusCode.DEADLINE_EXCEEDED),
        ("KeyError", grpc.StatusCode.INTERNAL),
    ],
)
async def test_a_chunk_that_fails_ends_the_stream_though_the_client_sends_nothing_more(
    amqp_uri: str, name: str, code: grpc.StatusCode
) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        catalogue = Catalogue(service)
        call = running.beers.ImportBeers()
        await call.write(chunk(beer(0)))
        await service.until(1)
        catalogue.fail = Refused(name, ["x"])
        await call.write(chunk(beer(1)))
        error = await refusal(call)  # which is not done writing
    assert error.code() is code
    assert trailers(error)["x-request-id"] == "imp"
    if code is grpc.StatusCode.UNAVAILABLE:
        assert details(error)["RetryInfo"].retry_delay.seconds == 1
    assert catalogue.names == ["b0"]


class SilentBus:
    """A service that takes its time: `answer` ends the call that waits."""

    def __init__(self) -> None:
        self.calls = 0
        self.called = asyncio.Event()
        self._answers: list[asyncio.Future[Any]] = []

    async def call(self, method: str, kwargs: dict[str, Any], **_rest: Any) -> Any:
        assert method == "import_beers"
        self.calls += 1
        answer = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        self.called.set()
        await answer
        return {"added": len(kwargs["beers"]), "already_added": 0, "refused": []}

    def answer(self) -> None:
        self._answers.pop(0).set_result(None)


async def test_while_one_chunk_is_on_its_way_exactly_one_more_is_read() -> None:
    taken = 0
    bus = SilentBus()
    read = asyncio.Event()

    async def chunks() -> AsyncIterator[v1.ImportBeersRequest]:
        nonlocal taken
        for number in range(50):
            taken += 1
            read.set()
            yield chunk(beer(number))

    call = Call("conversation", math.inf, "", 10.0)
    importing = asyncio.ensure_future(Import(bus, call, lambda told: {"name": told.name}).run(chunks()))
    for answered in range(50):
        await bus.called.wait()
        bus.called.clear()
        for _ in range(20):
            await asyncio.sleep(0)  # everything that can go on does
        assert bus.calls == answered + 1
        assert taken == min(answered + 2, 50)
        bus.answer()
    assert (await importing).added == 50


async def test_a_silent_service_stops_the_client_by_flow_control(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        Catalogue(service)
        service.gate.clear()
        pulled = 0
        full = asyncio.Event()

        async def megabytes() -> AsyncIterator[v1.ImportBeersRequest]:
            nonlocal pulled
            for number in range(64):
                pulled += 1
                full.set()
                yield chunk(*(beer(number, description="x" * 10_000) for _ in range(100)))

        call = running.beers.ImportBeers(megabytes())
        await service.until(1)
        while full.is_set():  # until nothing is pulled for a while
            full.clear()
            await asyncio.sleep(0.3)
        assert pulled < 16
        assert len(service.calls) == 1
        service.gate.set()
        assert (await call).added == 6400
        assert pulled == 64


async def test_each_chunk_has_the_default_deadline_and_the_stream_as_long_as_it_takes(amqp_uri: str) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        running_bridge(amqp_uri, Patience(), default_deadline=0.6) as running,
    ):
        Catalogue(service)
        call = running.beers.ImportBeers()
        for number in range(4):
            await call.write(chunk(beer(number)))
            await service.until(number + 1)
            await asyncio.sleep(0.3)
        service.gate.clear()
        await call.write(chunk(beer(4)))
        error = await refusal(call)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "send the import again" in (error.details() or "")
        assert running.calls_logged()[0]["added"] == 4


async def test_the_deadline_of_the_client_ends_an_import_that_waits_for_it(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, Patience()) as running:
        Catalogue(service)
        call = running.beers.ImportBeers(timeout=0.8)
        await call.write(chunk(beer(0)))
        await service.until(1)
        error = await refusal(call)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert details(error)["ErrorInfo"].reason == "DEADLINE_PASSED"


async def test_a_client_that_goes_silent_is_not_waited_for_for_ever(
    amqp_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpc_bridge.importing.SILENCE", 0.3)
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        Catalogue(service)
        call = running.beers.ImportBeers()
        await call.write(chunk(beer(0)))
        error = await refusal(call)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert error.details() == "the client sent nothing for 0.3 s"


async def test_a_bridge_that_stops_ends_imports_at_once_and_unary_calls_in_peace(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, grace=10.0) as running:
        Catalogue(service)
        waiting = running.beers.ImportBeers()
        await waiting.write(chunk(beer(0)))
        await service.until(1)
        service.gate.clear()
        on_its_way = running.beers.ImportBeers(iter([chunk(beer(1))]))
        unary = running.beers.GetBeer(v1.GetBeerRequest(beer_id=1))
        await service.until(3)
        stopping = asyncio.ensure_future(running.bridge.stop())
        async with asyncio.timeout(2):
            errors = [await refusal(waiting), await refusal(on_its_way)]
        assert {error.code() for error in errors} == {grpc.StatusCode.UNAVAILABLE}
        assert {details(error)["ErrorInfo"].reason for error in errors} == {"SERVICE_STOPPING"}
        service.gate.set()
        assert (await unary).beer.id == 1
        await stopping


async def test_a_chunk_on_its_way_survives_a_cut_connection(amqp_uri: str) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        broker_proxy(amqp_uri) as proxy,
        running_bridge(proxy.uri) as running,
    ):
        catalogue = Catalogue(service)
        service.gate.clear()
        call = running.beers.ImportBeers(iter([chunk(beer(number)) for number in range(5)]))
        await service.until(1)
        proxy.cut()
        await service.until(2)
        service.gate.set()
        response = await call
    assert response.added + response.already_added == 5
    assert catalogue.names == [f"b{number}" for number in range(5)]


async def test_a_client_that_goes_away_leaves_nothing_behind(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.gate.clear()
        call = running.beers.ImportBeers(iter([chunk(beer(0)), chunk(beer(1))]))
        await service.until(1)
        call.cancel()
        await running.until_logged("call")
        assert [line["code"] for line in running.calls_logged()] == ["CANCELLED"]
        assert running.bridge._reception.active == 0


async def test_imports_count_among_the_calls_at_once(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, max_calls=1) as running:
        Catalogue(service)
        call = running.beers.ImportBeers()
        await call.write(chunk(beer(0)))
        await service.until(1)
        error = await refusal(running.beers.ImportBeers(iter([chunk()])))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await call.done_writing()
        assert (await call).added == 1


async def test_a_chunk_that_is_wrong_ends_the_one_on_its_way_too() -> None:
    bus = SilentBus()

    async def chunks() -> AsyncIterator[v1.ImportBeersRequest]:
        yield chunk(beer(0))
        await bus.called.wait()
        yield chunk(beer(1), import_id="other")

    call = Call("conversation", math.inf, "", 10.0)
    with pytest.raises(CallFailed, match="import_id"):
        await Import(bus, call, lambda told: {"name": told.name}).run(chunks())
    assert bus._answers[0].cancelled()
