#!/bin/sh
# Writes requirements/*.txt from pyproject.toml and requirements/*.in: lock.sh [--check | --upgrade] [UV]
#
# One file serves every platform and Python that we support. Pinned versions and their hashes stay as they are unless
# pyproject.toml asks for others, or --upgrade for the newest. --check writes nothing and fails if something would change.
set -eu

mode='write'
case ${1-} in --check | --upgrade) mode=${1#--} && shift ;; esac
uv=${1:-uv}

compile() {
    # No index, no link and no path may get into a lock file: it has to work on every machine.
    "$uv" pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
        --no-annotate --custom-compile-command 'make lock' "$@"
}

out=requirements
if [ "$mode" = check ]; then
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
    cp requirements/* "$out"
fi
upgrade=
[ "$mode" != upgrade ] || upgrade=--upgrade
compile $upgrade --output-file "$out/run.txt" pyproject.toml
compile $upgrade --output-file "$out/dev.txt" --extra dev --constraint "$out/run.txt" pyproject.toml
# Environments of their own: one wants another Nameko than ours, the other pins much.
compile $upgrade --output-file "$out/nameko-grpc.txt" requirements/nameko-grpc.in
compile $upgrade --output-file "$out/checkov.txt" requirements/checkov.in

# shellcheck disable=SC2016 # the backticks are for the reader
if [ "$mode" = check ] && ! diff -r -U 0 requirements "$out"; then
    echo 'The lock files are not those of pyproject.toml: run `make lock`.' >&2
    exit 1
fi
