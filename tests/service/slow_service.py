"""A service on our transport whose calls take their time and leave a trace of every run."""

import time
from pathlib import Path

from beers_service.transport import rpc


class SlowService:
    """Runs slowly."""

    name = "beers"

    @rpc
    def slow(self, file: str, seconds: float) -> str:
        """Note the run in *file*, take *seconds*, and return what can be told apart."""
        with Path(file).open("a") as runs:
            runs.write("run\n")
        time.sleep(seconds)
        return "done"

    @rpc
    def odd(self) -> object:
        """Return what JSON does not know."""
        return {1, 2}

    @rpc
    def broken(self) -> None:
        """Fail as a bug does."""
        raise ZeroDivisionError("a bug")
