"""Prints what the changelog says of a version, as the notes of its release.

    TAG=v0.1.0 python scripts/release_notes.py [VERSION]

Without VERSION it is that of pyproject.toml. With a TAG, that of the release, it fails unless all three agree: the tag,
the version of pyproject.toml and a section of CHANGELOG.md with a date and something in it.
"""

import os
import re
import sys
import tomllib
from pathlib import Path

_HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>\d{4}-\d{2}-\d{2}))?$", re.MULTILINE)


class NoRelease(Exception):
    """What there is cannot be released. The message says what is missing, and where."""


def main() -> int:
    """Print the notes; the exit status is 1 if there are none."""
    version: str = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    changelog = Path("CHANGELOG.md").read_text(encoding="utf-8")
    tag = os.environ.get("TAG", "")
    try:
        if tag:
            require_release(tag, version, changelog)
        print(notes(changelog, sys.argv[1] if sys.argv[1:] else version))
    except NoRelease as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def require_release(tag: str, version: str, changelog: str) -> None:
    """Make sure that *tag* is that of *version*, and that the *changelog* says since when.

    Raises:
        NoRelease: If it is not.
    """
    if tag != f"v{version}":
        raise NoRelease(f"The tag {tag} is not v{version}, although pyproject.toml says version {version}.")
    if not any(found["version"] == version and found["date"] for found in _HEADING.finditer(changelog)):
        raise NoRelease(f"CHANGELOG.md needs a heading with a date for this release: ## [{version}] - YYYY-MM-DD")


def notes(changelog: str, version: str) -> str:
    """Return the section of *changelog* on *version*, without its heading.

    Raises:
        NoRelease: If there is none, or nothing in it.
    """
    headings = list(_HEADING.finditer(changelog))
    for found, following in zip(headings, [*headings[1:], None], strict=True):
        if found["version"] == version:
            section = changelog[found.end() : following.start() if following else None].strip()
            if not section:
                raise NoRelease(f"CHANGELOG.md says nothing below [{version}].")
            return section
    raise NoRelease(f"CHANGELOG.md has no section ## [{version}].")


if __name__ == "__main__":
    sys.exit(main())
