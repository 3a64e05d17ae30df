"""What Dockerfile and compose.yaml say is what the manifests, the programs and each other take them to say."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from typer.testing import CliRunner

from beers_cli.application import application
from beers_runtime import configuration
from grpc_bridge.settings import settings
from tests.manifests.rendered import K8S, ROOT, Manifest, container, pod, workloads

LINES = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8")).splitlines()
INSTRUCTIONS = [tuple(line.split(maxsplit=1)) for line in LINES if line and not line.startswith("#")]
FINAL = INSTRUCTIONS[max(number for number, it in enumerate(INSTRUCTIONS) if it[0] == "FROM") :]
COMPOSE: Manifest = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Manifest] = COMPOSE["services"]
OURS = {name: it for name, it in SERVICES.items() if it["image"].startswith("beers:")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
READ = set(re.findall(r"\$\{([A-Z_]+):", (ROOT / "config.yaml").read_text(encoding="utf-8")))


def final(keyword: str) -> str:
    """Return what follows the one *keyword* of the last stage."""
    (found,) = (rest for word, rest in FINAL if word == keyword)
    return found


def manifests_of(*names: str) -> Iterator[Manifest]:
    """Yield the documents in files of `k8s/base` as they stand there."""
    for name in names:
        yield from yaml.safe_load_all((K8S / "base" / name).read_text(encoding="utf-8"))


def copied() -> set[str]:
    """Return all that the Dockerfile copies out of the project."""
    sources: set[str] = set()
    for word, rest in INSTRUCTIONS:
        if word == "COPY" and "--from" not in rest:
            sources |= set(rest.split()[:-1])
    return sources


def let_in() -> set[str]:
    """Return what .dockerignore makes exceptions of; everything else it has to leave out."""
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in patterns if line and not line.startswith("#")]
    assert rules[0] == "*"
    return {rule.removeprefix("!") for rule in rules if rule.startswith("!")}


def test_the_image_is_built_from_what_it_copies_and_nothing_else_gets_there() -> None:
    assert let_in() == copied()


def test_nothing_that_could_hold_a_secret_is_let_in() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    entered = [
        path
        for path in map(PurePosixPath, tracked.stdout.splitlines())
        if any(path.is_relative_to(name) for name in let_in())
    ]
    assert PurePosixPath("beers_service/service.py") in entered
    kinds = {".py", ".pyi", ".proto", ".json", ".yaml", ".md", ".txt", ".toml", ".mako", ".sh"}
    assert [path for path in entered if path.suffix not in kinds and path.name not in {"LICENSE", "py.typed"}] == []
    assert not let_in() & {".", ".git", ".venv", "var", "build", "k8s", "tests"}


def test_user_and_port_are_those_of_the_manifests() -> None:
    assert final("USER") == "10001:10001"
    base = tuple(manifests_of("bridge.yaml", "service.yaml", "migration.yaml"))
    pods = [pod(workload) for workload in workloads(base)]
    assert len(pods) == 3
    for spec in pods:
        security = spec["securityContext"]
        assert f"{security['runAsUser']}:{security['runAsGroup']}" == final("USER")
        (only,) = spec["containers"]
        assert "command" not in only  # the entry point is the image's
        ports = {port["name"]: str(port["containerPort"]) for port in only.get("ports", [])}
        assert ports.get("grpc", final("EXPOSE")) == final("EXPOSE")


def test_the_entry_point_is_a_script_of_the_project_and_the_command_one_of_its() -> None:
    (entry,) = json.loads(final("ENTRYPOINT"))
    assert entry in PROJECT["scripts"]
    commands = [json.loads(final("CMD")), *(it["command"] for it in OURS.values())]
    for command in commands:
        assert CliRunner().invoke(application, [*command, "--help"]).exit_code == 0


def test_the_configuration_is_where_its_variable_says() -> None:
    variables = dict(re.findall(r"(\w+)=(\S+)", final("ENV")))
    source, target = next(rest.split() for word, rest in FINAL if word == "COPY" and "--from" not in rest)
    assert variables["BEERS_CONFIG"] == target + source


def test_the_check_of_health_asks_at_the_port_where_the_bridge_listens() -> None:
    check = final("HEALTHCHECK")
    (command,) = re.findall(r"exec (beers .*?)\"]", check)
    assert CliRunner().invoke(application, [*command.split()[1:], "--help"]).exit_code == 0
    (port,) = re.findall(r"127\.0\.0\.1:\$\{PORT:-(\d+)}", check)
    given = settings(configuration.load(ROOT / "config.yaml", {}))
    assert int(port) == given.port
    assert port == final("EXPOSE")


def test_one_version_and_a_python_that_is_supported() -> None:
    arguments = dict(rest.split("=") for word, rest in INSTRUCTIONS if word == "ARG")
    assert arguments["VERSION"] == PROJECT["version"]
    (base,) = manifests_of("kustomization.yaml")
    assert [image["newTag"] for image in base["images"]] == [PROJECT["version"]]
    assert {it["image"] for it in OURS.values()} == {f"beers:{PROJECT['version']}"}
    assert SpecifierSet(PROJECT["requires-python"]).contains(arguments["PYTHON_VERSION"])
    bases = {rest.split()[0] for word, rest in INSTRUCTIONS if word == "FROM"}
    assert bases == {"python:${PYTHON_VERSION}-slim-bookworm"}


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_compose_has_no_rights_and_no_place_to_write(name: str) -> None:
    ours = OURS[name]
    assert ours["read_only"] is True
    assert ours["cap_drop"] == ["ALL"]
    assert ours["security_opt"] == ["no-new-privileges:true"]
    assert not {"volumes", "user", "privileged"} & set(ours)


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_compose_is_given_variables_that_it_reads(name: str) -> None:
    assert set(OURS[name]["environment"]) <= READ


def test_the_passwords_in_the_addresses_are_those_that_the_servers_of_compose_take() -> None:
    taken = {
        "rabbitmq": SERVICES["rabbitmq"]["environment"]["RABBITMQ_DEFAULT_PASS"],
        "postgresql": SERVICES["postgresql"]["environment"]["POSTGRES_PASSWORD"],
    }
    addresses = [value for it in OURS.values() for value in it["environment"].values() if "://" in value]
    used = {re.findall(r"://beers:(.+)@(\w+):", address)[0][::-1] for address in addresses}
    assert used == set(taken.items())
    assert [it for it in taken.values() if not re.fullmatch(r"\$\{[A-Z_]+:-for-development}", it)] == []


def test_compose_publishes_ports_on_the_loopback_interface_alone() -> None:
    ports = [port for it in SERVICES.values() for port in it.get("ports", [])]
    assert len(ports) == len(set(ports)) >= 2
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_prometheus_asks_every_process_where_it_tells_of_itself() -> None:
    scraping = yaml.safe_load((ROOT / "telemetry/compose/prometheus.yaml").read_text(encoding="utf-8"))[
        "scrape_configs"
    ]
    asked = {
        (name, str(found["port"]))
        for job in scraping
        for found in job.get("dns_sd_configs", [])
        for name in found["names"]
    }
    telling = {
        (name, it["environment"]["METRICS_PORT"]) for name, it in OURS.items() if "METRICS_PORT" in it["environment"]
    }
    assert asked == telling
    assert {name for name, _port in telling} == {name for name in OURS if name != "migration"}


def test_nothing_that_only_watches_is_started_unless_it_is_wanted() -> None:
    watching = {name for name, it in SERVICES.items() if it.get("profiles") == ["telemetry"]}
    assert watching == set(SERVICES) - set(OURS) - {"rabbitmq", "postgresql"}
    for name in watching:
        for volume in SERVICES[name].get("volumes", []):
            source, _, _ = volume.partition(":")
            assert source in COMPOSE["volumes"] or (ROOT / source).is_dir()


def test_services_of_compose_start_when_the_schema_is_there() -> None:
    assert SERVICES["service"]["depends_on"]["migration"] == {"condition": "service_completed_successfully"}
    assert SERVICES["migration"]["depends_on"]["postgresql"] == {"condition": "service_healthy"}


def test_compose_and_the_manifests_run_the_same_broker_and_database() -> None:
    for name in ("rabbitmq", "postgresql"):
        documents = yaml.safe_load_all((K8S / f"overlays/local/{name}.yaml").read_text(encoding="utf-8"))
        (server,) = (it for it in documents if it["kind"] == "StatefulSet")
        assert container(server)["image"] == SERVICES[name]["image"]
