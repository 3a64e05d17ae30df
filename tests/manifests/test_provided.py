"""What has to be there before the manifests are applied: made by the script for one machine, told for production."""

import os
import re
import subprocess
from pathlib import Path

import yaml

from tests.manifests.rendered import K8S, ROOT, Manifest, build, needed, of_kind

PAGE = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")


def made(tmp_path: Path) -> list[Manifest]:
    """Run the script with a kubectl that keeps what it is told to create."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\n[ "$*" = "create --filename -" ] || exit 9\nexec cat\n')
    kubectl.chmod(0o700)
    done = subprocess.run(
        ["sh", K8S / "overlays/local/secrets.sh"],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return list(yaml.safe_load(done.stdout)["items"])


def test_the_script_makes_every_secret_that_the_overlay_for_one_machine_refers_to(tmp_path: Path) -> None:
    items = made(tmp_path)
    (namespace,) = of_kind(tuple(items), "Namespace")
    secrets = of_kind(tuple(items), "Secret")
    assert {secret["metadata"]["namespace"] for secret in secrets} == {namespace["metadata"]["name"]}
    has = {(secret["metadata"]["name"], key) for secret in secrets for key in secret["stringData"]}
    assert has == needed(build(K8S / "overlays/local"))


def test_the_passwords_are_those_in_the_addresses_and_others_each_time(tmp_path: Path) -> None:
    values = {item["metadata"]["name"]: item["stringData"] for item in made(tmp_path) if item["kind"] == "Secret"}
    rabbitmq, postgresql = values["rabbitmq"]["RABBITMQ_DEFAULT_PASS"], values["postgresql"]["POSTGRES_PASSWORD"]
    assert len({rabbitmq, postgresql}) == 2
    assert re.fullmatch("[0-9a-f]{48}", rabbitmq)
    assert values["beers-bridge"]["AMQP_URI"] == f"amqp://beers:{rabbitmq}@rabbitmq:5672/"
    assert postgresql in values["beers-service"]["DATABASE_URL"]
    again = {item["metadata"]["name"]: item.get("stringData") for item in made(tmp_path)}
    assert again["rabbitmq"] != values["rabbitmq"]


def test_the_hosts_in_the_addresses_are_services_of_the_overlay(tmp_path: Path) -> None:
    services = {service["metadata"]["name"] for service in of_kind(build(K8S / "overlays/local"), "Service")}
    values = [value for item in made(tmp_path) for value in item.get("stringData", {}).values() if "://" in value]
    assert {re.findall(r"@([a-z]+):", value)[0] for value in values} == {"rabbitmq", "postgresql"}
    assert services >= {"rabbitmq", "postgresql"}


def test_the_page_tells_every_secret_of_production() -> None:
    for name, key in needed(build(K8S / "overlays/production")) | needed(build(K8S / "base")):
        (row,) = re.findall(rf"^\| `{name}` \|.*", PAGE, re.MULTILINE)
        assert f"`{key}`" in row


def test_the_folders_and_files_that_readme_and_page_name_are_there() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\bk8s/overlays/[a-z./]+[a-z]", PAGE + readme))
    assert "k8s/overlays/local/secrets.sh" in named
    assert all((ROOT / path).exists() for path in named)
    assert "kubectl apply -k k8s/overlays/local" in readme
    assert all((K8S / path).is_dir() for path in re.findall(r"`(components/[a-z-]+)`", PAGE))
