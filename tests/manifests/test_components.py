"""What components ask of operators, and what is wired to our pods of what operators make of it.

How operators call their secrets and pods is as their documentation says: docs/kubernetes.md has the versions.
"""

import fnmatch
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy
import yaml
from grpc_health.v1 import health_pb2

from beers_cli import permissions
from beers_runtime import configuration, topology
from beers_runtime.configuration import broker_nodes
from beers_runtime.tracing_settings import tracing_settings
from beers_service.store import engine
from grpc_bridge import seed_servicer, servicer
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
    selected,
    settings_map,
)

PRODUCTION = K8S / "overlays/production"
OURS = ["beers-bridge", "beers-service"]


@pytest.fixture(scope="module")
def production() -> tuple[Manifest, ...]:
    return build(PRODUCTION)


def mounted_from(workload: Manifest, file: str) -> tuple[str, list[str]]:
    """Return the secret whose key is *file* in the pod, and all of its keys that are."""
    folder = str(Path(file).parent)
    (mount,) = (mount for mount in container(workload)["volumeMounts"] if mount["mountPath"] == folder)
    (volume,) = (volume for volume in pod(workload)["volumes"] if volume["name"] == mount["name"])
    assert Path(file).name in [item["path"] for item in volume["secret"]["items"]]
    return volume["secret"]["secretName"], [item["key"] for item in volume["secret"]["items"]]


def secret_of(workload: Manifest, variable: str) -> str:
    (found,) = (it for it in container(workload)["env"] if it["name"] == variable)
    return str(found["valueFrom"]["secretKeyRef"]["name"])


