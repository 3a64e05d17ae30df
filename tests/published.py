"""Events as they come from the bus, held against the contract that is published with the code."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from beers_service.contract.documents import ASYNCAPI

DOCS = Path(__file__).parents[1] / "docs"


@cache
def _body(kind: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((DOCS / "schemas" / f"{kind}.json").read_text(encoding="utf-8")))


@cache
def _described() -> Any:
    return yaml.safe_load((DOCS / ASYNCAPI).read_text(encoding="utf-8"))


@cache
def _headers(kind: str) -> Draft202012Validator:
    return Draft202012Validator(_described()["components"]["messages"][kind]["headers"])


def require_valid(event: Any) -> None:
    """Raise if *event*, the body of a message, is none that the contract knows."""
    _body(event["type"]).validate(event)


def require_valid_message(message: Any) -> None:
    """Raise if *message*, as it came from the exchange, is none that the contract knows: body, headers, properties."""
    event = json.loads(message.body)
    require_valid(event)
    kind = event["type"]
    described = _described()
    exchange = described["channels"][kind]["bindings"]["amqp"]["exchange"]
    assert message.delivery_info["exchange"] == exchange["name"]
    assert message.delivery_info["routing_key"] == described["channels"][kind]["address"]
    bindings = described["components"]["messages"][kind]["bindings"]["amqp"]
    assert message.properties["content_type"] == described["components"]["messages"][kind]["contentType"]
    assert message.properties["content_encoding"] == bindings["contentEncoding"]
    assert message.properties["type"] == bindings["messageType"]
    _headers(kind).validate(message.properties["application_headers"])
