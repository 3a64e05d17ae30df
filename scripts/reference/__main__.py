"""Writes the reference of docs/reference from the code, or tells whether what is there is of this code.

    python -m scripts.reference [--check] [DIRECTORY]

Each page comes from what is the truth at run time: the comments of the .proto files, the signatures and docstrings of
the RPC methods, the contract of the events, config.yaml and what reads it, and the options of the command line.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scripts.reference import command_line, configuration, events, grpc, rpc

ROOT: Final = Path(__file__).resolve().parents[2]
_HEADING: Final = "<!-- Generated from the code by `make reference`. Do not edit. -->\n\n"


def generate() -> dict[str, str]:
    """Return the pages, by their names.

    Raises:
        LookupError: If something has no description where one is due.
    """
    pages = {
        "grpc.md": grpc.page(ROOT / "grpc_bridge" / "proto"),
        "rpc.md": rpc.page(ROOT / "beers_service" / "service.py"),
        "events.md": events.page(),
        "configuration.md": configuration.page(ROOT),
        "command-line.md": command_line.page(),
    }
    return {name: _HEADING + text for name, text in pages.items()}


def differences(directory: Path, pages: Mapping[str, str]) -> list[str]:
    """Return the names of those pages in *directory* that are not as in *pages*: others, missing, or too many."""
    there = {path.name for path in directory.glob("*")}
    return sorted(
        name
        for name in there | pages.keys()
        if name not in pages or name not in there or (directory / name).read_text(encoding="utf-8") != pages[name]
    )


def main() -> int:
    """Run what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if something would change")
    parser.add_argument("directory", nargs="?", default=ROOT / "docs" / "reference", type=Path)
    arguments = parser.parse_args()
    directory: Path = arguments.directory
    try:
        pages = generate()
    except LookupError as error:
        sys.stderr.write(f"{error.args[0]}\n")
        return 1
    different = differences(directory, pages)
    if arguments.check:
        for name in different:
            sys.stderr.write(f"docs/reference/{name} is not what the code yields: run `make reference`.\n")
        return 1 if different else 0
    directory.mkdir(parents=True, exist_ok=True)
    for name in different:
        if name in pages:
            (directory / name).write_text(pages[name], encoding="utf-8")
        else:
            (directory / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
