"""One table from the names of errors to gRPC statuses, and nothing beside it."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError

from grpc_bridge import errors
from grpc_bridge.errors import CallFailed
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from tests.bridge.running_bridge import details, refusal, running_bridge, trailers
from tests.bridge.scripted_service import Refused, beer, scripted_service

Code = grpc.StatusCode

# The service's errors as the contract between the two lists them: name, arguments, status, details besides ErrorInfo.
CONTRACT: list[tuple[str, list[str], grpc.StatusCode, set[str]]] = [
    ("InvalidField", ["abv", "must be at most 100"], Code.INVALID_ARGUMENT, {"BadRequest"}),
    ("RequestIdReused", ["r"], Code.INVALID_ARGUMENT, {"BadRequest"}),
    ("BeerNotFound", ["7"], Code.NOT_FOUND, {"ResourceInfo"}),
    ("VersionConflict", ["7", "1", "2"], Code.ABORTED, {"PreconditionFailure"}),
    ("BeerNotRemoved", ["7"], Code.FAILED_PRECONDITION, {"PreconditionFailure"}),
    ("PositionOutOfRange", ["9", "5", "log"], Code.OUT_OF_RANGE, set()),
    ("Overloaded", ["busy"], Code.RESOURCE_EXHAUSTED, {"RetryInfo"}),
    ("StoreUnavailable", ["disk"], Code.UNAVAILABLE, {"RetryInfo"}),
    ("OutcomeUnknown", ["r"], Code.UNAVAILABLE, {"RetryInfo"}),
    ("ServiceStopping", [], Code.UNAVAILABLE, {"RetryInfo"}),
    ("DeadlinePassed", ["r"], Code.DEADLINE_EXCEEDED, set()),
]
OF_THE_BRIDGE = {
    "BrokerUnavailable",
    "RequestIdMissing",
    "ServiceUnavailable",
    "SlowReader",
    "StreamEnded",
    "UndecodableRequest",
}
OF_THE_DOOR = {"TokenMissing", "TokenInvalid", "TokenExpired", "ClientUnknown", "ScopeMissing"}


def raising(failure: Exception) -> Any:
    def method(**_: Any) -> Any:
        raise failure

    return method


def test_the_table_holds_each_error_that_there_is_and_no_other() -> None:
    assert set(errors.RULES) == {name for name, *_ in CONTRACT} | OF_THE_BRIDGE | OF_THE_DOOR


async def test_each_error_of_the_service_reaches_the_client_as_its_status_with_its_details(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        for name, arguments, code, expected in CONTRACT:
            service.methods["get"] = raising(Refused(name, arguments))
            error = await refusal(running.beers.GetBeer(v1.GetBeerRequest(beer_id=7)))
            found = details(error)
            assert error.code() is code, name
            assert set(found) == expected | {"ErrorInfo"}, name
            assert found["ErrorInfo"].domain == "beers"
            assert found["ErrorInfo"].reason == name_in_capitals(name)
            assert ("grpc-retry-pushback-ms" in trailers(error)) is ("RetryInfo" in expected), name


def name_in_capitals(name: str) -> str:
    return "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in name).lstrip("_")


async def test_the_details_say_what_it_was_about(amqp_uri: str) -> None:
    async def of(name: str, *arguments: str) -> dict[str, Any]:
        service.methods["get"] = raising(Refused(name, list(arguments)))
        return details(await refusal(running.beers.GetBeer(v1.GetBeerRequest(beer_id=7))))

    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        violation = (await of("InvalidField", "abv", "must be at most 100"))["BadRequest"].field_violations[0]
        assert (violation.field, violation.description) == ("abv", "must be at most 100")
        assert (await of("RequestIdReused", "r"))["BadRequest"].field_violations[0].field == "request_id"
        resource = (await of("BeerNotFound", "7"))["ResourceInfo"]
        assert (resource.resource_type, resource.resource_name) == ("beers.v1.Beer", "7")
        conflict = await of("VersionConflict", "7", "1", "2")
        assert conflict["PreconditionFailure"].violations[0].subject == "7"
        assert dict(conflict["ErrorInfo"].metadata) == {"beer_id": "7", "expected": "1", "actual": "2"}
        beyond = await of("PositionOutOfRange", "9", "5", "log")
        assert dict(beyond["ErrorInfo"].metadata) == {"position": "9", "head": "5", "log_id": "log"}
        assert (await of("Overloaded", "busy"))["RetryInfo"].retry_delay.ToMilliseconds() > 0


async def test_the_services_words_reach_the_client_only_where_they_are_meant_for_it(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.methods["get"] = raising(Refused("BeerNotFound", ["7"], "there is no beer 7"))
        assert (await refusal(running.beers.GetBeer(v1.GetBeerRequest()))).details() == "there is no beer 7"
        service.methods["get"] = raising(Refused("StoreUnavailable", ["x"], "password authentication failed"))
        assert "password" not in str(await refusal(running.beers.GetBeer(v1.GetBeerRequest())))


@pytest.mark.parametrize(
    "answer",
    [
        Refused("OperationalError", ["SELECT secret"], "SELECT secret FROM beers"),
        Refused("", [], "secret"),
        {"id": "secret", "name": 5},
        "secret",
        None,
    ],
    ids=["unknown error", "nameless", "wrong fields", "no beer", "nothing"],
)
async def test_a_bug_is_told_by_a_number_only_and_the_rest_is_in_the_log(amqp_uri: str, answer: Any) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.methods["get"] = raising(answer) if isinstance(answer, Refused) else lambda **_: answer
        error = await refusal(running.beers.GetBeer(v1.GetBeerRequest(beer_id=1)))
        assert error.code() is Code.INTERNAL
        error_id = details(error)["ErrorInfo"].metadata["error_id"]
        assert error.details() == f"internal error; quote {error_id} when you report it"
        assert "secret" not in str(error) + str(details(error))
        (line,) = [line for line in running.lines if line.get("error_id") == error_id]
    assert line["log_level"] == "error"
    assert line["exc_info"]


@pytest.mark.parametrize(
    "reply",
    [b"no json", b"[]", b'{"result":[],"error":null}', b'{"result":{},"error":null}', b'{"error":5}', b'{"error":{}}'],
)
async def test_a_reply_that_is_none_fails_its_calls_and_nothing_else(amqp_uri: str, reply: bytes) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.reply_instead = reply
        error = await refusal(running.beers.GetBeer(v1.GetBeerRequest(beer_id=1), timeout=5))
        assert error.code() is Code.INTERNAL
        service.reply_instead = None
        assert (await running.beers.GetBeer(v1.GetBeerRequest(beer_id=1), timeout=5)).beer.id == 1


@pytest.mark.parametrize(
    "method",
    ["beers.v1.BeersService/AddBeer", "beers.v1.BeersService/ListBeers", "grpc.health.v1.Health/Check"],
)
async def test_bytes_that_are_no_protobuf_are_the_clients_mistake(amqp_uri: str, method: str) -> None:
    async with running_bridge(amqp_uri, wait=False) as running:
        call: Any = running.channel.unary_unary(f"/{method}")
        error = await refusal(call(b"\xff\xff\xff"))
    assert error.code() is Code.INVALID_ARGUMENT
    text = f"{error.details()} {trailers(error)}"
    assert DecodeError.__name__ not in text
    assert "xception" not in text


async def test_five_megabytes_of_description_are_for_the_service_to_judge(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.methods["add"] = raising(Refused("InvalidField", ["description", "must be at most 10000 characters"]))
        request = v1.AddBeerRequest(name="A", description="x" * 5_000_000)
        error = await refusal(running.beers.AddBeer(request, timeout=10))
    assert details(error)["BadRequest"].field_violations[0].field == "description"


async def test_text_of_any_length_in_an_error_fits_into_the_trailers(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        service.methods["get"] = raising(Refused("InvalidField", ["f" * 9000, "ß" * 9000], "ü" * 9000))
        error = await refusal(running.beers.GetBeer(v1.GetBeerRequest(beer_id=1)))
    assert error.code() is Code.INVALID_ARGUMENT


async def test_a_refusal_is_one_that_grpcs_own_retries_take_up(amqp_uri: str) -> None:
    """They do so only if nothing but trailers has been sent."""
    policy = (
        '{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":5,"initialBackoff":"0.1s","maxBackoff":"1s",'
        '"backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE","RESOURCE_EXHAUSTED"]}}]}'
    )
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        failures = iter([Refused("ServiceStopping", []), Refused("Overloaded", ["busy"])])

        def add(**_: Any) -> Any:
            failure = next(failures, None)
            if failure is not None:
                raise failure
            return beer()

        service.methods["get"] = add
        async with grpc.aio.insecure_channel(running.target, options=[("grpc.service_config", policy)]) as channel:
            call = channel.unary_unary(
                "/beers.v1.BeersService/GetBeer",
                request_serializer=v1.GetBeerRequest.SerializeToString,
                response_deserializer=v1.GetBeerResponse.FromString,
            )
            async with asyncio.timeout(10):
                assert (await call(v1.GetBeerRequest(beer_id=1))).beer.id == 1
    assert len(service.calls) == 3


def test_a_failure_without_a_rule_is_no_refusal_but_a_bug() -> None:
    assert errors.refusal(CallFailed("KeyError")) is None


async def test_each_call_leaves_one_line_without_its_payload(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri) as running:
        await running.beers.AddBeer(
            v1.AddBeerRequest(name="payload", request_id="r1"), metadata=[("x-correlation-id", "c1")]
        )
        service.methods["get"] = raising(Refused("BeerNotFound", ["7"], "payload"))
        await refusal(running.beers.GetBeer(v1.GetBeerRequest(beer_id=7)))
        service.methods["get"] = lambda **_: beer()
        await running.beers.GetBeer(v1.GetBeerRequest(beer_id=1))
        added, missed, read = running.calls_logged()
    assert (added["method"], added["code"], added["request_id"], added["correlation_id"]) == (
        "AddBeer",
        "OK",
        "r1",
        "c1",
    )
    assert added["log_level"] == "info"
    assert added["duration_ms"] >= 0
    assert (missed["method"], missed["code"], missed["log_level"]) == ("GetBeer", "NOT_FOUND", "info")
    assert read["log_level"] == "debug"
    assert "payload" not in str(running.lines)


async def test_a_request_id_that_is_none_does_not_reach_the_log(amqp_uri: str) -> None:
    async with scripted_service(amqp_uri), running_bridge(amqp_uri) as running:
        for given in ("order 7", "\x1b[2J", "é", "x" * 129):
            await running.beers.AddBeer(v1.AddBeerRequest(name="Jever", request_id=given))
        logged = [line["request_id"] for line in running.calls_logged()]
    assert logged == ["order 7", "(malformed)", "(malformed)", "(malformed)"]
