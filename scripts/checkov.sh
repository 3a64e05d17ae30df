#!/bin/sh
# Has checkov look through what deploys the product: the manifests as kustomize builds them, Terraform, and Dockerfile and
# workflows where there are any: checkov.sh CHECKOV FOLDER, which is for what is built. What it finds and is left so, and why,
# stands in .checkov.yaml.
#
# The overlay for one machine is left out: what is not protected in it is meant so.
set -eu

checkov=$1
built=$2

if command -v kustomize >/dev/null; then
    kustomize='kustomize build'
elif command -v kubectl >/dev/null; then
    kustomize='kubectl kustomize'
else
    kustomize=
    echo 'Manifests not checked: they need kubectl or kustomize, of which none is installed.' >&2
fi

status=0
rm -rf "$built"
mkdir -p "$built"
if [ -n "$kustomize" ]; then
    for overlay in k8s/overlays/*; do
        name=$(basename "$overlay")
        [ "$name" = local ] || $kustomize "$overlay" >"$built/$name.yaml"
    done
    "$checkov" --framework kubernetes --directory "$built" || status=1
fi
"$checkov" --framework terraform --directory terraform || status=1
[ ! -e Dockerfile ] || "$checkov" --framework dockerfile --file Dockerfile || status=1
[ ! -d .github ] || "$checkov" --framework github_actions --directory . || status=1
exit $status
