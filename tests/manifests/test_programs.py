"""The manifests say of the programs what is true of them: variables, ports, probes, commands and the time to end."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from beers_cli.application import application
from beers_cli.health import SERVICE
from beers_runtime import configuration
from beers_runtime.configuration import ConfigurationError
from grpc_bridge import health, servicer
from grpc_bridge.settings import Settings, settings
from tests.manifests.rendered import (
    K8S,
    ROOT,
    Manifest,
    base_with,
    build,
    container,
    labels,
    named,
    of_kind,
    own_variables,
    pod,
    referred,
    selected,
    settings_map,
    workloads,
)

FOLDERS = [K8S / "base", *(K8S / "overlays" / name for name in ("local", "production", "aws", "gcp"))]
OURS = ["beers-bridge", "beers-service"]
LEAVING = 5
"""Seconds that a process may take to leave broker and store, after its grace."""

overlays = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def configured(manifests: tuple[Manifest, ...], **added: str) -> Settings:
    """Return what the bridge makes of what it is given, with what is *added*; secrets are any text."""
    given = own_variables(named(manifests, "Deployment", "beers-bridge"))
    # Whom to trust is in a file of the pod.
    uri = re.sub(r"\?cafile=[^;]+", "", given["AMQP_URI"])
    given["AMQP_URI"] = "amqp://a:b@rabbitmq/" if uri == "secret" else uri
    return settings(configuration.load(ROOT / "config.yaml", settings_map(manifests) | given | added))


def opened(manifests: tuple[Manifest, ...], deployment: str, name: str) -> Manifest:
    """Return the port called *name* of the *deployment*'s container."""
    ports = container(named(manifests, "Deployment", deployment))["ports"]
    (found,) = (port for port in ports if port["name"] == name)
    return dict(found)


@overlays
def test_every_variable_is_one_that_the_programs_read(folder: Path) -> None:
    manifests = build(folder)
    read = set(re.findall(r"\$\{([A-Z_]+):", (ROOT / "config.yaml").read_text()))
    access = set(re.findall(r'"(BEERS_[A-Z_]+)"', "".join(p.read_text() for p in (ROOT / "beers_cli").glob("*.py"))))
    assert "AMQP_URI" in read
    assert "BEERS_ADDRESS" in access
    assert set(settings_map(manifests)) <= read
    for workload in workloads(manifests):
        if container(workload)["image"].startswith("beers"):
            assert set(own_variables(workload)) - referred(workload) <= read | access


def test_the_base_alone_does_not_open_an_unprotected_port() -> None:
    with pytest.raises(ConfigurationError, match="is open to other machines without TLS"):
        configured(build(K8S / "base"))


def test_production_asks_for_tls_and_tokens_and_local_says_that_it_does_not() -> None:
    production = configured(build(K8S / "overlays/production"))
    assert production.missing == ""
    assert not production.allow_insecure
    assert production.tokens is not None
    local = configured(build(K8S / "overlays/local"))
    assert local.allow_insecure


def test_production_declares_quorum_queues() -> None:
    assert settings_map(build(K8S / "overlays/production"))["QUEUE_TYPE"] == "quorum"


@overlays
def test_the_bridge_listens_where_the_services_lead(folder: Path) -> None:
    manifests = build(folder)
    port = opened(manifests, "beers-bridge", "grpc")
    assert int(settings_map(manifests)["PORT"]) == port["containerPort"]
    services = [service for service in of_kind(manifests, "Service") if service["metadata"]["name"].startswith("beers")]
    assert {"beers", "beers-headless"} <= {service["metadata"]["name"] for service in services}
    for service in services:
        (led,) = service["spec"]["ports"]
        assert (led["port"], led["targetPort"]) == (port["containerPort"], port["name"])
    policy = named(manifests, "NetworkPolicy", "beers-clients")
    assert policy["spec"]["ingress"][0]["ports"] == [{"port": port["containerPort"]}]


