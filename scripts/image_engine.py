"""Builds and runs an image: with Docker, or with podman and a store of its own where there is no Docker.

podman needs no daemon and, as it is called here, no systemd; it builds with buildah's code, which is in it. Where no
registry can be reached it builds on a stand-in for the base: a bare Debian with a Python of the same version, if this
machine has one to copy, else with Debian's own.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from beers_cli import packages

SUITE: Final = "bookworm"
DEBIANS_PYTHON: Final = "3.11"
"""The Python of that Debian."""

LIBRARIES: Final = (
    "ca-certificates netbase tzdata libssl3 libffi8 libsqlite3-0 libbz2-1.0 liblzma5 libreadline8 zlib1g libuuid1"
    " libncursesw6 libexpat1"
)
"""What a Python that was compiled elsewhere needs of Debian."""

CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
PULL_SECONDS: Final = 300

Say = Callable[[str], None]


class Failed(Exception):
    """A program that is needed failed. The message holds its last lines."""


def run(command: Sequence[str | Path], *, timeout: float | None = None) -> str:
    """Run *command* and return what it prints on standard output; raises `Failed`."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{shlex.join(map(str, command))}: still running after {timeout:g} s") from error
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-20:])
        raise Failed(f"{shlex.join(map(str, command))}: status {done.returncode}\n{last}")
    return done.stdout


