"""`python -m grpc_bridge [--config FILE]`: run the bridge.

It ends with 0 once it has been told to stop (SIGTERM, SIGINT) and has drained; with 78 if it cannot start as
configured, which trying again does not change; with 1 after a bug, and on a second signal at once.
"""

import argparse
import asyncio
import gc
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import uvloop

from beers_runtime import configuration, logs
from grpc_bridge import grpc_environment  # noqa: F401 - before gRPC is loaded
from grpc_bridge.server import Bridge, CannotListen
from grpc_bridge.settings import Settings, settings

_YOUNG = 20_000
"""How many objects may be made before the collector looks for cycles among them; calls make few, and many objects."""


def main(arguments: list[str] | None = None) -> int:
    """Run the bridge until told to stop, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m grpc_bridge", description="The gRPC bridge of beers.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="instead of $BEERS_CONFIG or ./config.yaml")
    options = parser.parse_args(arguments)
    _give_way()
    try:
        return uvloop.run(_run(settings(configuration.load(options.config))))
    except (configuration.ConfigurationError, CannotListen) as error:
        print(f"beers bridge: {error}", file=sys.stderr)  # noqa: T201 - before and beside the log
        return configuration.EXIT_CONFIGURATION


async def _run(configured: Settings) -> int:
    logger = logs.configure(process="bridge", level=configured.log_level, style=configured.log_format)
    # A file that is written to for each call takes a fifteenth of what can be carried (docs/decisions/0038).
    with logs.turn_by_turn(logger, asyncio.get_running_loop()):
        bridge = Bridge(configured, logger)
        stop = asyncio.Event()
        _stop_on_signals(stop)
        await bridge.start()
        _collect_less()
        return 0 if await bridge.run(stop) else 1


def _give_way() -> None:
    """Have no thread of this process interrupt another one, nor be woken in the midst of a burst.

    gRPC wakes a thread of its own several times a call; where that takes the processor from the thread that serves the
    calls, a tenth of the time or more goes into switching. Threads take it over from who starts them.
    """
    if hasattr(os, "sched_setscheduler"):
        with suppress(OSError):  # a sandbox may forbid it; then it is only slower
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _collect_less() -> None:
    """Spare the garbage collector what has been made to stay, and have it run once for many calls."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])


def _stop_on_signals(stop: asyncio.Event) -> None:
    def told() -> None:
        if stop.is_set():
            os._exit(1)  # the second time means now
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)


if __name__ == "__main__":
    sys.exit(main())
