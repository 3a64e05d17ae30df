"""What is for Terraform, as far as it can be judged without providers: names that are there, secrets that stay in."""

import functools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest

ROOT = Path(__file__).parents[2] / "terraform"

Block = dict[str, Any]

folders = pytest.mark.parametrize("folder", [ROOT / "aws", ROOT / "gcp"], ids=lambda folder: folder.name)


def unquoted(text: str) -> str:
    return text.strip('"')


@functools.cache
def read(folder: Path) -> dict[str, list[Block]]:
    """Return the blocks of all files of *folder* by their kind."""
    found: dict[str, list[Block]] = {}
    for path in sorted(folder.glob("*.tf")):
        for kind, blocks in hcl2.loads(path.read_text(encoding="utf-8")).items():
            if isinstance(blocks, list):
                found.setdefault(kind, []).extend(blocks)
    return found


def labelled(blocks: list[Block], depth: int) -> dict[tuple[str, ...], Block]:
    """Return the body of each block by its labels, of which there are *depth*."""
    level: list[tuple[tuple[str, ...], Block]] = [((), block) for block in blocks]
    for _ in range(depth):
        level = [
            ((*labels, unquoted(label)), body)
            for labels, block in level
            for label, body in block.items()
            if isinstance(body, dict)
        ]
    found = dict(level)
    assert len(found) == len(level), "two blocks have the same name"
    return found


def expressions(value: object) -> Iterator[str]:
    """Yield all text within *value*, comments excepted."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name != "__comments__":
                yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)
    elif isinstance(value, str):
        yield value


def local_values(blocks: dict[str, list[Block]]) -> Block:
    return {name: value for block in blocks["locals"] for name, value in block.items() if not name.startswith("__")}


def holds_secret(value: object, values: Block) -> bool:
    """Return whether *value* refers to a password, by itself or by way of the local *values*."""
    for text in expressions(value):
        if re.search(r"\bephemeral\.|\brandom_password\.", text):
            return True
        if any(holds_secret(values[name], values) for name in re.findall(r"\blocal\.([a-z_]+)", text)):
            return True
    return False


@folders
def test_it_is_written_as_terraform_would_write_it(folder: Path) -> None:
    if not shutil.which("terraform"):
        pytest.skip("needs terraform, which is not installed")
    command = ["terraform", "fmt", "-check", "-diff", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout


@folders
def test_every_variable_says_what_it_is_and_refuses_what_it_is_not(folder: Path) -> None:
    for (name,), body in labelled(read(folder)["variable"], 1).items():
        assert len(unquoted(body["description"])) > 20, name
        assert body["type"], name
        (validation,) = body["validation"]
        assert f"var.{name}" in validation["condition"]
        assert unquoted(validation["error_message"]).startswith(name)


@folders
def test_every_output_is_described_and_none_tells_a_password(folder: Path) -> None:
    blocks = read(folder)
    for (name,), body in labelled(blocks["output"], 1).items():
        assert unquoted(body["description"]), name
        assert not holds_secret(body["value"], local_values(blocks)), name
        assert not re.search("password|secret_string|secret_data", str(body["value"])), name


@folders
def test_a_password_goes_only_where_the_state_does_not_keep_it(folder: Path) -> None:
    blocks = read(folder)
    kept: list[tuple[str, str]] = []
    for (kind, name), body in labelled(blocks["resource"], 2).items():
        for argument, value in body.items():
            if argument.endswith("_wo"):
                assert holds_secret(value, local_values(blocks)), name
                assert body[f"{argument}_version"] == "${var.password_version}", name
            elif argument != "__comments__" and holds_secret(value, local_values(blocks)):
                kept.append((f"{kind}.{name}", argument))
    # Amazon MQ takes its first user in no other way.
    assert kept == ([("aws_mq_broker.beers", "user")] if folder.name == "aws" else [])


@folders
def test_every_version_is_exact_and_every_provider_that_is_used_is_named(folder: Path) -> None:
    blocks = read(folder)
    (settings,) = blocks["terraform"]
    assert unquoted(settings["required_version"]).startswith(">= 1.11,")  # write-only arguments
    (required,) = settings["required_providers"]
    providers = {name: it for name, it in required.items() if not name.startswith("__")}
    for it in providers.values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", unquoted(it["version"]))
    kinds = {labels[0] for kind in ("resource", "data", "ephemeral") for labels in labelled(blocks.get(kind, []), 2)}
    assert {kind.split("_")[0] for kind in kinds} == set(providers)
    assert settings["backend"], "the state belongs on no single disk"


@folders
def test_all_that_is_referred_to_is_there_and_what_is_named_is_used(folder: Path) -> None:
    blocks = read(folder)
    text = "\n".join(text for several in blocks.values() for text in expressions(several))
    assert set(re.findall(r"\bvar\.([a-z_]+)", text)) == {name for (name,) in labelled(blocks["variable"], 1)}
    assert set(re.findall(r"\blocal\.([a-z_]+)", text)) == set(local_values(blocks))
    for kind in ("data", "ephemeral"):
        referred = set(re.findall(rf"\b{kind}\.([a-z_]+)\.([a-z_]+)", text))
        assert referred == set(labelled(blocks.get(kind, []), 2)), kind
    referred = set(re.findall(r"(?<![\w.])((?:aws|google|random)_[a-z_]+)\.([a-z_]+)", text))
    assert len(referred) > 10
    assert referred <= set(labelled(blocks["resource"], 2))


def test_rds_and_amazon_mq_lose_nothing_with_a_zone_and_are_not_deleted_by_mistake() -> None:
    resources = labelled(read(ROOT / "aws")["resource"], 2)
    database = resources["aws_db_instance", "beers"]
    assert database["multi_az"] is True
    assert database["deletion_protection"] is True
    assert database["skip_final_snapshot"] is False
    assert database["publicly_accessible"] is False
    parameters = resources["aws_db_parameter_group", "beers"]["parameter"]
    assert ("rds.force_ssl", "1") in [(unquoted(it["name"]), unquoted(it["value"])) for it in parameters]
    broker = resources["aws_mq_broker", "beers"]
    assert unquoted(broker["deployment_mode"]) == "CLUSTER_MULTI_AZ"
    assert broker["publicly_accessible"] is False
    (lifecycle,) = broker["lifecycle"]
    assert lifecycle["prevent_destroy"] is True
    assert re.findall("[a-z_]+", str(lifecycle["ignore_changes"])) == ["user"]


def test_cloud_sql_loses_nothing_with_a_zone_and_is_not_deleted_by_mistake() -> None:
    database = labelled(read(ROOT / "gcp")["resource"], 2)["google_sql_database_instance", "beers"]
    (settings,) = database["settings"]
    assert unquoted(settings["availability_type"]) == "REGIONAL"
    assert database["deletion_protection"] is True
    assert settings["deletion_protection_enabled"] is True
    (address,) = settings["ip_configuration"]
    assert (address["ipv4_enabled"], unquoted(address["ssl_mode"])) == (False, "ENCRYPTED_ONLY")
    (backups,) = settings["backup_configuration"]
    assert backups["point_in_time_recovery_enabled"] is True
