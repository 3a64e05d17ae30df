"""Writes the contract of the events, or tells whether what is there is it."""

import argparse
import sys
from pathlib import Path

from beers_service.contract.documents import differences, generate, write


def main() -> int:
    """Run what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m beers_service.contract", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if something would change")
    parser.add_argument("directory", nargs="?", default="docs", type=Path)
    arguments = parser.parse_args()
    files = generate()
    if not arguments.check:
        write(arguments.directory, files)
        return 0
    different = differences(arguments.directory, files)
    for path in different:
        sys.stderr.write(f"{arguments.directory / path} is not what the code yields: run `make contract`.\n")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
