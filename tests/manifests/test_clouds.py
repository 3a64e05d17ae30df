"""What the overlays for clouds expect is what Terraform makes."""

import re
from pathlib import Path

import pytest

from tests.manifests.rendered import K8S, ROOT, Manifest, build, named, needed, of_kind, settings_map

CLOUDS = ["aws", "gcp"]


def copied(manifests: tuple[Manifest, ...]) -> dict[str, str]:
    """Return the secrets that the External Secrets Operator makes, and where it finds each."""
    found = {}
    for external in of_kind(manifests, "ExternalSecret"):
        assert (
            external["spec"]["secretStoreRef"]["name"] == named(manifests, "SecretStore", "beers")["metadata"]["name"]
        )
        (source,) = external["spec"]["dataFrom"]
        found[external["spec"]["target"]["name"]] = source["extract"]["key"]
    return found


def entries(cloud: str) -> set[str]:
    """Return the names of the secrets that Terraform writes for pods."""
    text = (ROOT / "terraform" / cloud / "secrets.tf").read_text(encoding="utf-8")
    (names,) = re.findall(r"^  entries\s+= toset\(\[(.*)\]\)$", text, re.MULTILINE)
    return set(re.findall(r'"([a-z-]+)"', names))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_secret_of_the_overlay_is_made_by_somebody(cloud: str) -> None:
    manifests = build(K8S / "overlays" / cloud)
    names = {name for name, _key in needed(manifests)}
    made = {it["spec"]["secretName"] for it in of_kind(manifests, "Certificate")}
    made |= {f"{it['metadata']['name']}-user-credentials" for it in of_kind(manifests, "User")}
    assert names - made - {"beers-tokens"} == set(copied(manifests))


@pytest.mark.parametrize(("cloud", "prefix"), [("aws", "beers/"), ("gcp", "beers-")])
def test_what_is_copied_into_the_namespace_is_what_terraform_writes(cloud: str, prefix: str) -> None:
    found = copied(build(K8S / "overlays" / cloud))
    assert set(found) == entries(cloud)
    text = (ROOT / "terraform" / cloud / "secrets.tf").read_text(encoding="utf-8")
    separator = prefix.removeprefix("beers")
    assert f'"${{var.name}}{separator}${{each.key}}"' in text
    for name, key in found.items():
        assert key == f"{prefix}{name}"


def test_the_account_that_may_read_the_secrets_is_the_one_that_does() -> None:
    manifests = build(K8S / "overlays/gcp")
    store = named(manifests, "SecretStore", "beers")["spec"]["provider"]["gcpsm"]
    account = store["auth"]["workloadIdentity"]["serviceAccountRef"]["name"]
    assert named(manifests, "ServiceAccount", account)["metadata"]["namespace"] == "beers"
    assert f"/subject/ns/beers/sa/{account}" in (ROOT / "terraform/gcp/identity.tf").read_text(encoding="utf-8")


@pytest.mark.parametrize("cloud", CLOUDS)
def test_files_that_the_addresses_name_are_in_a_folder_that_is_mounted(cloud: str) -> None:
    text = (ROOT / "terraform" / cloud / "secrets.tf").read_text(encoding="utf-8")
    (authority,) = re.findall(r"sslrootcert=([^\"]+)", text)
    assert Path(authority).parent == Path("/run/beers/authorities")
    readme = (ROOT / "terraform" / cloud / "README.md").read_text(encoding="utf-8")
    assert Path(authority).name in readme
    assert settings_map(build(K8S / "overlays" / cloud))["QUEUE_TYPE"] == "quorum"
