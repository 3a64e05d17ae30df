"""What can be configured of traces, by the names that OpenTelemetry gives it in all languages."""

import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from structlog.typing import FilteringBoundLogger

from beers_runtime import configuration
from beers_runtime.configuration import ConfigurationError
from beers_runtime.tracing import OFF, Tracing

FLUSH: Final = 2.0
"""Seconds that a process which ends spends at most on spans that are not at the collector yet."""

_SAMPLERS: Final = {
    "always_on": (1.0, False),
    "always_off": (0.0, False),
    "traceidratio": (None, False),
    "parentbased_always_on": (1.0, True),
    "parentbased_always_off": (0.0, True),
    "parentbased_traceidratio": (None, True),
}
"""By OpenTelemetry's names: which part is sampled (None: as the argument says), and whether a caller is believed."""

_DEFAULTS: Final[Mapping[str, object]] = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_OTLP_HEADERS": "",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "",
    "OTEL_EXPORTER_OTLP_TIMEOUT": 10_000,
    "OTEL_TRACES_SAMPLER": "parentbased_always_on",
    "OTEL_TRACES_SAMPLER_ARG": 1.0,
    "OTEL_SERVICE_NAME": "",
    "OTEL_RESOURCE_ATTRIBUTES": "",
    "OTEL_BSP_SCHEDULE_DELAY": 5000,
    "OTEL_BSP_MAX_QUEUE_SIZE": 2048,
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": 128,
    "OTEL_SDK_DISABLED": False,
}


_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"([\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
"""As RFC 9110 has them (token, field-value)."""


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Which traces are sampled, and where they go to. Durations are in seconds.

    Attributes:
        url: Where the collector takes spans.
        headers: What else to tell it.
        certificate: The PEM file with the authorities to trust; empty for those that the system trusts.
        timeout: For it to take a batch, further attempts included.
        resource: What is known of this process.
        rate: Which part of the traces is sampled, from 0 to 1.
        follows: Whether a caller who has decided already is believed.
        delay: Until a span is handed on, at most.
        queue: Spans that may wait.
        batch: Spans that are handed on together.
    """

    url: str
    headers: Mapping[str, str]
    certificate: str
    timeout: float
    resource: Mapping[str, str | int]
    rate: float
    follows: bool
    delay: float
    queue: int
    batch: int


def tracing_settings(config: Mapping[str, object], service: str) -> TracingSettings | None:
    """Return what *config* says of traces; None if there are to be none, since it names no collector.

    Args:
        config: The configuration. What it does not name comes from the environment.
        service: What to call this process unless OTEL_SERVICE_NAME does.

    Raises:
        ConfigurationError: If a value is malformed.
    """
    values = {}
    for name, default in _DEFAULTS.items():
        # Subscribers have configuration files of their own, and everybody knows these variables.
        given = config[name] if name in config else configuration.substituted(name, f"${{{name}:}}", os.environ)
        values[name] = default if given is None else given
    url = _url(values)
    disabled = values["OTEL_SDK_DISABLED"]
    if not isinstance(disabled, bool):
        raise ConfigurationError(f"OTEL_SDK_DISABLED must be true or false, got {disabled!r}")
    if not url or disabled:
        return None
    configuration.choice(values, "OTEL_EXPORTER_OTLP_PROTOCOL", ("http/protobuf",))
    rate, follows = _SAMPLERS[configuration.choice(values, "OTEL_TRACES_SAMPLER", _SAMPLERS)]
    if rate is None:
        rate = configuration.number(values, "OTEL_TRACES_SAMPLER_ARG", 0, 1)
    queue = configuration.integer(values, "OTEL_BSP_MAX_QUEUE_SIZE", 1, 1_000_000)
    resource = _pairs(values, "OTEL_RESOURCE_ATTRIBUTES")
    named = _text(values, "OTEL_SERVICE_NAME") or resource.get("service.name") or service
    part = os.environ.get("BEERS_PART") or service
    return TracingSettings(
        url=url,
        headers=_headers(values, "OTEL_EXPORTER_OTLP_HEADERS"),
        certificate=_authorities(values, "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        timeout=configuration.integer(values, "OTEL_EXPORTER_OTLP_TIMEOUT", 1, 600_000) / 1000,
        resource={
            "service.namespace": "beers",
            "service.instance.id": f"{part}-{socket.gethostname()}-{os.getpid()}",
            "process.pid": os.getpid(),
            **resource,
            "service.name": named,
        },
        rate=rate,
        follows=follows,
        delay=configuration.integer(values, "OTEL_BSP_SCHEDULE_DELAY", 1, 600_000) / 1000,
        queue=queue,
        batch=configuration.integer(values, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1, queue),
    )


def start(settings: TracingSettings | None, logger: FilteringBoundLogger) -> Tracing:
    """Return what traces as *settings* say, and tells *logger* when the collector takes nothing."""
    if settings is None:
        return OFF
    # Whoever traces nothing spends neither the time nor the memory on it.
    from beers_runtime.collector import Collector  # noqa: PLC0415

    collector = Collector(settings, logger)
    logger.info("traces", collector=configuration.without_password(settings.url), rate=settings.rate)
    return Tracing(collector.take, rate=settings.rate, follows=settings.follows, close=collector.close)


def _url(values: Mapping[str, object]) -> str:
    """Return where spans go to; empty if nobody says."""
    for name, path in (("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""), ("OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/traces")):
        given = _text(values, name)
        if not given:
            continue
        try:
            parts = urlsplit(given)
            well_formed = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is none
            well_formed = False
        if not well_formed:
            raise ConfigurationError(f"{name} must look like http://collector:4318")
        return f"{given.rstrip('/')}{path}" if path else given
    return ""


def _text(values: Mapping[str, object], name: str) -> str:
    value = values[name]
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be text, got {value!r}")
    return value


def _pairs(values: Mapping[str, object], name: str) -> dict[str, str]:
    """Return what ``key=value,key=value`` says; values are percent-encoded."""
    pairs = {}
    for given in filter(None, (part.strip() for part in _text(values, name).split(","))):
        key, separator, value = given.partition("=")
        if not separator or not key.strip():
            # Not the value itself: it may be a secret.
            raise ConfigurationError(f"{name} must be pairs such as key=value,key=value")
        pairs[key.strip()] = unquote(value.strip())
    return pairs


def _headers(values: Mapping[str, object], name: str) -> dict[str, str]:
    headers = _pairs(values, name)
    # Nor here what was given, see above.
    if not all(map(_HEADER_NAME.fullmatch, headers)):
        raise ConfigurationError(f"{name}: a key in it cannot be the name of an HTTP header")
    if not all(map(_HEADER_VALUE.fullmatch, headers.values())):
        raise ConfigurationError(f"{name}: a value in it has characters that an HTTP header cannot have")
    return headers


def _authorities(values: Mapping[str, object], name: str) -> str:
    given = _text(values, name)
    if given:
        try:
            ssl.create_default_context(cafile=given)
        except ssl.SSLError as error:
            raise ConfigurationError(f"{name} must name a PEM file with certificates, what it names is none") from error
        except OSError as error:
            raise ConfigurationError(f"{name}: the file that it names cannot be read: {error.strerror}") from error
    return given
