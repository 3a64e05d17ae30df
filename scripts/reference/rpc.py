"""The RPC methods of the Nameko service: their signatures, docstrings and errors.

It reads the source and does not import it: Nameko and gRPC share no process.
"""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeGuard

from beers_service.domain import errors
from scripts.reference.markdown import code, prose, table

_INTRODUCTION: Final = """\
# The Nameko RPC methods

The service is called `beers`; how it is called is in the [tutorial](../tutorial.md) and in
[how to write a client](../how-to/clients.md).

"""

_ERRORS: Final = """\
## Errors

They arrive as `RemoteError` with the name below as its `exc_type`, and as themselves where `beers_service.service` is
imported. Their arguments are text.

"""


def page(source: Path) -> str:
    """Return the page for the service whose module is *source*."""
    module = ast.parse(source.read_text(encoding="utf-8"))
    parts = [_INTRODUCTION, _said(module, "the service's module"), "\n\n"]
    names = {ast.unparse(node.targets[0]): ast.unparse(node.value) for node in module.body if _is_alias(node)}
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef) and any("rpc" in ast.unparse(one) for one in node.decorator_list):
            signature = _signature(node, names | {"Json": "dict"})
            parts += [f"## {node.name}\n\n```python\n{signature}\n```\n\n", _sections(_docstring(node, node.name))]
    rows = []
    for error in errors.BeersError.__subclasses__():
        said, _, arguments = (error.__doc__ or "").partition(" Args: ")
        rows.append((code(error.__name__), prose(said), prose(arguments)))
    return "".join([*parts, _ERRORS, table(("error", "meaning", "arguments"), rows)]).rstrip() + "\n"


def _is_alias(node: ast.stmt) -> TypeGuard[ast.Assign]:
    """Tell whether *node* gives a type another name."""
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)


def _signature(method: ast.FunctionDef, names: Mapping[str, str]) -> str:
    """Return how *method* is called, with the meaning of those of its types that have *names* of the module's own."""
    arguments = method.args
    arguments.args = arguments.args[1:]  # without self
    declared = re.sub(r"(: [^,=]+)=", r"\1 = ", ast.unparse(arguments)).replace("'", '"')
    returned = ast.unparse(method.returns) if method.returns else "None"
    for name, meaning in names.items():
        declared, returned = (re.sub(rf"\b{name}\b", meaning, text) for text in (declared, returned))
    line = f"{method.name}({declared}) -> {returned}"
    if len(line) <= 90:  # noqa: PLR2004 - what fits on the page
        return line
    parts = re.split(r", (?=\**\w+:)", declared)
    return "\n".join([f"{method.name}(", *(f"    {part}," for part in parts), f") -> {returned}"])


def _docstring(node: ast.Module | ast.FunctionDef, name: str) -> str:
    text = ast.get_docstring(node)
    if not text:
        raise LookupError(f"{name} has no docstring in the service's module")
    return text


def _said(node: ast.Module | ast.FunctionDef, name: str) -> str:
    return prose(_docstring(node, name))


def _sections(docstring: str) -> str:
    """Return a docstring with Google's sections: arguments become a table."""
    said, arguments, returned = _parts(docstring)
    found = re.findall(r"^(\w+): (.*(?:\n +.*)*)", arguments, re.MULTILINE)
    text = (
        prose(said) + "\n\n" + table(("argument", "meaning"), ((code(name), prose(meaning)) for name, meaning in found))
    )
    return text + (f"{prose(returned)}\n\n" if returned else "")


def _parts(docstring: str) -> tuple[str, str, str]:
    sections = {"": "", "Args": "", "Returns": ""}
    for part in re.split(r"\n\n(?=Args:\n|Returns:\n)", docstring):
        name, _, rest = part.partition(":\n")
        if name in sections and name:
            sections[name] = "\n".join(line.removeprefix("    ") for line in rest.splitlines())
        else:
            sections[""] = part
    return sections[""], sections["Args"], sections["Returns"]
