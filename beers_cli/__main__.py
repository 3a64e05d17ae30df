"""The program `beers`."""

import os
import sys
from typing import NoReturn

from beers_cli.application import application
from beers_cli.failure import INTERRUPTED, Failure
from beers_cli.options import report

_REFUSED = 1
_MISUSED = 2


def main() -> NoReturn:
    """Run the command line, and end with its exit status.

    0: done. 1: the service refused or failed, or nobody reads what is printed. 2: wrong usage. 130: interrupted.
    """
    try:
        status = _run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        # What is still buffered has nowhere to go, also when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = _REFUSED
    if status == INTERRUPTED:
        # Without waiting for gRPC's threads: one of them may wait for a call that Ctrl-C has cut off.
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _run() -> int:
    as_json = "--json" in sys.argv
    try:
        application(prog_name="beers")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except Failure as failure:
        report(failure, as_json=as_json)
        return _REFUSED
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except UnicodeEncodeError:
        hint = "Type it anew, in a terminal that writes UTF-8."
        report(Failure("An argument holds bytes that are no text in UTF-8.", hint), as_json=as_json)
        return _MISUSED
    except Exception as error:  # whatever it is, it is told in one line
        if os.environ.get("BEERS_DEBUG"):
            raise
        hint = "This is a bug of the command line. BEERS_DEBUG=1 in the environment shows where."
        report(Failure(f"{type(error).__name__}: {error}", hint), as_json=as_json)
        return _REFUSED
    return 0


if __name__ == "__main__":
    main()