# ── RabbitMQ ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_node_of_rabbitmq_can_be_lost(production: tuple[Manifest, ...]) -> None:
    cluster = named(production, "RabbitmqCluster", "rabbitmq")["spec"]
    assert cluster["replicas"] == 3
    assert "cluster_partition_handling = pause_minority" in cluster["rabbitmq"]["additionalConfig"]
    assert settings_map(production)["QUEUE_TYPE"] == "quorum"
    budget = named(production, "PodDisruptionBudget", "rabbitmq")["spec"]
    assert budget["maxUnavailable"] == 1
    (apart,) = cluster["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["topologyKey"] == "kubernetes.io/hostname"
    assert apart["labelSelector"] == budget["selector"]


@pytest.mark.parametrize("name", OURS)
def test_our_pods_know_all_nodes_of_rabbitmq_and_trust_only_their_authority(
    production: tuple[Manifest, ...], name: str
) -> None:
    cluster = named(production, "RabbitmqCluster", "rabbitmq")["spec"]
    certificate = named(production, "Certificate", "rabbitmq")["spec"]
    assert cluster["tls"] == {"secretName": certificate["secretName"], "disableNonTLSListeners": True}
    workload = named(production, "Deployment", name)
    nodes = [urlsplit(node) for node in broker_nodes(own_variables(workload)["AMQP_URI"])]
    assert [node.hostname for node in nodes] == [
        f"rabbitmq-server-{number}.rabbitmq-nodes.beers.svc" for number in range(cluster["replicas"])
    ]
    for node in nodes:
        assert (node.scheme, node.username, node.password, node.port) == ("amqps", "secret", "secret", 5671)
        assert any(fnmatch.fnmatchcase(str(node.hostname), it) for it in certificate["dnsNames"])
        (trusted,) = parse_qs(node.query)["cafile"]
        assert mounted_from(workload, trusted) == (certificate["secretName"], ["ca.crt"])
    user = named(production, "User", name)["metadata"]["name"]
    for variable in ("RABBITMQ_USERNAME", "RABBITMQ_PASSWORD"):
        assert secret_of(workload, variable) == f"{user}-user-credentials"


def test_the_users_of_rabbitmq_have_the_rights_that_the_command_tells(production: tuple[Manifest, ...]) -> None:
    for user in permissions.users("beers-", []):
        given = named(production, "Permission", user.name)["spec"]
        assert given["userReference"] == {"name": user.name}
        assert given["permissions"] == {"configure": user.configure, "write": user.write, "read": user.read}
        topics = [
            permission["spec"]["permissions"]
            for permission in of_kind(production, "TopicPermission")
            if permission["spec"]["userReference"] == {"name": user.name}
        ]
        told = [{"exchange": topic.exchange, "write": topic.write, "read": topic.read} for topic in user.topics]
        assert sorted(topics, key=str) == sorted(told, key=str)
    keda = named(production, "Permission", "beers-keda")["spec"]["permissions"]
    assert set(keda.values()) == {permissions.NOTHING}
    assert {user["metadata"]["name"] for user in of_kind(production, "User")} == {*OURS, "beers-keda"}


def test_no_dead_letter_is_dropped_for_having_been_looked_at(production: tuple[Manifest, ...]) -> None:
    policy = named(production, "Policy", "beers-delivery-limit")["spec"]
    assert policy["applyTo"] == "quorum_queues"
    assert re.fullmatch(policy["pattern"], f"{topology.SERVICE}{topology.DEAD_LETTERS}")
    assert policy["definition"] == {"delivery-limit": -1}


@pytest.mark.parametrize(
    ("rabbitmq_or_postgresql", "callers", "port"),
    [("rabbitmq", OURS, 5671), ("postgresql", ["beers-service", "beers-migration"], 5432)],
)
def test_those_are_let_in_whom_our_policies_let_out(
    production: tuple[Manifest, ...], rabbitmq_or_postgresql: str, callers: list[str], port: int
) -> None:
    theirs = named(production, "NetworkPolicy", rabbitmq_or_postgresql)["spec"]
    let_in = theirs["ingress"][0]
    assert let_in["ports"] == [{"port": port}]
    (ours,) = (it["podSelector"] for it in let_in["from"] if "namespaceSelector" not in it)
    policy = named(production, "NetworkPolicy", f"beers-{rabbitmq_or_postgresql}")["spec"]
    (let_out,) = policy["egress"]
    assert port in [it["port"] for it in let_out["ports"]]
    assert let_out["to"] == [{"podSelector": theirs["podSelector"]}]
    pods = [it for it in production if it["kind"] in {"Deployment", "Job"}]
    for selector in (ours, policy["podSelector"]):
        assert {it["metadata"]["name"] for it in pods if selected(selector, labels(it))} == set(callers)


# ── KEDA ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_autoscaler_looks_at_the_length_and_the_age_of_the_queue_of_the_calls(tmp_path: Path) -> None:
    manifests = base_with(tmp_path, "keda-service")
    scaled = named(manifests, "ScaledObject", "beers-service")["spec"]
    length, age, processor = scaled["triggers"]
    assert length["metadata"]["queueName"] == age["metadata"]["queueName"] == topology.RPC_QUEUE
    assert length["metadata"]["mode"] == "QueueLength"
    assert (age["metadata"]["mode"], age["metricType"]) == ("ExpectedQueueConsumptionTime", "Value")
    assert processor["type"] == "cpu"
    assert scaled["minReplicaCount"] >= 2
    assert "replicas" not in named(manifests, "Deployment", "beers-service")["spec"]


def test_the_autoscaler_has_a_user_of_rabbitmq_that_may_only_look(production: tuple[Manifest, ...]) -> None:
    found = named(production, "TriggerAuthentication", "beers-service")["spec"]
    secrets = {it["parameter"]: (it["name"], it["key"]) for it in found["secretTargetRef"]}
    user = named(production, "User", "beers-keda")
    assert user["spec"]["tags"] == ["monitoring"]
    assert secrets == {
        "username": ("beers-keda-user-credentials", "username"),
        "password": ("beers-keda-user-credentials", "password"),
        "ca": ("rabbitmq-tls", "ca.crt"),
    }
    data = named(production, "ConfigMap", "beers-keda")["data"]
    assert {it["parameter"]: data[it["key"]] for it in found["configMapTargetRef"]} == data
    host = urlsplit(data["host"])
    assert (host.scheme, host.port, host.password) == ("https", 15671, None)
    assert host.hostname in named(production, "Certificate", "rabbitmq")["spec"]["dnsNames"]


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_acknowledged_commit_survives_the_loss_of_a_machine(production: tuple[Manifest, ...]) -> None:
    cluster = named(production, "Cluster", "postgresql")["spec"]
    synchronous = cluster["postgresql"]["synchronous"]
    assert cluster["instances"] >= synchronous["number"] + 2  # one may be away, and commits go on
    assert synchronous["number"] >= 1
    assert synchronous["dataDurability"] == "required"
    assert synchronous["failoverQuorum"] is True
    assert (cluster["affinity"]["podAntiAffinityType"], cluster["affinity"]["topologyKey"]) == (
        "required",
        "kubernetes.io/hostname",
    )


@pytest.mark.parametrize(("kind", "name"), [("Deployment", "beers-service"), ("Job", "beers-migration")])
def test_our_pods_find_the_primary_and_prove_that_it_is(production: tuple[Manifest, ...], kind: str, name: str) -> None:
    cluster = named(production, "Cluster", "postgresql")
    workload = named(production, kind, name)
    url = sqlalchemy.make_url(own_variables(workload)["DATABASE_URL"])
    assert (url.drivername, url.host, url.port) == ("postgresql+psycopg2", "postgresql-rw.beers.svc", 5432)
    assert url.database == cluster["spec"]["bootstrap"]["initdb"]["database"]
    assert url.query["sslmode"] == "verify-full"
    assert mounted_from(workload, str(url.query["sslrootcert"])) == ("postgresql-ca", ["ca.crt"])
    for variable in ("POSTGRESQL_USERNAME", "POSTGRESQL_PASSWORD"):
        assert secret_of(workload, variable) == "postgresql-app"
    assert cluster["spec"]["postgresql"]["pg_hba"][0].split() == ["hostnossl", "all", "all", "all", "reject"]


def test_postgresql_has_room_for_the_connections_of_all_services(production: tuple[Manifest, ...]) -> None:
    pool = engine.connect("postgresql+psycopg2://nobody@localhost/none").pool
    assert isinstance(pool, sqlalchemy.QueuePool)
    each = pool.size() + pool._max_overflow + 1  # the relay has one of its own
    services = (
        named(production, "ScaledObject", "beers-service")["spec"]["maxReplicaCount"] + 1
    )  # one more in a rollout
    allowed = int(named(production, "Cluster", "postgresql")["spec"]["postgresql"]["parameters"]["max_connections"])
    assert allowed >= services * each + 20  # the migration, the operator, standbys, an operator of flesh and blood


# ── The way in, and what is looked at ────────────────────────────────────────────────────────────────────────────────


def test_the_route_leads_what_the_bridge_serves_to_the_bridge(tmp_path: Path) -> None:
    manifests = base_with(tmp_path, "protected", "certificate", "grpcroute")
    (rule,) = named(manifests, "GRPCRoute", "beers")["spec"]["rules"]
    health = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    assert {match["method"]["service"] for match in rule["matches"]} == {
        servicer.SERVICE,
        seed_servicer.SERVICE,
        health,
    }
    (backend,) = rule["backendRefs"]
    (port,) = named(manifests, "Service", backend["name"])["spec"]["ports"]
    assert backend["port"] == port["port"]
    policy = named(manifests, "BackendTLSPolicy", "beers")["spec"]
    assert [it["name"] for it in policy["targetRefs"]] == [backend["name"]]
    assert policy["validation"]["hostname"] in named(manifests, "Certificate", "beers-bridge")["spec"]["dnsNames"]


def test_the_proxy_stands_where_the_bridges_stood_and_speaks_for_them(tmp_path: Path) -> None:
    manifests = base_with(tmp_path, "protected", "certificate", "proxy")
    proxy, bridge = (named(manifests, "Deployment", name) for name in ("beers-proxy", "beers-bridge"))
    chosen = {
        name: [it["metadata"]["name"] for it in (proxy, bridge) if selected({"matchLabels": selector}, labels(it))]
        for name in ("beers", "beers-headless")
        for selector in [named(manifests, "Service", name)["spec"]["selector"]]
    }
    assert chosen == {"beers": ["beers-proxy"], "beers-headless": ["beers-bridge"]}
    settings = own_variables(proxy)
    names = named(manifests, "Certificate", "beers-bridge")["spec"]["dnsNames"]
    assert settings["BRIDGES_NAME"] in names
    assert settings["BRIDGES"] in [f"{name}:8000" for name in names if name.startswith("beers-headless")]
    for variable in ("LISTEN_TLS", "BRIDGES_TLS"):
        (volume,) = (it for it in pod(proxy)["volumes"] if it["name"] == "tls")
        assert volume["secret"]["secretName"] == "beers-bridge-tls"
        assert settings[variable].startswith("/run/beers/tls/")
    documented = set(re.findall(r"^#   ([A-Z_]+) ", (K8S / "components/proxy/haproxy.cfg").read_text(), re.MULTILINE))
    assert settings.keys() <= documented


def test_the_proxy_is_restricted_and_reaches_bridges_alone(tmp_path: Path) -> None:
    manifests = base_with(tmp_path, "protected", "certificate", "proxy")
    proxy, bridge = (named(manifests, "Deployment", name) for name in ("beers-proxy", "beers-bridge"))
    assert pod(proxy)["securityContext"]["runAsNonRoot"] is True
    assert pod(proxy)["automountServiceAccountToken"] is False
    own = container(proxy)["securityContext"]
    assert (own["readOnlyRootFilesystem"], own["allowPrivilegeEscalation"]) == (True, False)
    assert own["capabilities"] == {"drop": ["ALL"]}
    policies = [
        it["spec"]
        for it in of_kind(manifests, "NetworkPolicy")
        if selected(it["spec"]["podSelector"], labels(proxy)) and it["metadata"]["name"] != "beers-names"
    ]
    (egress,) = [rule for policy in policies for rule in policy.get("egress", [])]
    ((reached,), (port,)) = egress["to"], egress["ports"]
    assert selected(reached["podSelector"], labels(bridge))
    assert not selected(reached["podSelector"], labels(proxy))
    assert port == {"port": 8000}
    let_in = named(manifests, "NetworkPolicy", "beers-proxied")["spec"]
    assert selected(let_in["podSelector"], labels(bridge))
    ((caller,),) = (rule["from"] for rule in let_in["ingress"])
    assert selected(caller["podSelector"], labels(proxy))


def test_prometheus_looks_at_the_proxy_where_it_tells_how_it_is_and_is_let_in(tmp_path: Path) -> None:
    manifests = base_with(tmp_path, "monitoring", "protected", "certificate", "proxy")
    proxy = named(manifests, "Deployment", "beers-proxy")
    monitor = named(manifests, "PodMonitor", "beers")["spec"]
    assert selected(monitor["selector"], labels(proxy))
    (endpoint,) = monitor["podMetricsEndpoints"]
    (port,) = (it["containerPort"] for it in container(proxy)["ports"] if it["name"] == endpoint["port"])
    assert own_variables(proxy)["METRICS"] == f":{port}"
    ingress = named(manifests, "NetworkPolicy", "beers-proxy")["spec"]["ingress"]
    (rule,) = (rule for rule in ingress if {"port": port} in rule["ports"])
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


def test_prometheus_looks_at_every_bridge_and_service(production: tuple[Manifest, ...]) -> None:
    monitor = named(production, "PodMonitor", "beers")["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["port"] == "metrics"
    pods = [it for it in production if it["kind"] in {"Deployment", "Job"}]
    chosen = [it for it in pods if selected(monitor["selector"], labels(it))]
    assert sorted(it["metadata"]["name"] for it in chosen) == OURS
    for workload in chosen:
        ports = [port["name"] for port in container(workload).get("ports", [])]
        assert ("metrics" in ports) is ("METRICS_PORT" in settings_map(production))


@pytest.mark.parametrize(("name", "port"), [("rabbitmq", 15691), ("postgresql", 9187)])
def test_prometheus_is_let_in_where_it_looks(production: tuple[Manifest, ...], name: str, port: int) -> None:
    monitor = named(production, "PodMonitor", name)["spec"]
    policy = named(production, "NetworkPolicy", name)["spec"]
    assert monitor["selector"] == policy["podSelector"]
    (rule,) = (rule for rule in policy["ingress"] if {"port": port} in rule["ports"])
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


def test_the_alerts_in_the_cluster_are_those_in_telemetry(tmp_path: Path) -> None:
    (rule,) = of_kind(base_with(tmp_path, "monitoring"), "PrometheusRule")
    alerts = (ROOT / "telemetry/alerts.yaml").read_text(encoding="utf-8")
    assert rule["spec"] == yaml.safe_load(alerts), "run `make rule`"


def test_traces_go_where_the_network_lets_them(tmp_path: Path) -> None:
    manifests = base_with(tmp_path, "traces")
    traced = tracing_settings(configuration.load(ROOT / "config.yaml", settings_map(manifests)), "beers-bridge")
    assert traced is not None
    assert traced.url == "http://collector.observability:4318/v1/traces"
    assert (traced.rate, traced.follows) == (0.1, True)
    (rule,) = named(manifests, "NetworkPolicy", "beers-traces")["spec"]["egress"]
    assert rule == {
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}}],
        "ports": [{"port": 4318}],
    }


def test_names_are_asked_for_outside_of_the_cluster_where_its_dns_is_no_pod() -> None:
    (rule,) = named(build(K8S / "overlays/aws"), "NetworkPolicy", "beers-names")["spec"]["egress"]
    assert rule == {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
