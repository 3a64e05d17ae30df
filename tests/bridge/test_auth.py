"""Who is let in, for what, and with which words the others are not."""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from beers_runtime.configuration import ConfigurationError
from grpc_bridge.auth import READ, SCOPES, WRITE
from grpc_bridge.keys import Keys
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.pb import beers_pb2 as pb
from grpc_bridge.settings import settings
from grpc_bridge.tls import TlsFiles
from tests.bridge.running_bridge import SERVING, details, refusal, running_bridge
from tests.bridge.scripted_service import scripted_service
from tests.bridge.test_exposure import EVERYWHERE, GIVEN, MUTUAL, TLS
from tests.bridge.test_process import NOWHERE, refused_start
from tests.bridge.test_tls import client, get
from tests.bridge.tokens import AUDIENCE, ISSUER, SECRET, Issuer, bearing, claims
from tests.certificates import Authority

Code = grpc.StatusCode
Show = Callable[[Issuer], str]


def encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def with_the_public_key_as_secret(issuer: Issuer) -> str:
    """The oldest trick: what everybody knows, taken for a secret."""
    key = issuer.file.read_bytes()
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    unsigned = f"{encoded({'alg': 'HS256', 'kid': 'key-1'})}.{encoded(claims())}"
    return f"{unsigned}.{base64.urlsafe_b64encode(algorithm.sign(unsigned.encode(), key)).rstrip(b'=').decode()}"


# What is shown, what comes of reading and of writing, and the reason.
MATRIX: dict[str, tuple[Show, grpc.StatusCode, grpc.StatusCode, str]] = {
    "no token": (lambda _: "", Code.UNAUTHENTICATED, Code.UNAUTHENTICATED, "TOKEN_MISSING"),
    "no JWT": (lambda _: "secret", Code.UNAUTHENTICATED, Code.UNAUTHENTICATED, "TOKEN_INVALID"),
    "bad signature": (
        lambda issuer: issuer.token()[:-8] + "AAAAAAAA",
        Code.UNAUTHENTICATED,
        Code.UNAUTHENTICATED,
        "TOKEN_INVALID",
    ),
    "another's key": (
        lambda issuer: Issuer(issuer.file.with_name("other")).token(),
        Code.UNAUTHENTICATED,
        Code.UNAUTHENTICATED,
        "TOKEN_INVALID",
    ),
    "unknown key": (
        lambda issuer: Issuer(issuer.file.with_name("other"), "key-2").token(),
        Code.UNAUTHENTICATED,
        Code.UNAUTHENTICATED,
        "TOKEN_INVALID",
    ),
    "no signature": (
        lambda _: f"{encoded({'alg': 'none', 'kid': 'key-1'})}.{encoded(claims())}.",
        Code.UNAUTHENTICATED,
        Code.UNAUTHENTICATED,
        "TOKEN_INVALID",
    ),
    "public key as secret": (
        with_the_public_key_as_secret,
        Code.UNAUTHENTICATED,
        Code.UNAUTHENTICATED,
        "TOKEN_INVALID",
    ),
    "endless header": (
        lambda _: base64.urlsafe_b64encode(b"[" * 5000).decode() + ".e30.AAAA",
        Code.UNAUTHENTICATED,
        Code.UNAUTHENTICATED,
        "TOKEN_INVALID",
    ),
    "expired": (
        lambda issuer: issuer.token(exp=time.time() - 60),
        Code.UNAUTHENTICATED,
        Code.UNAUTHENTICATED,
        "TOKEN_EXPIRED",
    ),
    "wrong audience": (
        lambda issuer: issuer.token(aud="wines"),
        Code.UNAUTHENTICATED,
        Code.UNAUTHENTICATED,
        "TOKEN_INVALID",
    ),
    "wrong issuer": (
        lambda issuer: issuer.token(iss="https://other.example"),
        Code.UNAUTHENTICATED,
        Code.UNAUTHENTICATED,
        "TOKEN_INVALID",
    ),
    "without an end": (
        lambda issuer: issuer.token(exp=None),
        Code.UNAUTHENTICATED,
        Code.UNAUTHENTICATED,
        "TOKEN_INVALID",
    ),
    "of nobody": (
        lambda issuer: issuer.token(sub=None),
        Code.UNAUTHENTICATED,
        Code.UNAUTHENTICATED,
        "TOKEN_INVALID",
    ),
    "no scope": (
        lambda issuer: issuer.token(scope="wines.read"),
        Code.PERMISSION_DENIED,
        Code.PERMISSION_DENIED,
        "SCOPE_MISSING",
    ),
    "may read": (lambda issuer: issuer.token(scope=READ), Code.OK, Code.PERMISSION_DENIED, "SCOPE_MISSING"),
    "may write": (lambda issuer: issuer.token(scope=[WRITE]), Code.PERMISSION_DENIED, Code.OK, "SCOPE_MISSING"),
    "right": (lambda issuer: issuer.token(), Code.OK, Code.OK, ""),
    "within the leeway": (lambda issuer: issuer.token(exp=time.time() - 10), Code.OK, Code.OK, ""),
}


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "jwks.json")


