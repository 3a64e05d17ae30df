"""The generated reference: it is of this code, it leaves nothing out, and says nothing of where it was made."""

import re
from pathlib import Path

import pytest
import yaml

from beers_runtime.configuration import load
from beers_service.domain.errors import BeersError
from beers_service.domain.events import EVENT_TYPES
from grpc_bridge.errors import RULES
from grpc_bridge.proto.beers.v1 import beers_pb2
from scripts.reference import configuration
from scripts.reference.__main__ import differences, generate
from tests.docs.pages import DOCS, ROOT

REFERENCE = DOCS / "reference"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return generate()


def test_what_is_committed_is_what_the_code_yields(pages: dict[str, str]) -> None:
    assert differences(REFERENCE, pages) == []


def test_what_was_changed_by_hand_or_is_too_much_is_told(pages: dict[str, str], tmp_path: Path) -> None:
    for name, text in pages.items():
        (tmp_path / name).write_text(text)
    assert differences(tmp_path, pages) == []
    (tmp_path / "grpc.md").write_text("by hand")
    (tmp_path / "events.md").unlink()
    (tmp_path / "old.md").touch()
    assert differences(tmp_path, pages) == ["events.md", "grpc.md", "old.md"]


def test_every_method_message_and_field_of_the_grpc_api_is_described(pages: dict[str, str]) -> None:
    for method in beers_pb2.DESCRIPTOR.services_by_name["BeersService"].methods:
        assert f"| `{method.name}` |" in pages["grpc.md"]
    for name, message in beers_pb2.DESCRIPTOR.message_types_by_name.items():
        section = pages["grpc.md"].partition(f"### {name}\n")[2].partition("\n### ")[0]
        for field in message.fields:
            assert f"| {field.number} | `{field.name}` |" in section, name


def test_every_failure_of_the_grpc_api_is_described(pages: dict[str, str]) -> None:
    rows = pages["grpc.md"].partition("## Failures")[2]
    assert rows.count("\n| `") == len(RULES)


def test_every_rpc_method_and_error_is_described(pages: dict[str, str]) -> None:
    source = (ROOT / "beers_service" / "service.py").read_text()
    methods = re.findall(r"@rpc\(.*\)\n    def (\w+)", source)
    assert len(methods) > 10
    assert re.findall(r"^## ([a-z_]+)$", pages["rpc.md"], re.MULTILINE) == methods
    for error in BeersError.__subclasses__():
        assert f"| `{error.__name__}` |" in pages["rpc.md"]


def test_every_event_is_described(pages: dict[str, str]) -> None:
    for kind in EVENT_TYPES:
        assert f"## {kind.__name__}\n" in pages["events.md"]


def test_every_setting_is_described_with_its_default(pages: dict[str, str]) -> None:
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert settings.keys() == load(ROOT / "config.yaml", {}).keys()
    for value in settings.values():
        variable, _, default = value.removeprefix("${").removesuffix("}").partition(":")
        assert f"| `{variable}` | {f'`{default}`' if default else 'none'} |" in pages["configuration.md"]


def test_a_number_without_a_unit_has_no_reference(tmp_path: Path) -> None:
    package = tmp_path / "beers_service"
    package.mkdir()
    (tmp_path / "config.yaml").write_text("# One.\n# Two.\n\n# How patient.\nPATIENCE: ${PATIENCE:1}\n")
    with pytest.raises(LookupError, match=r"PATIENCE of config\.yaml is read by nobody"):
        configuration.page(tmp_path)
    (package / "reading.py").write_text('patience = number(config, "PATIENCE", 0, 10)\n')
    with pytest.raises(LookupError, match=r"PATIENCE of config\.yaml is a number without a unit"):
        configuration.page(tmp_path)


def test_the_reference_says_nothing_of_where_it_was_made(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        assert str(ROOT) not in text, name
        assert str(Path.home()) not in text, name
