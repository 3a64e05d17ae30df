#!/bin/sh
# Runs directories of tests on every supported Python that is installed: test_pythons.sh DIRECTORY…
set -eu

# A name on PATH may be one of pyenv's, which only works while that version is switched on: ask pyenv itself then.
find_python() {
    for version in "" $(pyenv versions --bare 2> /dev/null | grep "^$1\.[0-9]*\$" || true); do
        ${version:+env PYENV_VERSION=$version} "python$1" -c 'import sys; print(sys.executable)' 2> /dev/null && return
    done
    return 1
}

status=0 outcome=
for minor in 3.11 3.12 3.13; do
    if ! python=$(find_python $minor); then
        outcome="$outcome
python$minor  not installed"
        continue
    fi
    echo "── Python $minor ──"
    if make --no-print-directory test PYTHON="$python" VENV="build/python$minor" TESTS="$*"; then
        outcome="$outcome
python$minor  passed"
    else
        outcome="$outcome
python$minor  FAILED" status=1
    fi
done
echo "$outcome"
exit $status