@pytest.mark.parametrize("shown", MATRIX)
async def test_a_token_opens_what_it_is_for_and_nothing_else(amqp_uri: str, issuer: Issuer, shown: str) -> None:
    show, reading, writing, reason = MATRIX[shown]
    token = show(issuer)
    metadata = bearing(token) if token else []
    async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, tokens=issuer.rules()) as running:
        for call, code in (
            (running.beers.GetBeer(v1.GetBeerRequest(beer_id=1), metadata=metadata), reading),
            (running.beers.AddBeer(v1.AddBeerRequest(name="Jever"), metadata=metadata), writing),
        ):
            if code is Code.OK:
                assert (await call).beer.id == 1
                continue
            error = await refusal(call)
            found = details(error)
            assert error.code() is code
            assert found["ErrorInfo"].reason == reason
            assert set(found) == {"ErrorInfo"}
            assert set(found["ErrorInfo"].metadata) <= {"scope"}
            told = f"{error.details()}{found}{error.trailing_metadata()}"
            assert not token or token not in told
            assert "jwt" not in told.lower()
        ran = {call["method"] for call in service.calls} & {"get", "add"}
    assert ran == {name for name, code in (("get", reading), ("add", writing)) if code is Code.OK}
    assert not token or token not in str(running.lines)


def a_request_of_each_method(running: Any) -> dict[str, tuple[Callable[..., Any], str]]:
    beers, seed = running.beers, running.seed
    return {
        "AddBeer": (lambda **more: beers.AddBeer(v1.AddBeerRequest(name="a"), **more), WRITE),
        "RenameBeer": (lambda **more: beers.RenameBeer(v1.RenameBeerRequest(beer_id=1, name="a"), **more), WRITE),
        "UpdateBeer": (lambda **more: beers.UpdateBeer(v1.UpdateBeerRequest(beer_id=1, style="a"), **more), WRITE),
        "RemoveBeer": (lambda **more: beers.RemoveBeer(v1.RemoveBeerRequest(beer_id=1), **more), WRITE),
        "RestoreBeer": (lambda **more: beers.RestoreBeer(v1.RestoreBeerRequest(beer_id=1), **more), WRITE),
        "BatchAddBeers": (lambda **more: beers.BatchAddBeers(v1.BatchAddBeersRequest(), **more), WRITE),
        "ImportBeers": (lambda **more: beers.ImportBeers(iter([v1.ImportBeersRequest()]), **more), WRITE),
        "GetBeer": (lambda **more: beers.GetBeer(v1.GetBeerRequest(beer_id=1), **more), READ),
        "BatchGetBeers": (lambda **more: beers.BatchGetBeers(v1.BatchGetBeersRequest(), **more), READ),
        "ListBeers": (lambda **more: beers.ListBeers(v1.ListBeersRequest(), **more), READ),
        "ListBeerEvents": (lambda **more: beers.ListBeerEvents(v1.ListBeerEventsRequest(beer_id=1), **more), READ),
        "WatchBeers": (lambda **more: first(beers.WatchBeers(v1.WatchBeersRequest(), **more)), READ),
        "Add": (lambda **more: seed.Add(pb.BeerAddRequest(name="a"), **more), WRITE),
        "Remove": (lambda **more: seed.Remove(pb.BeerRemoveRequest(id=1), **more), WRITE),
    }


async def first(stream: Any) -> Any:
    return await stream.read()


async def test_each_method_of_both_contracts_asks_for_its_scope(issuer: Issuer) -> None:
    async with running_bridge(NOWHERE, wait=False, tokens=issuer.rules()) as running:
        methods = a_request_of_each_method(running)
        described = [
            *v1.DESCRIPTOR.services_by_name["BeersService"].methods,
            *pb.DESCRIPTOR.services_by_name["Beers"].methods,
        ]
        assert {method.name for method in described} == set(methods)
        for name, (call, scope) in methods.items():
            (other,) = SCOPES - {scope}
            error = await refusal(call())
            assert error.code() is Code.UNAUTHENTICATED, name
            error = await refusal(call(metadata=bearing(issuer.token(scope=other))))
            assert error.code() is Code.PERMISSION_DENIED, name
            assert dict(details(error)["ErrorInfo"].metadata) == {"scope": scope}, name


