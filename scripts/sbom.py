"""Writes the bill of materials of what runs: every locked package that this platform installs, with its licence.

    python scripts/sbom.py requirements/run.txt build/sbom.json

CycloneDX 1.6 as JSON, valid and the same at every run: no time, no place, no index in it. What the licences are is in
the packages themselves; so they have to be installed. A locked package that is not, is another version, or declares no
licence fails.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

KEPT = ("type", "bom-ref", "name", "version", "description", "licenses", "purl")
"""What is told of a component. Its links are left out: some lead to an index."""

CONCLUDED: Mapping[str, str] = {"nameko": "Apache-2.0", "protobuf": "BSD-3-Clause", "setuptools": "MIT"}
"""The licences of packages whose metadata name none that is understood: read in the text that comes with them."""

_PINNED = re.compile(r"^([A-Za-z0-9][^\s\\]*==[^\\]*?)\s*\\?$", re.MULTILINE)


def main() -> int:
    """Write it; the exit status is 1 if something is missing."""
    lock, target = map(Path, sys.argv[1:])
    locked = dict(pinned(lock.read_text(encoding="utf-8")))
    found = document(locked, environment())
    if problems := list(problems_of(found, locked)):
        print("\n".join(problems), file=sys.stderr)
        return 1
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{target}: {len(locked)} packages, each with its licence")
    return 0


def pinned(lock: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the version of each package of a *lock* file that this platform installs."""
    for line in _PINNED.findall(lock):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            yield canonicalize_name(requirement.name), next(iter(requirement.specifier)).version


def environment() -> dict[str, Any]:
    """Return the bill of all that is installed here."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", sys.executable]
    done = subprocess.run(command, check=True, capture_output=True)
    bill: dict[str, Any] = json.loads(done.stdout)
    return bill


def document(locked: Mapping[str, str], bill: Mapping[str, Any]) -> dict[str, Any]:
    """Return of *bill* what is *locked*."""
    components = [
        {name: component[name] for name in KEPT if name in component}
        for component in bill["components"]
        if canonicalize_name(component["name"]) in locked
    ]
    for component in components:
        concluded = CONCLUDED.get(str(canonicalize_name(component["name"])))
        if concluded and not component.get("licenses"):
            component["licenses"] = [{"license": {"acknowledgement": "concluded", "id": concluded}}]
    kept = {component["bom-ref"] for component in components}
    dependencies = [
        {**one, "dependsOn": [ref for ref in one.get("dependsOn", ()) if ref in kept]}
        for one in bill["dependencies"]
        if one["ref"] in kept
    ]
    head = {name: bill[name] for name in ("$schema", "bomFormat", "specVersion", "version")}
    return {**head, "components": components, "dependencies": dependencies}


def problems_of(bill: Mapping[str, Any], locked: Mapping[str, str]) -> Iterable[str]:
    """Yield what is wrong with *bill*."""
    told = {str(canonicalize_name(component["name"])): component for component in bill["components"]}
    for name, version in locked.items():
        component = told.get(name)
        if component is None:
            yield f"{name} is locked and not installed"
        elif component["version"] != version:
            yield f"{name} is locked at {version}, and {component['version']} is installed"
        elif not component.get("licenses"):
            yield f"{name} declares no licence"
    if invalid := JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)):
        yield f"it is no CycloneDX: {invalid}"


if __name__ == "__main__":
    sys.exit(main())
