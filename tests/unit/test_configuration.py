"""Where values come from, and how a wrong one is named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from beers_runtime import configuration
from beers_runtime.configuration import ConfigurationError

ROOT = Path(__file__).parents[2]


def load(tmp_path: Path, content: str, **environ: str) -> dict[str, object]:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    return configuration.load(file, environ)


def test_a_value_comes_from_the_environment_else_from_its_default(tmp_path: Path) -> None:
    assert load(tmp_path, "PORT: ${PORT:8000}") == {"PORT": 8000}
    assert load(tmp_path, "PORT: ${PORT:8000}", PORT="9000") == {"PORT": 9000}


def test_a_uri_with_colons_is_taken_whole(tmp_path: Path) -> None:
    assert load(tmp_path, "URI: ${URI:amqp://a:b@c:1/d}") == {"URI": "amqp://a:b@c:1/d"}


def test_where_there_is_no_file_it_is_the_one_that_comes_with_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert configuration.load(environ={}) == configuration.load(ROOT / "config.yaml", {})


def test_our_reading_of_the_file_is_namekos() -> None:
    # In a process of its own: Nameko changes PyYAML's loader for the whole process.
    nameko = (
        "import json, sys, yaml\n"
        "from nameko.cli.main import setup_yaml_parser\n"
        "setup_yaml_parser()\n"
        "print(json.dumps(yaml.safe_load(sys.stdin)))"
    )
    environ = {**os.environ, "PORT": "1234"}
    with (ROOT / "config.yaml").open() as file:
        read = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", nameko], stdin=file, capture_output=True, check=True, env=environ
        )
    assert configuration.load(ROOT / "config.yaml", environ) == json.loads(read.stdout)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a", "must be a mapping"),
        ("a: [", "is not YAML"),
        ("PORT: ${PORT:'}", "PORT is malformed"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        load(tmp_path, content)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read"):
        configuration.load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("value", ["abc", 0, 65536, True, None, 1.5])
def test_a_wrong_number_is_named_with_its_bounds(value: object) -> None:
    with pytest.raises(ConfigurationError, match="PORT must be a whole number from 1 to 65535, got"):
        configuration.integer({"PORT": value}, "PORT", 1, 65535)


def test_a_wrong_choice_is_named_with_the_options() -> None:
    with pytest.raises(ConfigurationError, match="QUEUE_TYPE must be one of classic, quorum, got 'fast'"):
        configuration.choice({"QUEUE_TYPE": "fast"}, "QUEUE_TYPE", ("quorum", "classic"))


def test_a_missing_text_is_named() -> None:
    with pytest.raises(ConfigurationError, match="AMQP_URI must be given"):
        configuration.text({}, "AMQP_URI")


def test_a_password_never_reaches_a_log() -> None:
    assert configuration.without_password("amqp://me:s3cret@host:5672/v") == "amqp://me:***@host:5672/v"
    assert configuration.without_password("sqlite:///var/beers.db") == "sqlite:///var/beers.db"


def test_the_nodes_of_a_cluster_stand_side_by_side_and_none_shows_its_password() -> None:
    uri = "amqp://me:s3cret@a:5672/v;amqps://me:s3cret@b/v?no_verify_ssl=1"
    assert configuration.amqp_uri({"AMQP_URI": uri}) == uri
    assert configuration.broker_nodes(uri) == tuple(uri.split(";"))
    assert configuration.without_password(uri) == "amqp://me:***@a:5672/v;amqps://me:***@b/v?no_verify_ssl=1"


@pytest.mark.parametrize("uri", ["amqp://a/;", "amqp://a/;b", "amqp://a/;amqp://b:x/", ";"])
def test_each_node_of_a_cluster_has_to_be_one(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="AMQP_URI must look like"):
        configuration.amqp_uri({"AMQP_URI": uri})


@pytest.mark.parametrize("between", ["; ", ";\n", " ;", ";\t"])
def test_white_space_between_nodes_would_make_one_a_virtual_host_of_another(between: str) -> None:
    uri = f"amqp://me:s3cret@a/{between}amqp://me:s3cret@b/"
    with pytest.raises(ConfigurationError, match="AMQP_URI must not contain white space") as refused:
        configuration.amqp_uri({"AMQP_URI": uri})
    assert "s3cret" not in f"{refused.value} {configuration.without_password(uri)}"


def test_a_scheme_in_capitals_is_refused_and_hides_its_password_all_the_same() -> None:
    uri = "amqp://me:s3cret@a/;AMQPS://me:s3cret@b/"
    with pytest.raises(ConfigurationError, match="AMQP_URI must look like"):
        configuration.amqp_uri({"AMQP_URI": uri})
    assert "s3cret" not in configuration.without_password(uri)


@pytest.mark.parametrize(("file", "words"), [("/nowhere", "cannot be read"), (__file__, "no PEM")])
def test_a_certificate_that_cannot_be_used_is_told_at_once(file: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"AMQP_URI: its cafile.* {words}"):
        configuration.amqp_uri({"AMQP_URI": f"amqp://a/;amqps://b/?cafile={file}"})
