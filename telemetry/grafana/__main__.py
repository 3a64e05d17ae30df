"""Writes the dashboards, or with --check compares those that are there: python -m telemetry.grafana [--check]."""

import argparse
import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from telemetry.grafana import followers, service, users

FOLDER: Final = Path(__file__).parents[1] / "dashboards"


def generated() -> dict[Path, str]:
    """Return what is to be in each file."""
    encoder = JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False)
    return {
        FOLDER / f"{name}.json": encoder.encode(board.board().build()) + "\n"
        for name, board in (("users", users), ("service", service), ("followers", followers))
    }


def main() -> int:
    """Do it; returns the exit status, 1 if something that is there is not what the code yields."""
    parser = argparse.ArgumentParser(prog="python -m telemetry.grafana", allow_abbrev=False)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a dashboard differs")
    check = parser.parse_args().check
    wanted = generated()
    there = set(FOLDER.glob("*.json"))
    if not check:
        FOLDER.mkdir(exist_ok=True)
        for file in there - wanted.keys():
            file.unlink()
        for file, text in wanted.items():
            file.write_text(text)
        return 0
    differing = sorted(there ^ wanted.keys()) + [
        file for file, text in wanted.items() if file in there and file.read_text() != text
    ]
    for file in differing:
        print(f"{file.name} is not what telemetry/grafana yields: run `make dashboards`.", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
