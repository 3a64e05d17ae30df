"""`beers health`: whether the service can do its work, as the bridge says by the gRPC health protocol."""

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from beers_cli.access import Calling
from beers_cli.failure import Failure
from beers_cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT,
    Address,
    AsJson,
    Timeout,
    load_grpc,
    print_json,
)
from beers_cli.presentation import console

if TYPE_CHECKING:
    import grpc

SERVICE = "beers.v1.BeersService"
_LIVENESS = "liveness"
_ASKED = {
    SERVICE: "the catalogue: broker, service and store",
    "pb.Beers": "the original's two calls, by the same way",
    _LIVENESS: "the bridge itself",
}

commands = typer.Typer()


@commands.command(cls=Calling)
def health(
    *,
    wait: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Wait up to so long until it serves.")] = 0,
    liveness: Annotated[
        bool, typer.Option("--liveness", help="Exit with 0 as long as the bridge itself works, whatever else is away.")
    ] = False,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Tell whether the service can do its work: exit status 0 if it can, 1 if not."""
    if wait and liveness:
        raise typer.BadParameter("exclude each other", param_hint="'--wait' and '--liveness'")
    load_grpc()
    from beers_cli.client import open_channel  # noqa: PLC0415 - see load_grpc

    with open_channel(address) as channel:
        if wait and not wait_until_serving(channel, wait):
            raise Failure(
                f"{address} was not serving within {wait:g} s.", "The logs of `beers up` say what is missing."
            )
        statuses = {name: _status(channel, name, address, timeout) for name in _ASKED}
    serving = statuses[SERVICE] == "SERVING"
    well = statuses[_LIVENESS] == "SERVING" if liveness else serving
    if as_json:
        print_json({"address": address, "serving": serving, "services": statuses})
    else:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("SERVICE", "STATUS", "WHAT IT IS"):
            table.add_column(column)
        for name, status in statuses.items():
            style = "green" if status == "SERVING" else "red"
            table.add_row(name, Text(status, style=style), Text(_ASKED[name]))
        console().print(table)
    if not well:
        raise typer.Exit(1)


def wait_until_serving(channel: "grpc.Channel", seconds: float) -> bool:
    """Wait until the catalogue behind *channel* serves, also for the first connection; tell whether it came to it."""
    import grpc  # noqa: PLC0415 - see load_grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    stub = health_pb2_grpc.HealthStub(channel)
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        changes = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=left, wait_for_ready=True)
        try:
            for change in changes:
                if change.status == health_pb2.HealthCheckResponse.SERVING:
                    changes.cancel()
                    return True
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:  # the bridge was started again: look again
                return False
    return False


def _status(channel: "grpc.Channel", name: str, address: str, timeout: float) -> str:
    import grpc  # noqa: PLC0415 - see load_grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    from beers_cli.client import explained  # noqa: PLC0415
    from beers_cli.problem import Problem  # noqa: PLC0415

    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=timeout)
    except grpc.RpcError as error:
        problem = Problem.of(error)
        if problem.code is grpc.StatusCode.NOT_FOUND:
            return "UNKNOWN"
        raise explained(problem, address, timeout) from error
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
