#!/bin/sh
# Builds each folder of manifests, and each component together with the base, and compares what comes of it with the schemas of
# Kubernetes: manifests.sh KUBERNETES-VALIDATE FOLDER
#
# Kinds that are not Kubernetes' own, such as a Certificate, are only built: there is no schema for them here.
set -eu

validate=$1
folder=$2
# An older version that clusters still run, and a newer one.
versions='1.33 1.35'

if command -v kustomize >/dev/null; then
    kustomize='kustomize build'
elif command -v kubectl >/dev/null; then
    kustomize='kubectl kustomize'
else
    echo 'Not checked: the manifests need kubectl or kustomize, of which none is installed.' >&2
    exit 0
fi

# Within the folder, since a kustomization names others by a path from its own.
built=$(mktemp -d "$folder/.built.XXXXXX")
trap 'rm -rf "$built"' EXIT

for overlay in "$folder"/base "$folder"/overlays/*; do
    $kustomize "$overlay" >"$built/$(basename "$overlay").yaml"
done
for component in "$folder"/components/*; do
    name=$(basename "$component")
    cat >"$built/kustomization.yaml" <<END
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../base]
components: [../components/$name]
END
    $kustomize "$built" >"$built/component-$name.yaml"
    rm "$built/kustomization.yaml"
done

# All at once: to read the schemas takes longer than to compare with them.
for version in $versions; do
    # It tells of each document that is right; a kind that it has no schema for is a warning.
    "$validate" --strict --no-warn --quiet -k "$version" "$built"/*.yaml
done
