"""`python -m grpc_bridge [--config FILE]`: run the bridge.

It ends with 0 once it has been told to stop (SIGTERM, SIGINT) and has drained; with 78 if it cannot start as
configured, which trying again does not change; with 1 after a bug, and on a second signal at once.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import uvloop

from beers_runtime import configuration, logs
from grpc_bridge.server import Bridge, CannotListen
from grpc_bridge.settings import Settings, settings


def main(arguments: list[str] | None = None) -> int:
    """Run the bridge until told to stop, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m grpc_bridge", description="The gRPC bridge of beers.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="instead of $BEERS_CONFIG or ./config.yaml")
    options = parser.parse_args(arguments)
    try:
        return uvloop.run(_run(settings(configuration.load(options.config))))
    except (configuration.ConfigurationError, CannotListen) as error:
        print(f"beers bridge: {error}", file=sys.stderr)  # noqa: T201 - before and beside the log
        return configuration.EXIT_CONFIGURATION


async def _run(configured: Settings) -> int:
    logger = logs.configure(process="bridge", level=configured.log_level, style=configured.log_format)
    # It tells each failed attempt to connect with a traceback; we tell the change.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    bridge = Bridge(configured, logger)
    stop = asyncio.Event()
    _stop_on_signals(stop)
    await bridge.start()
    return 0 if await bridge.run(stop) else 1


def _stop_on_signals(stop: asyncio.Event) -> None:
    def told() -> None:
        if stop.is_set():
            os._exit(1)  # the second time means now
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)


if __name__ == "__main__":
    sys.exit(main())
