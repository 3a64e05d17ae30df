"""Runs the service: ``python -m beers_service``; with ``--service module:Class`` any other Nameko service.

It does what ``nameko run`` does and what that lacks: the logs, a limit to the time that stopping may take, a second
signal that does not wait, one line instead of a traceback when the configuration is at fault.
"""

import warnings

# README says openly what eventlet says here at every start.
warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")

import eventlet  # noqa: E402
import eventlet.debug  # noqa: E402

eventlet.monkey_patch()
# What a green thread raises reaches whoever waits for it; the hub need not print it as well.
eventlet.debug.hub_exceptions(False)  # noqa: FBT003 - its only argument

# Everything below has to find the patched modules.
import argparse  # noqa: E402
import gc  # noqa: E402
import importlib  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from prometheus_client import REGISTRY  # noqa: E402

from beers_runtime import configuration  # noqa: E402
from beers_runtime.configuration import EXIT_CONFIGURATION, ConfigurationError  # noqa: E402
from beers_runtime.metrics import Exporter, describe_process  # noqa: E402
from beers_runtime.topology import SERVICE  # noqa: E402
from beers_runtime.tracing_settings import FLUSH  # noqa: E402
from beers_service.service import BeersService  # noqa: E402
from beers_service.spans import tracing_of  # noqa: E402
from beers_service.transport import logger_of  # noqa: E402
from beers_service.workers import Container  # noqa: E402

GARBAGE = 20_000
"""Objects that may come to be, and stay, before the collector looks for cycles among them: some megabytes."""


def main() -> int:
    """Run the service until a signal stops it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m beers_service", description="Run the Nameko service of beers.")
    parser.add_argument("--config", type=Path, help="the configuration file (default: config.yaml)")
    parser.add_argument("--service", metavar="MODULE:CLASS", help="another Nameko service, to be run in its place")
    arguments = parser.parse_args()
    try:
        config = configuration.load(arguments.config)
        return _serve(config, _service_class(arguments.service) if arguments.service else BeersService)
    except ConfigurationError as error:
        sys.stderr.write(f"beers: {error}\n")
        return EXIT_CONFIGURATION


def _service_class(name: str) -> Any:
    """Return the Nameko service that *name*, a module and a class, names."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"--service {name}: {error}") from error
    if not isinstance(found, type) or not isinstance(getattr(found, "name", None), str):
        raise ConfigurationError(f"--service {name} must name a class with a name, as in examples.taplist:TapList")
    return found


def _serve(config: dict[str, object], service_class: Any) -> int:
    configuration.integer(config, "max_workers", 1, 10_000)
    grace = configuration.number(config, "GRACE", 0, 3600)
    ours = service_class is BeersService
    logger = logger_of(config, "service" if ours else service_class.name)
    # Ours exports by itself, also under `nameko run`; others count in the registry of the process.
    address = None if ours else configuration.metrics_address(config)
    if address is not None:
        describe_process(REGISTRY, service_class.name)
        Exporter(REGISTRY, address, logger)
    tracing = tracing_of(config, f"{SERVICE}-service" if ours else service_class.name, logger)
    container = Container(service_class, config)
    started = stopping = False
    last = float("inf")

    def stop_when_told() -> None:
        nonlocal last
        signalled.recv(1)
        last = time.monotonic() + grace
        if not started:
            # It waits for the store, and has nothing in hand.
            logger.info("service stopped before it had started")
            os._exit(0)
        try:
            with eventlet.Timeout(grace, exception=False):
                container.stop()
                return
            logger.warning("stopping took too long; what was not answered will be delivered again", grace=grace)
        except Exception:
            logger.exception("stopping failed; what was not answered will be delivered again")
        os._exit(1)

    def on_signal(_number: int, _frame: object) -> None:
        nonlocal stopping
        if stopping:
            os._exit(1)
        stopping = True

    # A signal handler runs in the middle of anything, and what it schedules the hub finds only when it next wakes. So
    # the work is a green thread's, and what wakes it is the byte that the interpreter writes at a signal.
    signalled, wakeup = socket.socketpair()
    wakeup.setblocking(False)  # noqa: FBT003 - its only argument
    signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    eventlet.spawn_n(stop_when_told)
    container.start()
    # What has been made so far stays: the collector need not look at it again and again. What a call makes is freed as
    # it ends, without the collector, but for the tracebacks of failures.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    started = True
    logger.info("service started", name=container.service_name, pid=os.getpid())
    container.wait()
    tracing.close(max(0.0, min(FLUSH, last - time.monotonic())))
    logger.info("service stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
