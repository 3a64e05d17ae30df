#!/bin/sh
# Makes a virtual environment with the first Python that fits: [PYTHON=python3.12] venv.sh DIRECTORY
#
# Debian keeps the module that puts pip into a new environment in a package of its own: it is installed if missing.
set -eu

directory=$1

say() { printf '%s\n' "$*" >&2; }

# The interpreter itself rather than a name that may lead elsewhere in another folder, as pyenv's do.
find_python() {
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        "$name" -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.exit(1); print(sys.executable)' \
            2> /dev/null && return
    done
    return 1
}

if ! python=$(find_python); then
    say "beers needs Python 3.11, 3.12 or 3.13; ${PYTHON:-python3} is none of these, or is not there."
    say 'Name one with PYTHON=, for instance: make run PYTHON=python3.12'
    exit 1
fi

if ! "$python" -c 'import ensurepip, venv' 2> /dev/null; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif sudo -n true 2> /dev/null; then
        as_root=sudo
    else
        as_root=none
    fi
    if [ "$as_root" = none ] || ! command -v apt-get > /dev/null; then
        say "$python cannot make virtual environments. On Debian and Ubuntu: sudo apt-get install $package"
        exit 1
    fi
    say "Installing $package …"
    get() {
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" < /dev/null > /dev/null
    }
    # The package lists are fetched only if they are needed: fresh machines have none, old ones have stale ones.
    if ! get install -y --no-install-recommends "$package" 2> /dev/null; then
        get update
        get install -y --no-install-recommends "$package"
    fi
fi

say "Making $directory with $("$python" --version) …"
"$python" -m venv --clear "$directory"