@overlays
@pytest.mark.parametrize("name", OURS)
def test_metrics_are_told_where_prometheus_is_let_in_and_no_service_leads(folder: Path, name: str) -> None:
    manifests = build(folder)
    port = opened(manifests, name, "metrics")["containerPort"]
    address = configured(manifests, ALLOW_INSECURE="true").metrics
    assert address == ("0.0.0.0", port)  # noqa: S104 - all of the pod's
    policy = named(manifests, "NetworkPolicy", "beers-metrics")["spec"]
    assert selected(policy["podSelector"], labels(named(manifests, "Deployment", name)))
    (ingress,) = policy["ingress"]
    assert ingress["ports"] == [{"port": port}]
    assert ingress["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    led = [each["targetPort"] for service in of_kind(manifests, "Service") for each in service["spec"]["ports"]]
    assert not {"metrics", port} & set(led)


def test_the_headless_service_has_no_address_of_its_own() -> None:
    assert named(build(K8S / "base"), "Service", "beers-headless")["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("folder", FOLDERS[:2], ids=lambda folder: folder.name)
def test_grpc_probes_ask_for_what_the_bridge_knows(folder: Path) -> None:
    manifests = build(folder)
    bridge = container(named(manifests, "Deployment", "beers-bridge"))
    port = int(settings_map(manifests)["PORT"])
    assert bridge["startupProbe"]["grpc"] == {"port": port, "service": health.LIVENESS}
    assert bridge["livenessProbe"]["grpc"] == {"port": port, "service": health.LIVENESS}
    assert bridge["readinessProbe"]["grpc"] == {"port": port, "service": servicer.SERVICE}
    assert configured(manifests, ALLOW_INSECURE="true").tls is None  # of which the kubelet's probe knows nothing


def test_where_the_port_speaks_tls_the_probes_do() -> None:
    manifests = build(K8S / "overlays/production")
    bridge = container(named(manifests, "Deployment", "beers-bridge"))
    probes = {name: bridge[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}
    assert not [name for name, probe in probes.items() if "grpc" in probe]
    assert {name: probe["exec"]["command"] for name, probe in probes.items()} == {
        "startup": ["beers", "health", "--liveness"],
        "liveness": ["beers", "health", "--liveness"],
        "readiness": ["beers", "health"],
    }
    assert servicer.SERVICE == SERVICE
    given = {variable["name"]: variable.get("value") for variable in bridge["env"]}
    assert given["BEERS_ADDRESS"] == f"localhost:{settings_map(manifests)['PORT']}"
    mounts = {mount["mountPath"] for mount in bridge["volumeMounts"]}
    files = [given["BEERS_TLS_CA"], *(settings_map(manifests)[name] for name in ("TLS_CERTIFICATE", "TLS_KEY"))]
    for file in [*files, settings_map(manifests)["TOKEN_JWKS"]]:
        assert str(Path(str(file)).parent) in mounts


def test_the_commands_of_containers_and_probes_are_there() -> None:
    base = build(K8S / "base")
    (job,) = of_kind(base, "Job")
    ours = [container(named(base, "Deployment", name))["args"] for name in OURS]
    bridge = container(named(build(K8S / "overlays/production"), "Deployment", "beers-bridge"))
    for command in (*ours, container(job)["args"], bridge["livenessProbe"]["exec"]["command"][1:]):
        assert CliRunner().invoke(application, [*command, "--help"]).exit_code == 0


@overlays
@pytest.mark.parametrize("name", OURS)
def test_a_pod_has_longer_to_end_than_its_process_takes(folder: Path, name: str) -> None:
    manifests = build(folder)
    given = configured(manifests, ALLOW_INSECURE="true")
    assert given.drain_delay > 0
    deployment = named(manifests, "Deployment", name)
    assert pod(deployment)["terminationGracePeriodSeconds"] >= given.drain_delay + given.grace + LEAVING
    assert "lifecycle" not in container(deployment)  # a preStop hook takes its time out of the same


@overlays
def test_an_address_or_password_comes_from_secrets_alone(folder: Path) -> None:
    manifests = build(folder)
    assert not of_kind(manifests, "Secret")
    for workload in workloads(manifests):
        variables = {variable["name"]: variable for variable in container(workload).get("env", [])}
        for name, variable in variables.items():
            if not re.search("URI|URL|PASS|TOKEN", name):
                continue
            if "value" in variable:
                user, password = re.findall(r"://\$\(([A-Z_]+)\):\$\(([A-Z_]+)\)@", variable["value"])[0]
                assert {"secretKeyRef"} == set(variables[user]["valueFrom"]) == set(variables[password]["valueFrom"])
            elif name in referred(workload):
                assert variable["valueFrom"]["secretKeyRef"]["key"] == "password"
            else:
                assert variable["valueFrom"]["secretKeyRef"]["key"] == name
    assert not [value for value in settings_map(manifests).values() if "://" in value]


@overlays
def test_what_has_a_default_for_one_machine_only_is_set(folder: Path) -> None:
    manifests = build(folder)
    bridge, service = (own_variables(named(manifests, "Deployment", name)) for name in OURS)
    migration = own_variables(named(manifests, "Job", "beers-migration"))
    assert {"AMQP_URI"} == {"AMQP_URI", "DATABASE_URL"} & set(bridge)  # a bridge has no business with the store
    assert {"AMQP_URI", "DATABASE_URL"} <= set(service)
    assert {"DATABASE_URL"} == {"AMQP_URI", "DATABASE_URL"} & set(migration)
    assert {"HOST", "PORT", "DRAIN_DELAY", "LOG_FORMAT"} <= set(settings_map(manifests))


@pytest.mark.parametrize("part", ["bridge", "service"])
def test_an_autoscaler_alone_says_how_many_there_are(tmp_path: Path, part: str) -> None:
    manifests = base_with(tmp_path, f"hpa-{part}")
    autoscaler = named(manifests, "HorizontalPodAutoscaler", f"beers-{part}")["spec"]
    assert autoscaler["scaleTargetRef"]["name"] == f"beers-{part}"
    assert autoscaler["minReplicas"] >= 2
    assert "replicas" not in named(manifests, "Deployment", f"beers-{part}")["spec"]


def test_the_certificate_names_all_by_which_the_bridge_is_called(tmp_path: Path) -> None:
    manifests = base_with(tmp_path, "protected", "certificate")
    certificate = named(manifests, "Certificate", "beers-bridge")["spec"]
    bridge = named(manifests, "Deployment", "beers-bridge")
    (mounted,) = (volume for volume in pod(bridge)["volumes"] if volume["name"] == "tls")
    assert mounted["secret"]["secretName"] == certificate["secretName"]
    called = {"localhost"} | {f"{service['metadata']['name']}.beers" for service in of_kind(manifests, "Service")}
    assert called <= set(certificate["dnsNames"])
