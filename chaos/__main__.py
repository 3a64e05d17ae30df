"""`python -m chaos`, and what `make chaos` runs."""

import argparse
import json
import random
import shutil
import signal
import sys
import warnings
from pathlib import Path

# README says openly what eventlet, which Nameko's client loads, says here at every start.
warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")

from chaos import report  # noqa: E402
from chaos.run import Options, run  # noqa: E402
from chaos.schedule import SHORTEST  # noqa: E402
from chaos.stage import ROOT, Cast  # noqa: E402

LONG = 600.0
EXIT_INTERRUPTED = 130


def main() -> int:
    """Run it once; the exit status is 0 only if all is well, and 1 if it is not."""
    parser = argparse.ArgumentParser(prog="python -m chaos", allow_abbrev=False, description=__doc__)
    parser.add_argument("--seed", type=int, help="decides what is done and when; drawn and printed if it is not given")
    parser.add_argument("--seconds", type=float, help=f"how long it lasts ({LONG:g}; {SHORTEST:g} with --short)")
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--services", type=int, help="processes of the service (2; 1 with --short)")
    parser.add_argument("--bridges", type=int, help="bridges (2; 1 with --short)")
    parser.add_argument("--clients", type=int, default=8, help="clients that call at the same time (%(default)s)")
    parser.add_argument(
        "--think", type=float, default=0.03, metavar="SECONDS", help="between two calls of a client (%(default)s)"
    )
    parser.add_argument("--short", action="store_true", help="half a minute in all, one process of each part")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where the files go (build/chaos/SEED)")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    several = 1 if arguments.short else 2
    seconds = arguments.seconds or (SHORTEST if arguments.short else LONG)
    if seconds < SHORTEST:
        parser.error(f"--seconds must be at least {SHORTEST:g}")
    options = Options(
        seed=seed,
        seconds=seconds,
        cast=Cast(arguments.store, arguments.services or several, arguments.bridges or several),
        clients=arguments.clients,
        think=arguments.think,
    )
    folder = arguments.output or ROOT / "build" / "chaos" / str(seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # A supervisor's signal takes down what was started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say(f"seed {seed}, {options.seconds:g} s, {options.cast.store}; files in {folder}")
    try:
        result = run(options, folder.resolve(), say)
    except KeyboardInterrupt:
        say("interrupted; everything that was started has been stopped")
        return EXIT_INTERRUPTED
    (folder / "result.json").write_text(json.dumps(report.document(options, result), indent=1), encoding="utf-8")
    say(report.table(options, result))
    print(report.line(options, result), flush=True)
    return 0 if result.verdict.ok else 1


def say(text: str) -> None:
    """Print a line for people, beside the one for programs."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
