"""The events on the bus, out of their contract: what `docs/schemas` says, for people."""

import json
from collections.abc import Mapping
from typing import Any, Final

import yaml

from beers_service.contract.documents import ASYNCAPI, generate
from scripts.reference.markdown import code, number, prose, table

_INTRODUCTION: Final = """\
# The events

As data: [asyncapi.yaml](../asyncapi.yaml) describes the exchange, and each type of event has a JSON Schema.
[How to follow the catalogue](../how-to/subscribe.md) has the programs.

"""

_PAYLOAD: Final = "The fields of `data`"


def page() -> str:
    """Return the page for all types of events."""
    files = generate()
    described = yaml.safe_load(files[ASYNCAPI])
    schemas = {name: json.loads(files[f"schemas/{name}.json"]) for name in described["channels"]}
    messages = described["components"]["messages"]
    first = next(iter(schemas.values()))
    exchange = next(iter(described["channels"].values()))["bindings"]["amqp"]["exchange"]["name"]
    parts = [
        _INTRODUCTION,
        described["info"]["description"].replace("\n\n", "\0").replace("\n", " ").replace("\0", "\n\n").strip(),
        f"\n\nThe exchange is `{exchange}`, of the type `topic`, durable; messages are persistent.\n\n",
        "## The envelope\n\nThe body of each message, whatever its type:\n\n",
        _fields({name: said for name, said in first["properties"].items() if name != "data"}, first["required"]),
        "## The headers\n\nCloudEvents in binary mode, and the trace, where there is one:\n\n",
        _fields(*_headers(next(iter(messages.values()))["headers"])),
    ]
    for name, schema in schemas.items():
        parts += _event(name, schema)
    return "".join(parts).rstrip() + "\n"


def _headers(headers: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    return headers["properties"], headers["required"]


def _event(name: str, schema: Mapping[str, Any]) -> list[str]:
    version = schema["properties"]["schema"]["const"]
    data = schema["properties"]["data"]
    said = f"{prose(schema['description'])}\n\nThe routing key is `{name}`, the version {version}: "
    parts = [f"## {name}\n\n{said}[{name}.json](../schemas/{name}.json).\n\n"]
    fields = data.get("properties", {})
    if fields:
        parts.append(f"{_PAYLOAD}: {prose(data['description'])}\n\n" if "description" in data else f"{_PAYLOAD}:\n\n")
        parts.append(_fields(fields, data.get("required", [])))
    else:
        parts.append("`data` is empty.\n\n")
    example = json.dumps(schema["examples"][0], ensure_ascii=False, indent=2)
    return [*parts, f"```json\n{example}\n```\n\n"]


def _fields(fields: Mapping[str, Mapping[str, Any]], required: list[str]) -> str:
    rows = (
        (code(name), _values(rule), "always" if name in required else "perhaps", prose(rule.get("description", "")))
        for name, rule in fields.items()
    )
    return table(("field", "values", "there", "meaning"), rows)


def _values(rule: Mapping[str, Any]) -> str:
    """Return in a few words which values a schema lets pass."""
    if "const" in rule:
        return "that of the type" if rule["const"] != "1.0" else code(rule["const"])
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    said = " or ".join(kinds)
    if "format" in rule:
        said += ", RFC 3339"
    if "maxLength" in rule:
        said += f", {rule.get('minLength', 0)} to {number(rule['maxLength'])} characters"
    if "minimum" in rule:
        # Beyond what a whole number of JSON's readers holds, a maximum tells nothing.
        least, most = rule["minimum"], rule.get("maximum", 2**53)
        said += f", {number(least)} to {number(most)}" if most < 2**53 else f", from {number(least)}"
    return said
