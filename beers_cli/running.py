"""`beers service` and `beers bridge`: one process of the product, in the place of this one.

For whoever supervises processes by himself, as a container does. `beers up` runs all of them on one machine.
"""

import os
import sys
from typing import NoReturn

import typer

commands = typer.Typer()


@commands.command()
def service() -> None:
    """Run the Nameko service, configured by config.yaml and the environment, until SIGTERM."""
    _become("beers_service")


@commands.command()
def bridge() -> None:
    """Run the gRPC bridge, configured by config.yaml and the environment, until SIGTERM."""
    _become("grpc_bridge")


def _become(module: str) -> NoReturn:
    # Not a child: signals, exit status and standard output are those of the process itself.
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606 - nothing of it comes from outside
