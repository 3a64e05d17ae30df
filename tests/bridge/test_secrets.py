"""What is secret stays so: in the log, in errors, and in the list of processes."""

from pathlib import Path

import grpc
import jwt

from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc
from tests.bridge.running_bridge import refusal
from tests.bridge.test_process import PATIENCE, process
from tests.bridge.tokens import AUDIENCE, ISSUER, SECRET, bearing, claims


async def test_no_secret_leaves_a_bridge_that_logs_all_it_can(port: int, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    good = jwt.encode(claims(), SECRET, "HS256")
    expired = jwt.encode(claims(exp=1), SECRET, "HS256")
    password = "s3cret-of-the-broker"
    given = {"TOKEN_SECRET_FILE": str(secret), "TOKEN_ISSUER": ISSUER, "TOKEN_AUDIENCE": AUDIENCE}
    said = ""
    with process(port, f"amqp://beers:{password}@127.0.0.1:1/", LOG_LEVEL="DEBUG", **given) as bridge:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            beers: v1_grpc.BeersServiceAsyncStub = v1_grpc.BeersServiceStub(channel)
            for token in (good, expired, f"{good}x", f"{good} {good}", "hush"):
                request = v1.AddBeerRequest(name="a")
                error = await refusal(beers.AddBeer(request, metadata=bearing(token), timeout=1))
                said += f"{error.code()} {error.details()} {error.trailing_metadata()}"
        said += Path(f"/proc/{bridge.pid}/cmdline").read_text()  # noqa: ASYNC240 - not a file of any disk
        bridge.terminate()
        out, err = bridge.communicate(timeout=PATIENCE)
        said += out.decode() + err.decode()
    assert "UNAUTHENTICATED" in said
    assert '"identity":"shop"' in said
    assert said.count("hush") == 0
    for hidden in (SECRET, password, good, expired, *good.split(".")):
        assert hidden not in said
