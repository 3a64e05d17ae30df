"""Configuration: one `config.yaml`, every value of it from the environment, with a default.

The file is Nameko's own: ``${NAME:default}`` in a scalar stands for the environment variable or its default, and the
result is read as YAML again, so that ``${PORT:8000}`` is a number. This reader gives the bridge and our own runner
the same values that ``nameko run`` would get, without importing Nameko.
"""

import os
import re
import socket
import ssl
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit, urlunsplit

import yaml

EXIT_CONFIGURATION = 78
"""The exit status of a process that cannot start as configured (EX_CONFIG of sysexits.h): do not restart it."""

_STORES = {"sqlite": "sqlite", "sqlite+pysqlite": "sqlite", "postgresql+psycopg2": "postgresql"}
_NEXT_URI = re.compile(r";(?=\s*[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{(?P<name>[^}:\s]+):?(?P<default>[^}]*)\}")


class ConfigurationError(Exception):
    """A value is missing or malformed. The message is one line that names it."""


class Address(NamedTuple):
    """Where to listen: a name or an IP address, and a port."""

    host: str
    port: int

    def family(self) -> socket.AddressFamily:
        """Return the family of addresses that the host is of; raises OSError if there is none of that name."""
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return found[0][0]


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> dict[str, object]:
    """Read the configuration.

    Args:
        path: The file; without it `$BEERS_CONFIG`, else `config.yaml` in the working directory, else the one that
            is part of this package.
        environ: The environment to take the values from.

    Raises:
        ConfigurationError: If the file cannot be read or is no YAML mapping.
    """
    file = path or _find(environ)
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{file} must be a mapping of names to values")
    return {name: substituted(name, value, environ) for name, value in document.items()}


def text(config: Mapping[str, object], name: str) -> str:
    """Return the text called *name*; it may not be empty."""
    value = config.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name} must be given as text")
    return value


def amqp_uri(config: Mapping[str, object]) -> str:
    """Return AMQP_URI: the URI of a broker, or those of the nodes of a cluster with semicolons between them.

    Each names a host and, if it names a port, one that exists; the files that it names can be read.
    """
    uri = text(config, "AMQP_URI")
    if re.search(r"\s", uri):  # a space after a semicolon would make a virtual host of the next node
        raise ConfigurationError("AMQP_URI must not contain white space")
    for node in broker_nodes(uri):
        _require_broker(node)
    return uri


def broker_nodes(uri: str) -> tuple[str, ...]:
    """Return the URIs of the nodes that *uri*, an AMQP_URI, names. A semicolon within one of them is ``%3B``."""
    return tuple(uri.split(";"))


def _require_broker(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        # Small letters only: not everything that reads a URI here takes others for the same.
        well_formed = uri.startswith(("amqp://", "amqps://", "pyamqp://")) and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none
        well_formed = False
    if not well_formed:
        raise ConfigurationError(
            "AMQP_URI must look like amqp://user:password@host:5672/vhost, or like several of these with ; between them"
        )
    if parts.scheme != "amqps":
        return
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    try:
        context = ssl.create_default_context(cafile=query.get("cafile"), capath=query.get("capath"))
        if "certfile" in query:
            context.load_cert_chain(query["certfile"], query.get("keyfile"))
    except ssl.SSLError as error:
        raise ConfigurationError("AMQP_URI: its cafile, certfile or keyfile is no PEM of its kind") from error
    except OSError as error:
        raise ConfigurationError(
            f"AMQP_URI: its cafile, certfile or keyfile cannot be read: {error.strerror}"
        ) from error


def kind_of_store(database_url: str, setting: str = "DATABASE_URL") -> str:
    """Return ``sqlite`` or ``postgresql``, whichever *database_url*, which errors call *setting*, is of."""
    scheme, separator, _ = database_url.partition("://")
    if not separator:
        raise ConfigurationError(f"{setting} is no database URL such as sqlite:///var/beers.db")
    if scheme not in _STORES:
        raise ConfigurationError(
            f"{setting} starts with {scheme}://, it must start with sqlite:// or postgresql+psycopg2://"
        )
    return _STORES[scheme]


def integer(config: Mapping[str, object], name: str, minimum: int, maximum: int) -> int:
    """Return the whole number called *name*, within its bounds."""
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise ConfigurationError(f"{name} must be a whole number from {minimum} to {maximum}, got {value!r}")
    return value


def number(config: Mapping[str, object], name: str, minimum: float, maximum: float) -> float:
    """Return the number called *name*, within its bounds."""
    value = config.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise ConfigurationError(f"{name} must be a number from {minimum:g} to {maximum:g}, got {value!r}")
    return float(value)


def choice(config: Mapping[str, object], name: str, options: Collection[str]) -> str:
    """Return the value called *name*, one of *options*."""
    value = config.get(name)
    if not isinstance(value, str) or value not in options:
        raise ConfigurationError(f"{name} must be one of {', '.join(sorted(options))}, got {value!r}")
    return value


def metrics_address(config: Mapping[str, object]) -> Address | None:
    """Return METRICS_HOST and METRICS_PORT; None if the latter is empty or 0: then there are no metrics."""
    if config.get("METRICS_PORT") in (None, "", 0):
        return None
    return Address(
        text({"METRICS_HOST": "127.0.0.1", **config}, "METRICS_HOST"), integer(config, "METRICS_PORT", 0, 65535)
    )


def without_password(uri: str) -> str:
    """Return *uri*, or several with semicolons between them, fit for a log: a password in it becomes ``***``."""
    return ";".join(map(_without_password, _NEXT_URI.split(uri)))


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}"))


def _find(environ: Mapping[str, str]) -> Path:
    if environ.get("BEERS_CONFIG"):
        return Path(environ["BEERS_CONFIG"])
    here = Path("config.yaml")
    return here if here.exists() else Path(__file__).with_name("config.yaml")


def substituted(name: str, value: object, environ: Mapping[str, str]) -> object:
    """Return *value*, that of *name*, with every ``${NAME:default}`` in it replaced."""
    if isinstance(value, dict):
        return {key: substituted(f"{name}.{key}", item, environ) for key, item in value.items()}
    if isinstance(value, list):
        return [substituted(name, item, environ) for item in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    replaced = _VARIABLE.sub(lambda found: environ.get(found["name"], found["default"]), value)
    try:
        return yaml.safe_load(replaced)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{name} is malformed: not readable as YAML") from error
