"""What can be configured about the bridge."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from beers_runtime import configuration, logs
from beers_runtime.topology import SERVICE
from beers_runtime.tracing_settings import TracingSettings, tracing_settings
from grpc_bridge.auth import SCOPES, TokenRules
from grpc_bridge.discovery import Consul
from grpc_bridge.quotas import Quota
from grpc_bridge.tls import TlsFiles

# Of those values that a configuration file may leave out.
_DEFAULTS: Mapping[str, object] = {
    "PROBE_INTERVAL": 1,
    "BROKER_PATIENCE": 3,
    "BATCHES_IN_FLIGHT": 2,
    "MAX_CALLS": 2000,
    "MAX_WAITING": 1000,
    "MAX_WAIT": 1,
    "MAX_WATCHES": 5000,
    "MAX_STREAMS": 100,
    "RESET_PROTECTION": False,
    "MAX_CALLS_PER_CLIENT": 0,
    "MAX_WATCHES_PER_CLIENT": 0,
    "MAX_RATE_PER_CLIENT": 0,
    "MAX_CONNECTION_AGE": 1800,
    "MAX_CONNECTION_AGE_GRACE": 900,
    "WATCH_PATIENCE": 10,
    "WATCH_CHECKPOINT": 15,
    "DRAIN_DELAY": 0,
    "REUSE_PORT": False,
    "TLS_CERTIFICATE": None,
    "TLS_KEY": None,
    "TLS_CLIENT_CA": None,
    "TLS_CLIENTS": None,
    "TOKEN_JWKS": None,
    "TOKEN_SECRET_FILE": None,
    "TOKEN_ISSUER": None,
    "TOKEN_AUDIENCE": None,
    "TOKEN_LEEWAY": 30,
    "OPEN_REFLECTION": True,
    "ALLOW_INSECURE": False,
    "CONSUL_URL": None,
    "CONSUL_SERVICE": "beers",
    "CONSUL_CHECK_INTERVAL": 5,
    "CONSUL_TOKEN_FILE": None,
    "CONSUL_CA": None,
    "ADVERTISED_HOST": None,
    "ADVERTISED_PORT": 0,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The bridge's configuration. Durations are in seconds.

    Attributes:
        amqp_uri: The broker; the nodes of a cluster have semicolons between them.
        host: The address to listen on.
        port: The port to listen on; 0 for any that is free.
        log_level: The least level that is logged.
        log_format: How: one of `logs.STYLES`.
        default_deadline: How long a call may take whose client does not say.
        grace: For calls in progress to end when told to stop.
        drain_delay: Between saying NOT_SERVING and refusing calls, for load balancers to notice.
        heartbeat: Between heartbeats on the connection to the broker.
        probe_interval: Between two looks for the service.
        broker_patience: For the broker to answer anything, before the connection is dropped.
        batches_in_flight: Batches on their way to the service before calls gather.
        max_calls: Calls at once; more are refused.
        max_waiting: Calls that may gather; more are refused.
        max_wait: For a call to wait for its turn, as far as can be foreseen; what would wait longer is refused.
        max_watches: Watches at once; more are refused.
        max_streams: Calls and watches at once on one connection; the client keeps more until one of them has ended.
        reset_protection: Whether calls that a client has ended count for `max_streams` until gRPC is done with them.
        connection_age: After which clients are told to connect anew; 0 for never.
        connection_grace: From then on, for what is under way on the old connection.
        watch_patience: For a watcher to read what it was sent, before its watch is ended.
        watch_checkpoint: After which a watcher that was told nothing is told how far it has come.
        reuse_port: Whether several bridges may share the port.
        tls: What to speak TLS with; None for plaintext.
        tokens: Which bearer tokens are good; None if none is asked for.
        clients: The scopes of clients with a certificate, by the name in it, `*` for all others; None if none is asked
            for.
        quota: What each client that is known may take.
        open_reflection: Whether reflection tells everybody.
        metrics: Where Prometheus reads the metrics; None for nowhere.
        tracing: Which traces are sampled, and where they go; None if nothing is traced.
        allow_insecure: Whether others than this machine may reach the port although something is `missing`.
        consul: Where to register; None for nowhere.
    """

    amqp_uri: str
    host: str = "127.0.0.1"
    port: int = 8000
    log_level: str = "INFO"
    log_format: str = "auto"
    default_deadline: float = 10.0
    grace: float = 10.0
    drain_delay: float = 0.0
    heartbeat: int = 10
    probe_interval: float = 1.0
    broker_patience: float = 3.0
    batches_in_flight: int = 2
    max_calls: int = 2000
    max_waiting: int = 1000
    max_wait: float = 1.0
    max_watches: int = 5000
    max_streams: int = 100
    reset_protection: bool = False
    connection_age: float = 1800.0
    connection_grace: float = 900.0
    watch_patience: float = 10.0
    watch_checkpoint: float = 15.0
    reuse_port: bool = False
    tls: TlsFiles | None = None
    tokens: TokenRules | None = None
    clients: Mapping[str, frozenset[str]] | None = None
    quota: Quota = field(default_factory=Quota)
    open_reflection: bool = True
    metrics: configuration.Address | None = None
    allow_insecure: bool = False
    consul: Consul | None = None
    tracing: TracingSettings | None = None

    @property
    def missing(self) -> str:
        """What the port lacks to be left open to others than this machine, for people; empty if nothing."""
        lacks = []
        if self.tls is None:
            lacks.append("TLS (TLS_CERTIFICATE, TLS_KEY)")
        if self.tokens is None and (self.tls is None or self.tls.client_ca is None):
            lacks.append("tokens or client certificates (TOKEN_JWKS, TOKEN_SECRET_FILE or TLS_CLIENT_CA)")
        return " and ".join(lacks)

    @property
    def exposed(self) -> bool:
        """Whether others than this machine reach the port."""
        return self.host != "localhost" and not _is_loopback(self.host)


