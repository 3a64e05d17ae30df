"""`python -m fuzz`, and what `make fuzz` runs."""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from fuzz import judging, report
from fuzz.ground import ROOT, Ground
from fuzz.run import Options, Result, run
from tests.e2e.running import Product

REQUESTS = 100_000
SHORT = 2500
PER_CONNECTION, PER_MESSAGE = 40, 10
"""How many requests there are for each connection of garbage, and for each message."""

EXIT_INTERRUPTED = 130


def main() -> int:
    """Run it once; the exit status is 0 only if all held, and 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", allow_abbrev=False, description=__doc__)
    parser.add_argument("--seed", type=int, help="decides what is sent; drawn and printed if it is not given")
    parser.add_argument("--requests", type=int, help=f"to the bridge ({REQUESTS:,}; {SHORT:,} with --short)")
    parser.add_argument("--short", action="store_true", help="a few seconds")
    parser.add_argument(
        "--on", type=Path, metavar="FOLDER", help="the data of a product that runs, instead of one of its own"
    )
    parser.add_argument("--address", default="127.0.0.1:8000", help="where that one listens (%(default)s)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where the files go (build/fuzz/SEED)")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    requests = arguments.requests or (SHORT if arguments.short else REQUESTS)
    options = Options(seed, requests, requests // PER_CONNECTION, requests // PER_MESSAGE)
    folder = (arguments.output or ROOT / "build" / "fuzz" / str(seed)).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # A supervisor's signal takes down what was started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say(f"seed {seed}, {requests:,} requests; files in {folder}")
    try:
        result = _result(arguments.on, arguments.address, options, folder)
    except KeyboardInterrupt:
        say("interrupted; everything that was started has been stopped")
        return EXIT_INTERRUPTED
    line = report.line(options, result)
    (folder / "result.json").write_text(f"{line}\n", encoding="utf-8")
    say(report.table(result))
    print(line, flush=True)
    return 1 if result.findings else 0


def _result(on: Path | None, address: str, options: Options, folder: Path) -> Result:
    if on is not None:
        return uvloop.run(run(_ground(on, address), options, folder, say))
    with _product(folder) as (product, ground):
        result = uvloop.run(run(ground, options, folder, say))
        for text in product.running.lines:
            if what := judging.exception(text):
                result.findings[what] = result.findings.get(what, 0) + 1
    return result


def _ground(data: Path, address: str) -> Ground:
    port = json.loads((data / "rabbitmq" / "ports.json").read_text(encoding="utf-8"))["amqp"]
    return Ground(data.resolve(), address, f"amqp://guest:guest@127.0.0.1:{port}/")


@contextmanager
def _product(folder: Path) -> Iterator[tuple[Product, Ground]]:
    """Start a product, with a subscriber of the kit beside it; what it prints goes to *folder* in the end."""
    with tempfile.TemporaryDirectory(prefix="beers-fuzz-") as scratch:
        product = Product(Path(scratch), TAPLIST_DATABASE_URL=f"sqlite:///{scratch}/taplist.db")
        say("starting the product")
        try:
            product.start("--with", "examples.taplist:TapList")
            yield product, _ground(product.data, product.environment["BEERS_ADDRESS"])
        finally:
            product.stop()
            (folder / "product.log").write_text("\n".join(product.running.lines), encoding="utf-8")


def say(text: str) -> None:
    """Print a line for people, beside the one for programs."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
