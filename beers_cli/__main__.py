"""The program `beers`."""

import codecs
import errno
import io
import os
import sys
from typing import NoReturn, TextIO

# The rest is loaded where Ctrl-C is already listened to: that takes long enough to be interrupted.
from beers_cli.failure import INTERRUPTED, Failure

_REFUSED = 1
_MISUSED = 2
_CANNOT_PRINT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main() -> NoReturn:
    """Run the command line, and end with its exit status.

    0: done. 1: the service refused or failed, or nobody reads what is printed. 2: wrong usage. 130: interrupted.
    """
    try:
        status = _run()
    except KeyboardInterrupt:
        status = INTERRUPTED
    if status == INTERRUPTED:
        # Without waiting for gRPC's threads: one of them may wait for a call that Ctrl-C has cut off.
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _run() -> int:
    from beers_cli.options import report  # noqa: PLC0415 - see above

    as_json = "--json" in sys.argv
    try:
        if _replace_closed_streams():
            report(Failure("Standard output is closed."), as_json=as_json)
            return _REFUSED
        _print_what_can_be_printed()
        status = _obey(as_json=as_json)
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        return _REFUSED
    except OSError as error:
        _forget_output()
        report(Failure(f"Cannot write to standard output: {error.strerror}."), as_json=as_json)
        return _REFUSED
    return status


def _obey(*, as_json: bool) -> int:
    """Do what the arguments say and return the exit status; raises OSError if it cannot be printed."""
    from beers_cli.application import application  # noqa: PLC0415 - see above
    from beers_cli.options import report  # noqa: PLC0415 - see above

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
        if isinstance(error, OSError) and error.errno in _CANNOT_PRINT and error.filename is None:
            raise
        if os.environ.get("BEERS_DEBUG"):
            raise
        hint = "This is a bug of the command line. BEERS_DEBUG=1 in the environment shows where."
        report(Failure(f"{type(error).__name__}: {error}", hint), as_json=as_json)
        return _REFUSED
    return 0


def _replace_closed_streams() -> bool:
    """Put something in the place of streams that were closed before we began; tell whether standard output was."""
    if sys.stderr is None:
        sys.stderr = _nowhere()
    if sys.stdout is not None:
        return False
    sys.stdout = _nowhere()
    return True


def _print_what_can_be_printed() -> None:
    """Put a question mark for what the terminal's encoding has not: the beer was added all the same."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors="replace")


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - pathlib takes long to load; open to the end


def _forget_output() -> None:
    """Let go of what is still buffered: it has nowhere to go, also when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
