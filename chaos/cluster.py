"""`python -m chaos.cluster`: the whole product on a cluster of three brokers whose leader is killed under load.

The node that leads the queue of the calls is killed with `kill -9` and comes back a few seconds later; when every queue
has all its members again, the next leader goes, and so on. Then everything is read back, as `make chaos` does.
"""

import argparse
import json
import shutil
import signal
import sys
import time
import warnings
from functools import partial
from pathlib import Path

# README says openly what eventlet, which Nameko's client loads, says here at every start.
warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")

from beers_runtime.topology import RPC_QUEUE  # noqa: E402
from chaos import brokers, report  # noqa: E402
from chaos.nemesis import Nemesis  # noqa: E402
from chaos.run import Options, run  # noqa: E402
from chaos.schedule import KILL, Fault  # noqa: E402
from chaos.stage import ROOT, Cast, Stage  # noqa: E402

BEFORE = 5.0
"""Seconds of load before each kill."""

DOWN = 4.0
"""Seconds until a node that was killed is started again."""

WHOLE_PATIENCE = 120.0
"""Seconds within which the cluster has to be whole again after that."""

EXIT_INTERRUPTED = 130


def main() -> int:
    """Run it once; the exit status is 0 only if nothing was lost and all else is well, and 1 if it is not."""
    parser = argparse.ArgumentParser(prog="python -m chaos.cluster", allow_abbrev=False, description=__doc__)
    parser.add_argument("--kills", type=int, default=3, help="leaders that are killed (%(default)s)")
    parser.add_argument("--nodes", type=int, default=3, help="nodes of the cluster (%(default)s)")
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--services", type=int, default=2, help="processes of the service (%(default)s)")
    parser.add_argument("--bridges", type=int, default=2, help="bridges (%(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="clients that call at the same time (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="decides what the clients call (%(default)s)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where the files go (build/chaos/cluster)")
    arguments = parser.parse_args()
    if arguments.nodes < 3:  # noqa: PLR2004 - of fewer none can go without taking the majority along
        parser.error("--nodes must be at least 3")
    options = Options(
        seed=arguments.seed,
        seconds=arguments.kills * (BEFORE + DOWN),
        cast=Cast(arguments.store, arguments.services, arguments.bridges, brokers=arguments.nodes),
        clients=arguments.clients,
        think=0.03,
    )
    folder = arguments.output or ROOT / "build" / "chaos" / "cluster"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # A supervisor's signal takes down what was started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say(f"{arguments.nodes} nodes, {arguments.kills} kills, {arguments.store}; files in {folder}")
    try:
        result = run(options, folder.resolve(), say, partial(kill_leaders, arguments.kills))
    except KeyboardInterrupt:
        say("interrupted; everything that was started has been stopped")
        return EXIT_INTERRUPTED
    (folder / "result.json").write_text(json.dumps(report.document(options, result), indent=1), encoding="utf-8")
    say(report.table(options, result))
    pauses = ", ".join(f"{pause:.1f} s" for pause in result.silences)
    say(f"longest time without an answer around each kill: {pauses}")
    print(report.line(options, result), flush=True)
    return 0 if result.verdict.ok else 1


def kill_leaders(kills: int, nemesis: Nemesis, stage: Stage, began: float) -> None:
    """Kill the node that leads the queue of the calls, so often, each time after the cluster has become whole again."""
    for _ in range(kills):
        nemesis.watch(BEFORE, lambda: False)
        name = brokers.leader(stage.nodes, RPC_QUEUE)
        at = time.monotonic() - began
        fault = Fault(at, KILL, name, DOWN)
        nemesis.begin(fault, at)
        nemesis.watch(DOWN, lambda: False)
        nemesis.end(fault)
        if not nemesis.watch(WHOLE_PATIENCE, lambda: brokers.is_whole(stage.nodes), pause=1.0):
            nemesis.incidents.append(f"the cluster was not whole within {WHOLE_PATIENCE:g} s after the kill of {name}")
            return
        say(f"{time.monotonic() - began:7.2f} s  {name} is back, and every queue has all its members")


def say(text: str) -> None:
    """Print a line for people, beside the one for programs."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
