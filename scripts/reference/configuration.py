"""The settings: config.yaml's own comments and defaults, and what the code asks of each."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scripts.reference.markdown import code, number, prose, table

_READERS: Final = {
    "beers_service": ("service",),
    "grpc_bridge": ("bridge",),
    "beers_runtime": ("service", "bridge"),  # what both of them use
    "beers_cli": ("command line",),
}
"""Who reads what a package names."""

_UNITS: Final = {
    "HEARTBEAT": "s",
    "REQUEST_RETENTION_DAYS": "days",
    "TOKEN_LEEWAY": "s",
    "MAX_CALLS_PER_CLIENT": "calls",
    "MAX_WATCHES_PER_CLIENT": "streams",
    "MAX_RATE_PER_CLIENT": "calls/s",
    "DEFAULT_DEADLINE": "s",
    "MAX_CALLS": "calls",
    "MAX_WAITING": "calls",
    "MAX_WAIT": "s",
    "MAX_WATCHES": "streams",
    "WATCH_PATIENCE": "s",
    "WATCH_CHECKPOINT": "s",
    "MAX_CONNECTION_AGE": "s",
    "MAX_CONNECTION_AGE_GRACE": "s",
    "BATCHES_IN_FLIGHT": "messages",
    "PROBE_INTERVAL": "s",
    "BROKER_PATIENCE": "s",
    "DRAIN_DELAY": "s",
    "GRACE": "s",
    "max_workers": "messages",
    "PORT": "",
    "CONSUL_CHECK_INTERVAL": "s",
    "ADVERTISED_PORT": "",
    "MAX_STREAMS": "streams",
    "METRICS_PORT": "",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "ms",
    "OTEL_TRACES_SAMPLER_ARG": "",
    "OTEL_BSP_SCHEDULE_DELAY": "ms",
    "OTEL_BSP_MAX_QUEUE_SIZE": "spans",
}
"""What the numbers count; a number that is missing here has no reference."""

_SETTING: Final = re.compile(r"^(\w+): \$\{(\w+):([^}]*)\}$")

_INTRODUCTION: Final = """\
# Configuration

[`config.yaml`](../../config.yaml) is read by all processes, and by `nameko run` and `nameko shell`. A process takes it
from `$BEERS_CONFIG`, else from the folder that it was started in, else from beside the packages. Each value comes from
the environment variable of the name below, and each has a default, so that none has to be given. One that is malformed,
or that is missing where another needs it, stops the start with exit status 78 and one line that names it. The command
line's own variables, such as `BEERS_ADDRESS`, are with [its options](command-line.md).

Passwords in the URIs of RabbitMQ and of the store are never logged.

"""


@dataclass(slots=True)
class _Group:
    """Settings that stand below one comment.

    Attributes:
        comment: What is said about all of them.
        settings: Each with its name in the file, its environment variable, and its default.
    """

    comment: str
    settings: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The names of the variables, or the first word of them if they are many."""
        names = [variable for _, variable, _ in self.settings]
        return ", ".join(names) if len(names) <= 3 else f"{names[0].partition('_')[0]}_…"  # noqa: PLR2004 - what fits on a line


def page(root: Path) -> str:
    """Return the page for the configuration of the project at *root*.

    Raises:
        LookupError: If a line of the file is neither comment nor setting, or a number has no unit, or nobody reads it.
    """
    ranges, readers = _asked(root)
    parts = [_INTRODUCTION]
    for group in _groups((root / "config.yaml").read_text(encoding="utf-8")):
        parts.append(f"## {group.title}\n\n{prose(group.comment)}\n\n")
        rows = []
        for name, variable, default in group.settings:
            if name not in readers:
                raise LookupError(f"{name} of config.yaml is read by nobody")
            values = ranges.get(name, "")
            if values.startswith(("number", "whole number")):
                if name not in _UNITS:
                    raise LookupError(f"{name} of config.yaml is a number without a unit in {__name__}")
                values = f"{values} {_UNITS[name]}".rstrip()
            rows.append((code(variable), code(default) or "none", values, ", ".join(readers[name])))
        parts.append(table(("variable", "default", "values", "read by"), rows))
    return "".join(parts).rstrip() + "\n"


def _groups(text: str) -> Iterator[_Group]:
    comment: list[str] = []
    group: _Group | None = None
    for line in text.splitlines()[2:]:  # the first two tell how the file is read
        if found := _SETTING.match(line):
            if group is None:
                if not comment:
                    raise LookupError(f"{found[1]} of config.yaml has no comment")
                group, comment = _Group("\n".join(comment)), []
            group.settings.append((found[1], found[2], found[3]))
            continue
        if group is not None:
            yield group
            group = None
        if line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        elif line:
            raise LookupError(f"config.yaml: no reference can be made of {line!r}")
    if group is not None:
        yield group


def _asked(root: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return which values the code lets pass, and who reads them, both by the names of settings."""
    ranges: dict[str, str] = {}
    readers: dict[str, list[str]] = {}
    for package, who in _READERS.items():
        for path in sorted((root / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for name in _named(tree):
                known = readers.setdefault(name, [])
                known += [reader for reader in who if reader not in known]
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and (said := _values(node)):
                    for name in _texts(node.args):
                        ranges.setdefault(name, said)
    return ranges, readers


def _named(tree: ast.Module) -> set[str]:
    """Return the texts of a module, apart from the defaults of arguments, which ask for nothing."""
    nodes = list(ast.walk(tree))
    given = {
        id(one) for node in nodes if isinstance(node, ast.arguments) for one in [*node.defaults, *node.kw_defaults]
    }
    return set(_texts(node for node in nodes if id(node) not in given))


def _texts(nodes: Iterable[ast.AST]) -> list[str]:
    return [one.value for one in nodes if isinstance(one, ast.Constant) and isinstance(one.value, str)]


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _values(call: ast.Call) -> str:
    constants = [one.value for one in call.args[2:4] if isinstance(one, ast.Constant)]
    bounds = [one for one in constants if isinstance(one, int | float)]
    match _called(call), bounds:
        case "choice", _ if isinstance(call.args[2], ast.Tuple):
            return ", ".join(map(code, ast.literal_eval(call.args[2])))
        case "integer", [least, most]:
            return f"whole number, {least} to {number(most)}"
        case "number", [least, most]:
            return f"number, {number(least)} to {number(most)}"
        case "_flag", _:
            return "`true`, `false`"
        case "_file", _:
            return "a file"
        case _:
            return ""
