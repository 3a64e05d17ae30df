"""Who needs which rights on RabbitMQ: a user for the service, one for the bridge, one for each subscriber.

RabbitMQ knows three rights on a queue or exchange, as a regular expression of names each: to *configure* it is to make
and to delete it, to *write* is to publish to an exchange or to bind a queue, to *read* is to consume from a queue or to
bind to an exchange. On the two topic exchanges a second pair says with which routing keys.
"""

import base64
import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import join
from typing import Any

from beers_runtime.topology import (
    BRIDGE_FEED,
    BRIDGE_REPLIES,
    DEAD_LETTERS,
    EVENTS_EXCHANGE,
    RPC_EXCHANGE,
    RPC_QUEUE,
    SERVICE,
    SUBSCRIPTIONS,
)

DEFAULT_EXCHANGE = "amq.default"
"""What RabbitMQ calls the exchange without a name where it is about rights."""

NOTHING = "^$"

_ANSWERS = "^[^.*#]+$"
"""The keys by which answers come: no key of a call, and no pattern that a call would match."""


@dataclass(frozen=True, slots=True)
class Topic:
    """With which routing keys a user may use a topic exchange: to publish to it, and to bind to it."""

    exchange: str
    write: str
    read: str


@dataclass(frozen=True, slots=True)
class User:
    """What one user may do, as regular expressions."""

    name: str
    configure: str
    write: str
    read: str
    topics: tuple[Topic, ...] = ()


OWN = ("service", "bridge")
"""How the names of the users of the product itself end, which no subscriber's may."""


def users(prefix: str, subscribers: Iterable[str]) -> list[User]:
    """Return the users of the product: *prefix* and ``service``, ``bridge`` and the name of each subscriber."""
    return [_service(prefix), _bridge(prefix), *(_subscriber(prefix, name) for name in subscribers)]


def _service(prefix: str) -> User:
    dead_letters = f"{SERVICE}{DEAD_LETTERS}"
    return User(
        f"{prefix}service",
        configure=_any_of([RPC_EXCHANGE, EVENTS_EXCHANGE, RPC_QUEUE, dead_letters]),
        # Dead letters go through the default exchange.
        write=_any_of([RPC_EXCHANGE, EVENTS_EXCHANGE, RPC_QUEUE, DEFAULT_EXCHANGE]),
        read=_any_of([RPC_EXCHANGE, RPC_QUEUE]),
    )


def _bridge(prefix: str) -> User:
    own = [BRIDGE_REPLIES, BRIDGE_FEED]
    return User(
        f"{prefix}bridge",
        configure=_any_of([], own),
        write=_any_of([RPC_EXCHANGE], own),
        read=_any_of([RPC_EXCHANGE, EVENTS_EXCHANGE], own),
        topics=(Topic(RPC_EXCHANGE, _calls("execute", "ping"), _ANSWERS), Topic(EVENTS_EXCHANGE, NOTHING, ".*")),
    )


def _subscriber(prefix: str, name: str) -> User:
    own = [f"{SUBSCRIPTIONS}{name}."]
    return User(
        f"{prefix}{name}",
        configure=_any_of([], own),
        write=_any_of([RPC_EXCHANGE], own),
        read=_any_of([RPC_EXCHANGE, EVENTS_EXCHANGE], own),
        # It asks for what it lacks, and where the log ends.
        topics=(Topic(RPC_EXCHANGE, _calls("events", "ping"), _ANSWERS), Topic(EVENTS_EXCHANGE, NOTHING, ".*")),
    )


def commands(granted: Sequence[User], virtual_host: str) -> Iterator[str]:
    """Yield the commands of a shell that grant the rights to users who are there; a comment says how to make one."""
    for user in granted:
        yield f"# {join(['rabbitmqctl', 'add_user', user.name])}   # asks for the password"
        at = ["--vhost", virtual_host, user.name]
        yield join(["rabbitmqctl", "set_permissions", *at, user.configure, user.write, user.read])
        for topic in user.topics:
            yield join(["rabbitmqctl", "set_topic_permissions", *at, topic.exchange, topic.write, topic.read])


def definitions(granted: Sequence[User], virtual_host: str, passwords: Mapping[str, str]) -> dict[str, Any]:
    """Return the document that `rabbitmqctl import_definitions` and ``load_definitions`` of rabbitmq.conf read.

    Args:
        granted: Who.
        virtual_host: Where.
        passwords: Of the users that are to be made, by their name. They are in it as salted hashes.
    """
    return {
        "users": [
            {
                "name": user.name,
                "password_hash": password_hash(passwords[user.name]),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": [],
            }
            for user in granted
            if user.name in passwords
        ],
        "vhosts": [{"name": virtual_host}],
        "permissions": [
            {
                "user": user.name,
                "vhost": virtual_host,
                "configure": user.configure,
                "write": user.write,
                "read": user.read,
            }
            for user in granted
        ],
        "topic_permissions": [
            {
                "user": user.name,
                "vhost": virtual_host,
                "exchange": topic.exchange,
                "write": topic.write,
                "read": topic.read,
            }
            for user in granted
            for topic in user.topics
        ],
    }


def password_hash(password: str, salt: bytes | None = None) -> str:
    """Return *password* as RabbitMQ keeps it: SHA-256 over four random bytes and the password, behind these bytes."""
    salt = secrets.token_bytes(4) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _any_of(names: Iterable[str], beginnings: Iterable[str] = ()) -> str:
    """Return what matches these names, and all that begin so."""
    patterns = [*map(_literally, names), *(f"{_literally(beginning)}.+" for beginning in beginnings)]
    return f"^({'|'.join(patterns)})$"


def _calls(*methods: str) -> str:
    return rf"^{SERVICE}\.({'|'.join(methods)})$"


def _literally(name: str) -> str:
    return name.replace(".", r"\.")