def settings(config: Mapping[str, object]) -> Settings:
    """Return the bridge's part of *config*.

    Raises:
        configuration.ConfigurationError: If a value is missing or malformed.
    """
    values = {**_DEFAULTS, **config}
    tls, tokens = _tls(values), _tokens(values)
    read = Settings(
        amqp_uri=_broker(values),
        host=configuration.text(values, "HOST"),
        port=configuration.integer(values, "PORT", 0, 65535),
        log_level=configuration.choice(values, "LOG_LEVEL", logs.LEVELS),
        log_format=configuration.choice(values, "LOG_FORMAT", logs.STYLES),
        default_deadline=configuration.number(values, "DEFAULT_DEADLINE", 0.1, 3600),
        grace=configuration.number(values, "GRACE", 0, 3600),
        drain_delay=configuration.number(values, "DRAIN_DELAY", 0, 3600),
        heartbeat=configuration.integer(values, "HEARTBEAT", 1, 3600),
        probe_interval=configuration.number(values, "PROBE_INTERVAL", 0.05, 60),
        broker_patience=configuration.number(values, "BROKER_PATIENCE", 0.1, 60),
        batches_in_flight=configuration.integer(values, "BATCHES_IN_FLIGHT", 1, 1000),
        max_calls=configuration.integer(values, "MAX_CALLS", 1, 1_000_000),
        max_waiting=configuration.integer(values, "MAX_WAITING", 1, 1_000_000),
        max_wait=configuration.number(values, "MAX_WAIT", 0.01, 3600),
        max_watches=configuration.integer(values, "MAX_WATCHES", 1, 1_000_000),
        max_streams=configuration.integer(values, "MAX_STREAMS", 1, 1_000_000),
        reset_protection=_flag(values, "RESET_PROTECTION"),
        connection_age=_age(values),
        connection_grace=configuration.number(values, "MAX_CONNECTION_AGE_GRACE", 1, 86_400),
        watch_patience=configuration.number(values, "WATCH_PATIENCE", 0.1, 3600),
        watch_checkpoint=configuration.number(values, "WATCH_CHECKPOINT", 0.05, 30),
        reuse_port=_flag(values, "REUSE_PORT"),
        tls=tls,
        tokens=tokens,
        clients=_clients(values, tls, tokens),
        quota=Quota(
            calls=configuration.integer(values, "MAX_CALLS_PER_CLIENT", 0, 1_000_000),
            watches=configuration.integer(values, "MAX_WATCHES_PER_CLIENT", 0, 1_000_000),
            rate=configuration.number(values, "MAX_RATE_PER_CLIENT", 0, 1_000_000),
        ),
        open_reflection=_flag(values, "OPEN_REFLECTION"),
        metrics=configuration.metrics_address(values),
        allow_insecure=_flag(values, "ALLOW_INSECURE"),
        consul=_consul(values, tls),
        tracing=tracing_settings(config, f"{SERVICE}-bridge"),
    )
    if read.exposed and read.missing and not read.allow_insecure:
        raise configuration.ConfigurationError(
            f"HOST={read.host} is open to other machines without {read.missing}: give these, listen on 127.0.0.1, or"
            " say ALLOW_INSECURE=true"
        )
    return read


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name, which may mean anything


def _broker(values: Mapping[str, object]) -> str:
    nodes = configuration.broker_nodes(configuration.amqp_uri(values))
    return ";".join(node.removeprefix("py") for node in nodes)  # `pyamqp` is kombu's own name for it


