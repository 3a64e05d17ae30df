"""`beers service` and `beers bridge`: one process of the product, in the place of this one.

For whoever supervises processes by himself, as a container does. `beers up` runs all of them on one machine.
"""

import os
import sys
from typing import NoReturn

import typer

from beers_cli import processes

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
    environment = processes.finding_us(os.environ)
    os.execve(sys.executable, [sys.executable, "-m", module], environment)  # noqa: S606 - nothing comes from outside