async def test_health_is_open_to_everybody_and_reflection_by_option(issuer: Issuer) -> None:
    async def reflected(running: Any, *, metadata: Any = ()) -> Any:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(running.channel)
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        stream = stub.ServerReflectionInfo(iter([ask]), timeout=5, metadata=metadata)
        return await stream.read()

    async with running_bridge(NOWHERE, wait=False, tokens=issuer.rules()) as running:
        assert await running.check("liveness") == SERVING
        assert (await reflected(running)).list_services_response.service
    async with running_bridge(NOWHERE, wait=False, tokens=issuer.rules(), open_reflection=False) as running:
        assert await running.check("liveness") == SERVING
        error = await refusal(reflected(running))
        assert error.code() is Code.UNAUTHENTICATED
        assert details(error)["ErrorInfo"].reason == "TOKEN_MISSING"
        known = await reflected(running, metadata=bearing(issuer.token(scope=READ)))
        assert known.list_services_response.service


async def test_a_shared_secret_is_as_good_as_a_published_key(amqp_uri: str, issuer: Issuer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    good = jwt.encode(claims(), SECRET, "HS256")
    async with (
        scripted_service(amqp_uri),
        running_bridge(amqp_uri, tokens=issuer.rules(keys=secret, shared=True)) as running,
    ):
        request = v1.GetBeerRequest(beer_id=1)
        assert (await running.beers.GetBeer(request, metadata=bearing(good))).beer.id == 1
        for bad in (
            jwt.encode(claims(), SECRET * 2, "HS256"),
            jwt.encode(claims(), SECRET * 2, "HS512"),
            issuer.token(),
        ):
            error = await refusal(running.beers.GetBeer(request, metadata=bearing(bad)))
            assert error.code() is Code.UNAUTHENTICATED


async def test_keys_are_taken_from_the_file_as_it_is_and_old_tokens_end_with_them(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpc_bridge.auth._LOOK_EVERY", 0.0)
    async with running_bridge(NOWHERE, wait=False, tokens=issuer.rules()) as running:

        async def code(token: str) -> grpc.StatusCode:
            call = running.beers.AddBeer(v1.AddBeerRequest(name="a"), metadata=bearing(token), timeout=1)
            return (await refusal(call)).code()

        old = issuer.token()
        assert await code(old) is not Code.UNAUTHENTICATED  # it is let in, and finds no service
        issuer.file.write_text("{half a file")
        assert await code(old) is not Code.UNAUTHENTICATED
        renewed = Issuer(issuer.file, "key-2")
        assert await code(old) is Code.UNAUTHENTICATED
        assert await code(renewed.token()) is not Code.UNAUTHENTICATED
        (line,) = [line for line in running.lines if line["event"] == "keys of tokens changed and cannot be used"]
    assert line["log_level"] == "warning"


async def test_a_stream_ends_when_its_token_does(amqp_uri: str, issuer: Issuer) -> None:
    rules = issuer.rules(leeway=0)
    async with scripted_service(amqp_uri), running_bridge(amqp_uri, tokens=rules) as running:
        metadata = bearing(issuer.token(exp=time.time() + 2))
        watch = running.beers.WatchBeers(v1.WatchBeersRequest(), metadata=metadata)
        assert (await first(watch)).HasField("caught_up")
        never = asyncio.Event()

        async def chunks() -> Any:
            await never.wait()
            yield v1.ImportBeersRequest()

        loading = running.beers.ImportBeers(chunks(), metadata=metadata)
        async with asyncio.timeout(10):
            for error in (await refusal(drained(watch)), await refusal(loading)):
                assert error.code() is Code.UNAUTHENTICATED
                assert details(error)["ErrorInfo"].reason == "TOKEN_EXPIRED"


async def drained(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_the_log_tells_who_called_and_why_somebody_was_not_let_in(amqp_uri: str, issuer: Issuer) -> None:
    async with scripted_service(amqp_uri), running_bridge(amqp_uri, tokens=issuer.rules()) as running:
        await running.beers.AddBeer(v1.AddBeerRequest(name="a"), metadata=bearing(issuer.token(sub="till 3")))
        wrong = bearing(issuer.token(aud="wines"))
        await refusal(running.beers.AddBeer(v1.AddBeerRequest(name="a"), metadata=wrong))
        added, refused = running.calls_logged()
    assert added["identity"] == "till 3"
    assert (refused["code"], refused["fault"]) == ("UNAUTHENTICATED", "InvalidAudienceError")


@pytest.mark.parametrize(
    ("clients", "with_tokens", "reading", "writing"),
    [
        ({"*": SCOPES}, False, Code.OK, Code.OK),
        ({"till": frozenset({READ})}, False, Code.OK, Code.PERMISSION_DENIED),
        ({"till": frozenset({READ}), "*": SCOPES}, False, Code.OK, Code.PERMISSION_DENIED),
        ({"shop": SCOPES}, False, Code.UNAUTHENTICATED, Code.UNAUTHENTICATED),
        ({}, True, Code.UNAUTHENTICATED, Code.UNAUTHENTICATED),
        ({"till": SCOPES}, True, Code.OK, Code.OK),
    ],
)
async def test_a_certificate_is_an_identity_as_well(
    amqp_uri: str, authority: Authority, issuer: Issuer,
    clients: Any, with_tokens: Any, reading: grpc.StatusCode, writing: grpc.StatusCode,
) -> None:  # fmt: skip
    tls = TlsFiles(*authority.issue("bridge"), client_ca=authority.file)
    given = {"tls": tls, "clients": clients, "tokens": issuer.rules() if with_tokens else None}
    async with (
        scripted_service(amqp_uri),
        running_bridge(amqp_uri, **given) as running,
        client(running.target, authority.file, authority.issue("till")) as channel,
    ):
        assert await code_of(get(channel)) is reading
        add: Any = channel.unary_unary(
            "/beers.v1.BeersService/AddBeer", request_serializer=v1.AddBeerRequest.SerializeToString
        )
        assert await code_of(add(v1.AddBeerRequest(name="a"))) is writing
        if with_tokens:
            metadata = bearing(issuer.token(scope=WRITE))
            assert await code_of(add(v1.AddBeerRequest(name="a"), metadata=metadata)) is Code.OK
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert await code_of(health.Check(health_pb2.HealthCheckRequest())) is Code.OK


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return Code.OK


def test_settings_that_contradict_each_other_are_refused_by_their_names() -> None:
    given = GIVEN | {"HOST": "127.0.0.1"}
    tokens = {"TOKEN_JWKS": "jwks.json", "TOKEN_ISSUER": ISSUER, "TOKEN_AUDIENCE": AUDIENCE}
    for wrong, named in (
        (tokens | {"TOKEN_SECRET_FILE": "secret"}, "TOKEN_SECRET_FILE"),
        (tokens | {"TOKEN_ISSUER": None}, "TOKEN_ISSUER"),
        (tokens | {"TOKEN_AUDIENCE": None}, "TOKEN_AUDIENCE"),
        ({"TOKEN_ISSUER": ISSUER}, "TOKEN_JWKS"),
        (tokens | {"TOKEN_LEEWAY": -1}, "TOKEN_LEEWAY"),
        (TLS | {"TLS_CLIENTS": {"*": "beers.read"}}, "TLS_CLIENT_CA"),
        (MUTUAL | {"TLS_CLIENTS": "till"}, "TLS_CLIENTS"),
        (MUTUAL | {"TLS_CLIENTS": {"till": "beers.drink"}}, "TLS_CLIENTS: the scopes of till"),
    ):
        with pytest.raises(ConfigurationError, match=named):
            settings(given | wrong)
    assert settings(given | MUTUAL).clients == {"*": SCOPES}
    assert settings(given | MUTUAL | tokens).clients == {}
    assert settings(given | tokens).clients is None
    assert settings(given | MUTUAL | {"TLS_CLIENTS": {"till": "beers.read"}}).clients == {"till": frozenset({READ})}
    assert settings(given | TLS | tokens | {"HOST": EVERYWHERE}).host == EVERYWHERE
    with pytest.raises(ConfigurationError, match="without TLS"):
        settings(given | tokens | {"HOST": EVERYWHERE})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[]", "is no JWKS"),
        ('{"keys": []}', "holds no key"),
        ('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "must be an RSA"),
        ('{"keys": [{"kty": "EC", "crv": "P-256", "x": "secret", "y": "secret"}]}', "is malformed"),
        ('{"keys": [{"kty": "EC", "crv": "P-256", "d": "secret"}]}', "is a private key"),
        ('{"keys": [{"kty": "EC", "crv": "P-256", "alg": "HS256"}]}', "of its kind"),
        ('{"keys": [{"kid": 5}]}', "needs a kid of its own"),
        ('{"keys": "secret"}', "is no JWKS"),
    ],
)
def test_a_jwks_that_is_none_is_told_in_one_line_without_its_content(
    tmp_path: Path, content: str, expected: str
) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        Keys(file, None, shared=False)  # type: ignore[arg-type] # it logs changes only
    assert expected in str(caught.value)
    assert "TOKEN_JWKS" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_secret_that_is_short_or_away_stops_the_start_with_one_line(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("hush")
    for file, expected in ((short, "at least 32 bytes"), (tmp_path / "away", "cannot read")):
        refused = refused_start(0, TOKEN_SECRET_FILE=str(file), TOKEN_ISSUER=ISSUER, TOKEN_AUDIENCE=AUDIENCE)
        assert refused.returncode == 78
        (line,) = refused.stderr.decode().splitlines()
        assert expected in line
        assert "hush" not in line
