"""The command line: every command of `beers`, its arguments and options, as typer has them."""

import inspect
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final

import typer

from beers_cli.application import application
from scripts.reference.markdown import code, prose, table

_INTRODUCTION: Final = """\
# The command line

`beers COMMAND --help` says the same in the terminal. Exit status: 0 for done; 1 if the service refused or failed, or
nobody reads what is printed; 2 for wrong usage; 130 after Ctrl-C; 78 if the configuration of a process is at fault. An
option that names a variable is taken from the environment where it is not given.

"""

_ACCESS: Final = """\
## Options of all commands that call the service

"""

_PANEL: Final = "Access"


def page() -> str:
    """Return the page for all commands.

    Raises:
        LookupError: If a command has no description.
    """
    commands = dict(_leaves(typer.main.get_command(application), ("beers",)))
    access: dict[str, Any] = {}
    parts: list[str] = []
    for path, command in commands.items():
        parts += _command(" ".join(path), command)
        access |= {one.opts[0]: one for one in command.params if _is_access(one)}
    shared = table(_HEADING, map(_option, access.values()))
    return "".join([_INTRODUCTION, _ACCESS, shared, *parts]).rstrip() + "\n"


_HEADING: Final = ("option", "default", "variable", "meaning")


def _leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, one in inner.items():
        yield from _leaves(one, (*path, name))


def _command(name: str, command: Any) -> Iterator[str]:
    if not command.help:
        raise LookupError(f"`{name}` has no description")
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [
        one for one in command.params if one.param_type_name == "option" and not _is_access(one) and not one.hidden
    ]
    usage = " ".join([name, *(["[OPTIONS]"] if options else []), *(_placeholder(one) for one in arguments)])
    yield f"## {name}\n\n```text\n{usage}\n```\n\n{prose(inspect.cleandoc(command.help))}\n\n"
    yield table(("argument", "meaning"), ((code(_named(one)), prose(one.help or "")) for one in arguments))
    yield table(_HEADING, map(_option, options))


def _is_access(option: Any) -> bool:
    return (
        getattr(option, "rich_help_panel", None) == _PANEL or "--address" in option.opts or "--timeout" in option.opts
    )


def _named(argument: Any) -> str:
    return argument.metavar or str(argument.name).upper()


def _placeholder(argument: Any) -> str:
    return _named(argument) if argument.required else f"[{_named(argument)}]"


def _option(option: Any) -> Sequence[str]:
    names: Sequence[str] = [*option.opts, *option.secondary_opts]
    shown = ", ".join(names) if option.is_flag else f"{', '.join(names)} {_metavar(option)}"
    default = "required" if option.required else _default(option)
    variables = option.envvar if isinstance(option.envvar, str) else ", ".join(option.envvar or ())
    return code(shown), default, code(variables), prose(option.help or "")


def _metavar(option: Any) -> str:
    if option.metavar:
        return str(option.metavar)
    kind = option.type_descriptor.annotation
    if issubclass(kind, Enum):
        return "|".join(str(one.value) for one in kind)
    return {int: "N", Path: "PATH"}.get(kind, "TEXT")


def _default(option: Any) -> str:
    if isinstance(option.show_default, str):
        return code(option.show_default)
    value = option.default.value if isinstance(option.default, Enum) else option.default
    if option.is_flag or value is None or value == "":
        return ""
    return code(f"{value:g}" if isinstance(value, float) else value)
