"""How a command gets in at the service: whom it trusts, and as whom it comes.

The options are the same for every command that calls the service, and none of their business: `Calling` takes them off
before the command sees its own, and whoever opens a channel looks here.
"""

import contextvars
import functools
import ipaddress
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from beers_cli.failure import Failure

if TYPE_CHECKING:
    import grpc

_PANEL = "Access"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


@dataclass(frozen=True, slots=True)
class Access:
    """What the options say. Files are given by their paths, empty for none.

    Attributes:
        tls: Whether to speak TLS, also without any of the files.
        tls_ca: PEM certificates of authorities to trust, instead of those that this system trusts.
        tls_certificate: The certificate to show, with those between it and its authority.
        tls_key: The key of it.
        token_file: The file with the bearer token to show.
    """

    tls: bool = False
    tls_ca: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    token_file: str = ""

    @property
    def encrypted(self) -> bool:
        """Whether to speak TLS."""
        return self.tls or bool(self.tls_ca or self.tls_certificate or self.tls_key)

    @property
    def has_token(self) -> bool:
        """Whether to show a token: that of the file, else that of the environment. Arguments are for all to see."""
        return bool(self.token_file or os.environ.get("BEERS_TOKEN"))

    def token(self) -> str:
        """Return the token as it is now; raises `Failure` if there is none."""
        where, found = self.token_file or "BEERS_TOKEN", os.environ.get("BEERS_TOKEN", "")
        if self.token_file:
            try:
                found = Path(self.token_file).read_text("ascii")
            except OSError as error:
                raise Failure(f"Cannot read {where}: {error.strerror}.") from error
            except UnicodeError:
                found = ""  # which is no token either
        token = found.strip()
        if not _TOKEN.fullmatch(token):
            raise Failure(f"{where} does not hold a token.")
        return token

    def check(self, address: str) -> None:
        """Raise `Failure` if a token would travel to *address* for all to read."""
        if not self.has_token:
            return
        self.token()
        if not self.encrypted and not _is_this_machine(address):
            hint = "--tls or --tls-ca makes the way a private one."
            raise Failure(f"A token is not sent to {address} without TLS: others could read it.", hint)

    def context(self) -> ssl.SSLContext:
        """Return what Python's own TLS needs; raises `Failure` if one of the files cannot be used."""
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise Failure("A certificate and its key are given together.", "See --tls-certificate and --tls-key.")
        try:
            context = ssl.create_default_context(cafile=self.tls_ca or None)
        except (ssl.SSLError, OSError) as error:
            raise _unusable(self.tls_ca, "certificates", error) from error
        if self.tls_certificate:
            try:
                # Without a password it would ask for one on the terminal.
                context.load_cert_chain(self.tls_certificate, self.tls_key, password="")
            except (ssl.SSLError, OSError) as error:
                if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
                    raise Failure(f"{self.tls_key} is not the key of {self.tls_certificate}.") from error
                names = f"{self.tls_certificate} and {self.tls_key}"
                raise _unusable(names, "a certificate and its key, without a password", error) from error
        context.set_alpn_protocols(["h2"])
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # gRPC is not that strict either
        return context

    def channel_credentials(self) -> "grpc.ChannelCredentials":
        """Return what gRPC needs to speak TLS; raises `Failure` if one of the files cannot be used."""
        import grpc  # noqa: PLC0415 - see load_grpc

        self.context()
        certificate = _content(self.tls_certificate)
        # Else gRPC would trust a list of its own.
        trusted = self.tls_ca or ssl.get_default_verify_paths().cafile or ""
        return grpc.ssl_channel_credentials(_content(trusted), _content(self.tls_key), certificate)


_current: contextvars.ContextVar[Access] = contextvars.ContextVar("access")


def current() -> Access:
    """Return how the command that runs gets in."""
    return _current.get(Access())


@contextmanager
def having(access: Access) -> Iterator[None]:
    """Have `current` return *access*."""
    before = _current.set(access)
    try:
        yield
    finally:
        _current.reset(before)


class Calling(TyperCommand):
    """A command that calls the service, with the options of `Access` besides its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _options()

    def invoke(self, ctx: Any) -> Any:
        """Run the command without these options, in a context that has them."""
        with having(Access(**{option.name: ctx.params.pop(option.name) for option in _options()})):
            return super().invoke(ctx)


@functools.cache
def _options() -> list[Any]:
    declared = typer.Typer(add_completion=False)
    declared.command()(_declared)
    return list(typer.main.get_command(declared).params)


def _file(variable: str, meaning: str) -> Any:
    return typer.Option(metavar="FILE", envvar=variable, rich_help_panel=_PANEL, help=meaning)


def _declared(
    *,
    tls: Annotated[
        bool,
        typer.Option(
            "--tls",
            envvar="BEERS_TLS",
            rich_help_panel=_PANEL,
            help="Speak TLS; the other options of TLS imply it.",
        ),
    ] = False,
    tls_ca: Annotated[str, _file("BEERS_TLS_CA", "Authorities to trust, instead of the system's. PEM.")] = "",
    tls_certificate: Annotated[str, _file("BEERS_TLS_CERTIFICATE", "A certificate to show to the service. PEM.")] = "",
    tls_key: Annotated[str, _file("BEERS_TLS_KEY", "The key of it. PEM.")] = "",
    token_file: Annotated[str, _file("BEERS_TOKEN_FILE", "A bearer token to show; BEERS_TOKEN holds one itself.")] = "",
) -> None:
    """Stand for a command that has these options."""


def _is_this_machine(address: str) -> bool:
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _content(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None


def _unusable(path: str, expected: str, error: OSError) -> Failure:
    if isinstance(error, ssl.SSLError):
        return Failure(f"{path} does not hold {expected}, in PEM.")
    return Failure(f"Cannot read {path}: {error.strerror}.")
