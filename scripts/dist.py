"""Builds the wheel and the sdist, the same bytes for the same commit: python scripts/dist.py UV FOLDER.

Of the tracked files alone, as they are in the working tree, with the rights that git keeps; built by the locked
setuptools. Every time in there is $SOURCE_DATE_EPOCH, which is that of the commit unless it is set.
"""

import gzip
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("beers_cli", "beers_runtime", "beers_service", "grpc_bridge")
NOT_SHIPPED = {"grpc_bridge/proto/generate.sh"}
"""What belongs to the packages' folders and not to the packages."""


def main() -> int:
    """Build them; the exit status is 1 if something is missing in the wheel."""
    os.umask(0o022)  # the rights of what is generated are in there as well
    uv, target = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct"))
    tracked = _git("ls-files", "-z").rstrip("\0").split("\0")
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder, "source"), Path(folder, "built")
        copy(tracked, source)
        options = ["--quiet", "--offline", "--no-config", "--no-build-isolation", "--python", sys.executable]
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
        subprocess.run([uv, "build", *options, "--out-dir", built, source], check=True, env=environment)
        (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
        normalise(sdist, epoch)
        if absent := sorted(missing(wheel, tracked)):
            print(f"{wheel.name} lacks {', '.join(absent)}: see package-data in pyproject.toml", file=sys.stderr)
            return 1
        target.mkdir(parents=True, exist_ok=True)
        for old in (*target.glob("beers-*.whl"), *target.glob("beers-*.tar.gz")):
            old.unlink()
        for product in (wheel, sdist):
            shutil.move(product, target / product.name)
            print(target.name, product.name, sep="/")
    return 0


def copy(tracked: list[str], target: Path) -> None:
    """Copy the *tracked* files to *target*: links as what they lead to, rights as git knows them."""
    for name in tracked:
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(name, file)
        file.chmod(0o755 if os.access(name, os.X_OK) else 0o644)


def normalise(sdist: Path, epoch: int) -> None:
    """Write *sdist* anew, with *epoch* as every time, no owner, and its members in the order of their names."""
    with tarfile.open(sdist) as archive:
        members = [(member, archive.extractfile(member)) for member in sorted(archive, key=lambda one: one.name)]
        unfinished = sdist.with_suffix(".unfinished")
        with (
            unfinished.open("wb") as file,
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=epoch) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as written,
        ):
            for member, content in members:
                member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
                member.pax_headers = {}
                written.addfile(member, content)
    unfinished.replace(sdist)


def missing(wheel: Path, tracked: list[str]) -> Iterator[str]:
    """Yield the *tracked* files of the packages that are not in *wheel*."""
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    for name in tracked:
        if name.partition("/")[0] in PACKAGES and name not in held | NOT_SHIPPED:
            yield name


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout  # noqa: S607


if __name__ == "__main__":
    sys.exit(main())
