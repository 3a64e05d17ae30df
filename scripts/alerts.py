"""Checks what is for Prometheus, and tries the alerts with made-up metrics: alerts.py FOLDER.

promtool does it, which comes with the package `prometheus`; that is installed where root or sudo permits.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from beers_cli.packages import NotInstallable, install


def main(folder: Path) -> int:
    """Check what is in *folder*.

    Returns:
        The exit status: 1 if something is wrong, 0 also if promtool is not to be had, which is told.
    """
    promtool = shutil.which("promtool")
    if promtool is None:
        try:
            install("prometheus", lambda line: print(line, file=sys.stderr))
        except NotInstallable as reason:
            print(f"Not checked: the alerts need promtool, of the package prometheus: {reason}.", file=sys.stderr)
            return 0
        promtool = shutil.which("promtool") or "promtool"
    commands = [
        *(["check", "config", "--syntax-only", str(file)] for file in folder.rglob("prometheus.yaml")),
        ["check", "rules", str(folder / "alerts.yaml")],
        ["test", "rules", *map(str, sorted(folder.glob("*_test.yaml")))],
    ]
    # All of them, also after one that has failed: whoever mends something wants to know of everything.
    return max(subprocess.run([promtool, *command], check=False).returncode for command in commands)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
