"""Servers that beers needs, from the distribution's packages where this user may install them."""

import os
import shutil
import subprocess
from collections.abc import Callable


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
    asked = [*_as_root(), "env", "DEBIAN_FRONTEND=noninteractive", apt, "-qq", "-o", "DPkg::Lock::Timeout=120"]
    say(f"{package} is not installed: installing it with apt-get (a minute or two)")
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", package]):
        done = subprocess.run(  # noqa: S603 - nothing in there comes from outside
            [*asked, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
            raise NotInstallable(f"apt-get {arguments[0]} failed: {last}")
    say(f"{package} is installed")


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