class Engine:
    """What Docker and podman have in common: their command line."""

    name = "docker"
    command: Sequence[str] = ("docker",)
    limits: Sequence[str] = ()
    """Options of each container."""

    def base(self, image: str, version: str) -> str:
        """See that *image*, the base with Python *version*, is there; return the version that it has instead."""
        run([*self.command, "pull", "--quiet", image], timeout=PULL_SECONDS)
        return version

    def build(self, folder: Path, tag: str, arguments: Mapping[str, str]) -> None:
        """Build the image *tag* of the Dockerfile in *folder*, with *arguments* for its ARGs."""
        given = [part for item in arguments.items() for part in ("--build-arg", "=".join(item))]
        run([*self.command, "build", *self.build_options(), "--tag", tag, *given, folder])

    def build_options(self) -> list[str]:
        """Return what `build` is told besides."""
        return []

    def call(self, *arguments: str) -> str:
        """Run the engine with *arguments*; returns what it prints."""
        return run([*self.command, *arguments])

    def try_in(self, tag: str, *command: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run *command* in a container of *tag* that ends with it."""
        return subprocess.run(
            [*self.command, "run", "--rm", *self.limits, *options, tag, *command],
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, name: str, tag: str, *command: str, options: Sequence[str] = ()) -> None:
        """Start a container called *name* in the background."""
        run([*self.command, "run", "--detach", "--name", name, *self.limits, *options, tag, *command])

    def is_healthy(self, name: str) -> bool:
        """Tell what the image's own HEALTHCHECK says of the container *name*."""
        return self.call("inspect", "--format", "{{.State.Health.Status}}", name).strip() == "healthy"

    def logs(self, name: str) -> list[str]:
        """Return the lines of a container, of both of its outputs."""
        command = [*self.command, "logs", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
        return done.stdout.splitlines()

    def close(self) -> None:
        """Take away what an interrupted call has left."""

    def remove(self, name: str) -> None:
        """Take the container *name* away, running or not, if there is one."""
        subprocess.run([*self.command, "rm", "--force", "--volumes", name], capture_output=True, check=False)


class Podman(Engine):
    """podman as root, with everything of it in one folder."""

    name = "podman"
    # It would ask for more than some machines permit.
    limits = ("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--read-only-tmpfs=false")

    def __init__(self, folder: Path, say: Say) -> None:
        self._folder = folder
        self._say = say
        places = ("--root", str(folder / "store"), "--runroot", str(folder / "run"))
        # Else it would mount the store over itself, and nobody could delete the folder.
        without_mount = ("--storage-opt", "overlay.skip_mount_home=true")
        without_systemd = ("--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file")
        self.command = ("podman", *places, *without_mount, *without_systemd)

    def base(self, image: str, version: str) -> str:
        """Pull the base, or make a stand-in for it."""
        if self._has(image):
            return version
        try:
            run([*self.command, "pull", "--quiet", f"docker.io/library/{image}"], timeout=PULL_SECONDS)
        except Failed:
            prefix = _python(version)
            if prefix is None:
                image, version = image.replace(version, DEBIANS_PYTHON), DEBIANS_PYTHON
            if not self._has(image):
                source = str(prefix) if prefix else "Debian"
                self._say(f"No registry is reached: making a stand-in for {image}, with the Python of {source} …")
                self._stand_in(f"docker.io/library/{image}", prefix)
        return version

    def _has(self, image: str) -> bool:
        asked = [*self.command, "image", "exists", f"docker.io/library/{image}"]
        return subprocess.run(asked, check=False).returncode == 0

    def _stand_in(self, image: str, prefix: Path | None) -> None:
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="base-") as folder:
            root, archive = Path(folder) / "root", Path(folder) / "root.tar"
            include = LIBRARIES if prefix else "ca-certificates netbase tzdata python3 python3-venv python3-pip"
            mirror = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]).split()[0]
            included = f"--include={','.join(include.split())}"
            run(["debootstrap", "--variant=minbase", included, SUITE, root, mirror])
            if prefix:
                unneeded = shutil.ignore_patterns("__pycache__", "test", "*.a", "site-packages", "share")
                shutil.copytree(prefix, root / "usr/local", symlinks=True, dirs_exist_ok=True, ignore=unneeded)
                run(["chroot", root, "ldconfig"])
                run(["chroot", root, "python3", "-m", "ensurepip", "--default-pip"])
            else:
                (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
            # The real base has none of these.
            for pattern in ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*_*", "**/*.pyc"):
                for path in root.glob(pattern):
                    path.unlink()
            run(["tar", "--directory", root, "--create", "--file", archive, "."])
            path_variable = "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
            self.call("import", "--change", path_variable, "--change", "ENV LANG=C.UTF-8", str(archive), image)

    def build_options(self) -> list[str]:
        """Return what lets pip trust whom this machine trusts, and take packages from where this machine does."""
        settings = self._folder / "pip.conf"
        lines = ["[global]", f"cert = {CERTIFICATES}"]
        asking = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
        index = subprocess.run(asking, capture_output=True, text=True, check=False)
        if index.returncode == 0:
            lines.append(f"index-url = {index.stdout.strip()}")
        settings.write_text("\n".join(lines) + "\n", encoding="utf-8")
        mounted = [f"{CERTIFICATES}:{CERTIFICATES}:ro", f"{settings}:/etc/pip.conf:ro"]
        # Of the formats only Docker's has a HEALTHCHECK.
        options = ["--isolation", "chroot", "--pull-never", "--layers=false", "--format", "docker"]
        return [*options, *(part for volume in mounted for part in ("--volume", volume))]

    def close(self) -> None:
        """Take away the containers that an interrupted build has left: their file systems are mounted."""
        if left := self.call("ps", "--all", "--external", "--quiet").split():
            self.call("rm", "--force", *left)

    def is_healthy(self, name: str) -> bool:
        """Run the check: without systemd nobody does so from time to time."""
        return (
            subprocess.run([*self.command, "healthcheck", "run", name], capture_output=True, check=False).returncode
            == 0
        )


def find(folder: Path, say: Say) -> Engine:
    """Return Docker if its daemon answers, else podman, which is installed if it is missing.

    Args:
        folder: Where podman may keep images.
        say: Takes lines for people, of what takes long.

    Raises:
        packages.NotInstallable: If there is neither.
    """
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0:
        return Engine()
    for program in ("podman", "runc", "debootstrap"):
        if shutil.which(program) is None:
            packages.install(program, say)
    folder.mkdir(parents=True, exist_ok=True)
    return Podman(folder, say)


def _python(version: str) -> Path | None:
    """Return where a Python *version* of this machine lies that is not part of its Debian, and so can be copied."""
    # A name on PATH may be one of pyenv's, which only works while that version is switched on: pyenv itself knows more.
    candidates: list[dict[str, str]] = [{}]
    if pyenv := shutil.which("pyenv"):
        names = run([pyenv, "versions", "--bare"]).split()
        candidates += [{"PYENV_VERSION": name} for name in names if name.startswith(f"{version}.")]
    for environment in candidates:
        if program := shutil.which(f"python{version}"):
            command = [program, "-c", "import sys; print(sys.base_prefix)"]
            found = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
            prefix = Path(found.stdout.strip())
            if found.returncode == 0 and prefix != Path("/usr"):
                return prefix
    return None


def arguments_of(dockerfile: Path) -> dict[str, str]:
    """Return the ARGs of *dockerfile* that have defaults."""
    return dict(re.findall(r"^ARG (\w+)=(\S+)$", dockerfile.read_text(encoding="utf-8"), re.MULTILINE))