def _tls(values: Mapping[str, object]) -> TlsFiles | None:
    certificate, key, client_ca = (_file(values, name) for name in ("TLS_CERTIFICATE", "TLS_KEY", "TLS_CLIENT_CA"))
    if certificate is not None and key is not None:
        return TlsFiles(certificate, key, client_ca)
    for name, value in (("TLS_CERTIFICATE", certificate), ("TLS_KEY", key), ("TLS_CLIENT_CA", client_ca)):
        if value is not None:
            missing = "TLS_CERTIFICATE" if certificate is None else "TLS_KEY"
            raise configuration.ConfigurationError(f"{missing} must be given, since {name} is")
    return None


def _tokens(values: Mapping[str, object]) -> TokenRules | None:
    jwks, secret = _file(values, "TOKEN_JWKS"), _file(values, "TOKEN_SECRET_FILE")
    if jwks is not None and secret is not None:
        raise configuration.ConfigurationError("TOKEN_JWKS and TOKEN_SECRET_FILE exclude each other")
    keys = jwks or secret
    if keys is None:
        for name in ("TOKEN_ISSUER", "TOKEN_AUDIENCE"):
            if values.get(name):
                raise configuration.ConfigurationError(
                    f"TOKEN_JWKS or TOKEN_SECRET_FILE must be given, since {name} is"
                )
        return None
    return TokenRules(
        keys=keys,
        shared=secret is not None,
        issuer=configuration.text(values, "TOKEN_ISSUER"),
        audience=configuration.text(values, "TOKEN_AUDIENCE"),
        leeway=configuration.number(values, "TOKEN_LEEWAY", 0, 3600),
    )


def _consul(values: Mapping[str, object], tls: TlsFiles | None) -> Consul | None:
    url = values.get("CONSUL_URL")
    if not url:
        return None
    if not isinstance(url, str) or not _is_origin(url):
        # Without the value: a password may be in it.
        raise configuration.ConfigurationError(
            "CONSUL_URL must look like http://host:8500 or https://host:8501; a token goes into CONSUL_TOKEN_FILE"
        )
    advertised = "ADVERTISED_HOST" if values.get("ADVERTISED_HOST") else "HOST"
    host = configuration.text(values, advertised)
    if _is_wildcard(host):
        raise configuration.ConfigurationError(
            f"ADVERTISED_HOST must be given as the address at which clients reach this bridge: {host} is none"
        )
    return Consul(
        url=url.rstrip("/"),
        host=host,
        port=configuration.integer(values, "ADVERTISED_PORT", 0, 65535),
        service=configuration.text(values, "CONSUL_SERVICE"),
        tls=tls is not None,
        stays=_flag(values, "REUSE_PORT"),
        token_file=_file(values, "CONSUL_TOKEN_FILE"),
        ca=_file(values, "CONSUL_CA"),
        check_interval=configuration.number(values, "CONSUL_CHECK_INTERVAL", 1, 30),
    )


def _is_origin(url: str) -> bool:
    """Whether *url* is one of HTTP that names a host, perhaps a port, and nothing else."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:  # a port that is none, or a name that no host can have
        return False
    bare = "@" not in parts.netloc and parts.path in ("", "/") and not parts.query and not parts.fragment
    return parts.scheme in ("http", "https") and named and bare and re.fullmatch("[!-~]+", url) is not None


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False  # a name


def _clients(
    values: Mapping[str, object], tls: TlsFiles | None, tokens: TokenRules | None
) -> Mapping[str, frozenset[str]] | None:
    given = values.get("TLS_CLIENTS")
    if tls is None or tls.client_ca is None:
        if given:
            raise configuration.ConfigurationError("TLS_CLIENT_CA must be given, since TLS_CLIENTS is")
        return None
    if not given:
        # Where tokens say who may do what, a certificate only opens the connection.
        return {"*": SCOPES} if tokens is None else {}
    if not isinstance(given, dict):
        raise configuration.ConfigurationError("TLS_CLIENTS must be a mapping of names to scopes")
    clients: dict[str, frozenset[str]] = {}
    for name, scopes in given.items():
        named = frozenset(scopes.split()) if isinstance(scopes, str) else frozenset()
        if not named or named - SCOPES:
            raise configuration.ConfigurationError(
                f"TLS_CLIENTS: the scopes of {name} must be some of {', '.join(sorted(SCOPES))}"
            )
        clients[str(name)] = named
    return clients


def _file(values: Mapping[str, object], name: str) -> Path | None:
    value = values.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise configuration.ConfigurationError(f"{name} must be the path of a file, got {value!r}")
    return Path(value)


def _age(values: Mapping[str, object]) -> float:
    age = configuration.number(values, "MAX_CONNECTION_AGE", 0, 86_400)
    if 0 < age < 1:
        raise configuration.ConfigurationError(f"MAX_CONNECTION_AGE must be at least 1, or 0 for never, got {age:g}")
    return age


def _flag(values: Mapping[str, object], name: str) -> bool:
    value = values.get(name)
    if not isinstance(value, bool):
        raise configuration.ConfigurationError(f"{name} must be true or false, got {value!r}")
    return value
