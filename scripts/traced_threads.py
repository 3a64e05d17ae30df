"""A plugin of coverage: in processes that have no green threads it does not ask which of them runs.

To ask makes a greenlet for each thread, and Python 3.11 may never come back from freeing one while it traces. The tests
of the whole product start processes with and without: a `beers` hung there once, most likely so.
"""

import sys
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

from coverage.plugin import CoveragePlugin
from coverage.plugin_support import Plugins
from coverage.types import TConfigurable

_WITHOUT: Final = frozenset({"beers", "beers_cli", "grpc_bridge"})
"""The programs without, by their file's or their module's name."""


class TracedThreads(CoveragePlugin):
    """Sets coverage's `concurrency` by the program that is run.

    Args:
        command: The process's whole command: the interpreter, its options, what it runs, and the arguments of that.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command

    def configure(self, config: TConfigurable) -> None:
        """See coverage's documentation of configurer plugins."""
        if _program(self._command) in _WITHOUT:
            config.set_option("run:concurrency", ["thread"])


def coverage_init(registry: Plugins, _options: object) -> None:
    """Register the plugin; coverage calls this."""
    registry.add_configurer(TracedThreads(sys.orig_argv))


def _program(command: Sequence[str]) -> str:
    """Return the name of what the interpreter runs: a file, or a module's top package; empty if it is neither."""
    words = iter(command[1:])
    for word in words:
        if word == "-m":
            return next(words, "").partition(".")[0]
        if word in {"-X", "-W"}:
            next(words, "")
        elif not word.startswith("-"):
            return PurePath(word).name
    return ""
