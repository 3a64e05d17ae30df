"""What every pod keeps to, and that what selects pods selects those that it means."""

from pathlib import Path

import pytest

from tests.manifests.rendered import (
    K8S,
    Manifest,
    build,
    container,
    labels,
    named,
    of_kind,
    pod,
    selected,
    workloads,
)

FOLDERS = [K8S / "base", *(K8S / "overlays" / name for name in ("local", "production", "aws", "gcp"))]
USER = 10001
"""Of the image."""

overlays = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def _ours(workload: Manifest) -> bool:
    return bool(labels(workload)["app.kubernetes.io/name"] == "beers")


@overlays
def test_every_pod_is_restricted(folder: Path) -> None:
    manifests = build(folder)
    (namespace,) = of_kind(manifests, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for workload in workloads(manifests):
        spec, security = pod(workload), pod(workload)["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == (USER if _ours(workload) else 999)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        own = container(workload)["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert own.get("readOnlyRootFilesystem", False) is _ours(workload)


@overlays
def test_every_container_says_what_it_needs_and_what_it_may_take(folder: Path) -> None:
    for workload in workloads(build(folder)):
        resources = container(workload)["resources"]
        assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory"}


@overlays
def test_what_selects_pods_selects_its_own(folder: Path) -> None:
    manifests = build(folder)
    pods = {workload["metadata"]["name"]: labels(workload) for workload in workloads(manifests)}
    for workload in of_kind(manifests, "Deployment", "StatefulSet"):
        name = workload["metadata"]["name"]
        assert [it for it, has in pods.items() if selected(workload["spec"]["selector"], has)] == [name]
        for constraint in pod(workload).get("topologySpreadConstraints", []):
            assert [it for it, has in pods.items() if selected(constraint["labelSelector"], has)] == [name]
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        if budget["metadata"]["name"] == "rabbitmq":
            continue  # whose pods the operator makes
        chosen = [name for name, has in pods.items() if selected(budget["spec"]["selector"], has)]
        assert chosen == [budget["metadata"]["name"]]
    for service in of_kind(manifests, "Service"):
        name = service["metadata"]["name"]
        chosen = [it for it, has in pods.items() if selected({"matchLabels": service["spec"]["selector"]}, has)]
        assert chosen == ["beers-bridge" if name.startswith("beers") else name]


@overlays
def test_every_account_that_a_pod_has_is_there_and_has_no_token(folder: Path) -> None:
    manifests = build(folder)
    for workload in workloads(manifests):
        if _ours(workload):
            account = named(manifests, "ServiceAccount", pod(workload)["serviceAccountName"])
            assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("workload", "calls", "reaches"),
    [
        ("beers-bridge", [8000, 9464], {53, 5671}),
        ("beers-service", [9464], {53, 5432, 5671}),
        ("beers-migration", [], {53, 5432}),
    ],
)
def test_a_pod_is_called_at_and_reaches_only_what_it_needs(workload: str, calls: list[int], reaches: set[int]) -> None:
    manifests = build(K8S / "overlays/production")
    (found,) = (it for it in workloads(manifests) if it["metadata"]["name"] == workload)
    policies = [
        policy["spec"]
        for policy in of_kind(manifests, "NetworkPolicy")
        if selected(policy["spec"]["podSelector"], labels(found))
    ]
    assert {"Ingress", "Egress"} <= {direction for policy in policies for direction in policy["policyTypes"]}
    ingress = [rule for policy in policies for rule in policy.get("ingress", [])]
    assert [port["port"] for rule in ingress for port in rule["ports"]] == calls
    assert all(rule["from"] for rule in ingress)
    egress = [rule for policy in policies for rule in policy.get("egress", [])]
    assert {port["port"] for rule in egress for port in rule["ports"]} == reaches
