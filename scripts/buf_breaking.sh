#!/bin/sh
# Compares the .proto files with those of the main branch, or, on that branch, with its commit before:
# buf_breaking.sh BUF DIRECTORY
set -eu

buf=$1 directory=$2

base=
for branch in origin/main main; do
    base=$(git merge-base HEAD "$branch" 2> /dev/null) && break
done
if [ -n "$base" ] && [ "$base" = "$(git rev-parse HEAD)" ] && [ -z "$(git status --porcelain -- "$directory")" ]; then
    base=$(git rev-parse --verify --quiet HEAD^) || base=
fi
if [ -z "$base" ] || ! git cat-file -e "$base:$directory/buf.yaml" 2> /dev/null; then
    echo 'No earlier .proto files to compare with.'
    exit 0
fi

echo "Comparing with $(git log -1 --format='%h %s' "$base")"
before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
git archive "$base" "$directory" | tar -x -C "$before"
"$buf" breaking "$directory" --against "$before/$directory"
