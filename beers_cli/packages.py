"""Servers that beers needs, from the distribution's packages where this user may install them."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Final

_PATIENCE: Final = 120.0
"""Seconds for another apt-get to end."""

_LOOK_EVERY: Final = 1.0
_LOCKED: Final = "Could not get lock"


class NotInstallable(Exception):
    """A package is missing and this user cannot install it. The message says why, in one line."""


def install(package: str, say: Callable[[str], None]) -> None:
    """Install the Debian package *package*, as root or through a sudo that asks for no password.

    If the installation starts a service of the system, that is left to the system: beers runs nodes of its own.

    Args:
        package: Its name.
        say: Takes the lines that tell what goes on.

    Raises:
        NotInstallable: If there is no apt-get, no permission, or apt-get fails.
    """
    apt = shutil.which("apt-get")
    if apt is None:
        raise NotInstallable("there is no apt-get here")
    environment = ["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"]
    asked = [*_as_root(), *environment, apt, "-qq", "-o", f"DPkg::Lock::Timeout={_PATIENCE:g}"]
    say(f"{package} is not installed: installing it with apt-get (a minute or two)")
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", package]):
        done = _run([*asked, *arguments])
        if done.returncode:
            last = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
            raise NotInstallable(f"apt-get {arguments[0]} failed: {last}")
    say(f"{package} is installed")


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run apt-get; for the lock of its lists, which it does not wait for by itself, it is run again."""
    last = time.monotonic() + _PATIENCE
    while True:
        done = subprocess.run(  # noqa: S603 - nothing in there comes from outside
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode == 0 or _LOCKED not in done.stdout or time.monotonic() > last:
            return done
        time.sleep(_LOOK_EVERY)


def _as_root() -> list[str]:
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        raise NotInstallable("only root may install packages, and there is no sudo")
    allowed = subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0  # noqa: S603
    if not allowed:
        raise NotInstallable("only root may install packages, and sudo asks for a password")
    return [sudo, "-n"]
