"""The rights on RabbitMQ, as they are told; what they mean to a broker `tests/e2e/test_rabbitmq_users.py` shows."""

import base64
import hashlib
import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from beers_cli import permissions
from beers_cli.application import application


def told(*arguments: str) -> Result:
    return CliRunner().invoke(application, ["admin", "rabbitmq-permissions", *arguments])


def test_no_user_may_configure_what_another_one_makes() -> None:
    names = ["nameko-rpc", "beers.events", "rpc-beers", "rpc.reply-beers-bridge-1", "evt-beers--a.x", "evt-beers--b.x"]
    service, *others = permissions.users("beers-", ["a", "b"])
    assert [name for name in names if re.search(service.configure, name)] == names[:3]
    assert [[name for name in names if re.search(user.configure, name)] for user in others] == [
        ["rpc.reply-beers-bridge-1"],
        ["evt-beers--a.x"],
        ["evt-beers--b.x"],
    ]


def test_the_commands_are_those_of_a_shell_and_hold_no_password() -> None:
    lines = told("--format", "commands", "--virtual-host", "my host", "--prefix", "x-").output.splitlines()
    granted = [shlex.split(line) for line in lines if not line.startswith("#")]
    assert granted[0][:5] == ["rabbitmqctl", "set_permissions", "--vhost", "my host", "x-service"]
    assert len(granted[0]) == 8
    assert {words[1] for words in granted} == {"set_permissions", "set_topic_permissions"}
    assert [line for line in lines if line.startswith("#")] == [
        "# rabbitmqctl add_user x-service   # asks for the password",
        "# rabbitmqctl add_user x-bridge   # asks for the password",
    ]


def test_definitions_make_users_only_of_passwords_and_hold_these_as_hashes(tmp_path: Path) -> None:
    assert json.loads(told("--format", "definitions").output)["users"] == []
    for name in ("beers-service", "beers-bridge"):
        (tmp_path / name).write_text(f"s3cret of {name}\n")
    result = told("--format", "definitions", "--passwords", str(tmp_path))
    assert "s3cret" not in result.output
    for user in json.loads(result.output)["users"]:
        kept = base64.b64decode(user["password_hash"])
        assert hashlib.sha256(kept[:4] + f"s3cret of {user['name']}".encode()).digest() == kept[4:]
        assert user["tags"] == []


def test_a_password_is_kept_as_rabbitmq_documents_it() -> None:
    # The example of its documentation.
    kept = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    assert permissions.password_hash("test12", bytes.fromhex("908dc60a")) == kept


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--subscriber", "a.*"), "must be the name of a Nameko service"),
        (("--subscriber", "service"), "'service' is what a user of the product itself is called"),
        (("--passwords", "."), "needs --format definitions"),
        (("--format", "definitions", "--passwords", "/nowhere"), "Cannot read the password in /nowhere/beers-service"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(arguments: tuple[str, ...], words: str) -> None:
    result = told(*arguments)
    assert result.exit_code
    said = " ".join((result.output + str(result.exception)).replace("│", " ").split())
    assert words in said
