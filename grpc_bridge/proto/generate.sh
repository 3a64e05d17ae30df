#!/bin/sh
# Regenerates the Python code of the .proto files beside it: generate.sh [PYTHON [DIRECTORY]]
#
# PYTHON needs grpcio-tools and mypy-protobuf. DIRECTORY is the tree to write into, this one by default; to look for
# drift, write into an empty one and `diff` the two. The descriptors keep their canonical names (beers/v1/beers.proto),
# since reflection shows them to clients; only the Python imports are moved into this package.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=$(command -v "${1:-python3}")
mkdir -p "${2:-$here}"
out=$(CDPATH='' cd -- "${2:-$here}" && pwd)
PATH=$("$python" -c 'import os, sys; print(os.path.dirname(sys.executable))'):$PATH # the mypy plugins live there

cd "$here"
for proto in beers/v1/beers.proto pb/beers.proto; do
    "$python" -m grpc_tools.protoc --proto_path=. \
        --python_out="$out" --grpc_python_out="$out" --mypy_out="quiet:$out" --mypy_grpc_out="quiet:$out" "$proto"
    for code in "$out/${proto%.proto}"_pb2*.py*; do
        sed -E 's/^from (beers\.v1|pb) import /from grpc_bridge.proto.\1 import /' "$code" > "$code.moved"
        mv "$code.moved" "$code"
    done
done
