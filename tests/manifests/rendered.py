"""What kustomize makes of the folders in `k8s`, and the parts of it that tests look at."""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"

Manifest = dict[str, Any]


@functools.cache
def build(folder: Path) -> tuple[Manifest, ...]:
    """Return what *folder* yields; skips the test where neither kubectl nor kustomize is installed."""
    if shutil.which("kustomize"):
        command = ["kustomize", "build"]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    else:
        pytest.skip("needs kubectl or kustomize, of which none is installed")
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def base_with(folder: Path, *components: str) -> tuple[Manifest, ...]:
    """Return what the base yields together with *components*, written down in *folder*."""
    k8s = os.path.relpath(K8S, folder)
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{k8s}/base"],
        "components": [f"{k8s}/components/{component}" for component in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
    return build(folder)


def of_kind(manifests: tuple[Manifest, ...], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def named(manifests: tuple[Manifest, ...], kind: str, name: str) -> Manifest:
    (found,) = (manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"] == name)
    return found


def workloads(manifests: tuple[Manifest, ...]) -> list[Manifest]:
    return of_kind(manifests, "Deployment", "StatefulSet", "Job")


def pod(workload: Manifest) -> Manifest:
    found: Manifest = workload["spec"]["template"]["spec"]
    return found


def container(workload: Manifest) -> Manifest:
    (found,) = pod(workload)["containers"]
    return dict(found)


def settings_map(manifests: tuple[Manifest, ...]) -> dict[str, str]:
    """Return the settings that our containers get all of."""
    bridge = container(named(manifests, "Deployment", "beers-bridge"))
    (source,) = bridge["envFrom"]
    return dict(named(manifests, "ConfigMap", source["configMapRef"]["name"])["data"])


def own_variables(workload: Manifest) -> dict[str, str]:
    """Return the variables that a container gets one by one, in their order; what a secret holds is ``secret``.

    What a value refers to, such as ``$(NAME)``, is put in if it stands before, as Kubernetes does.
    """
    found: dict[str, str] = {}
    for variable in container(workload).get("env", []):
        value = variable.get("value", "secret")
        found[variable["name"]] = re.sub(r"\$\(([A-Z_]+)\)", lambda it: found.get(it[1], it[0]), value)
    return found


def referred(workload: Manifest) -> set[str]:
    """Return the names of the variables that others of a container refer to."""
    return set(re.findall(r"\$\(([A-Z_]+)\)", str(container(workload).get("env", []))))


def needed(manifests: tuple[Manifest, ...]) -> set[tuple[str, str]]:
    """Return the names and keys of all secrets that *manifests* refer to."""
    found: set[tuple[str, str]] = set()
    for workload in workloads(manifests):
        references = [variable.get("valueFrom", {}) for variable in container(workload).get("env", [])]
        secrets = [reference["secretKeyRef"] for reference in references if "secretKeyRef" in reference]
        found |= {(secret["name"], secret["key"]) for secret in secrets}
        for volume in pod(workload).get("volumes", []):
            secret = volume.get("secret", {})
            found |= {(secret["secretName"], item["key"]) for item in secret.get("items", [])}
    return found


def selected(selector: Manifest, labels: dict[str, str]) -> bool:
    """Return whether *selector*, with matchLabels and the operator In, selects *labels*."""
    for name, value in selector.get("matchLabels", {}).items():
        if labels.get(name) != value:
            return False
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def labels(workload: Manifest) -> dict[str, str]:
    return dict(workload["spec"]["template"]["metadata"]["labels"])
