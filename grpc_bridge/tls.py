"""TLS of the gRPC port: our certificate and key, and whose clients to let in; read anew when the files change."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from structlog.typing import FilteringBoundLogger

from beers_runtime.configuration import ConfigurationError
from beers_runtime.files import Stamp, stamp

_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What to speak TLS with, as PEM files.

    Attributes:
        certificate: Ours, followed by those between it and the authority that clients trust.
        key: The private key of the first of them, without a password.
        client_ca: Authorities; clients have to show a certificate of one of them. None if they need none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


class ServerTls:
    """The credentials of a server, which follow *files*.

    Raises:
        ConfigurationError: If one of them cannot be read, is malformed, or does not fit the others.
    """

    def __init__(self, files: TlsFiles, logger: FilteringBoundLogger) -> None:
        self._files = files
        self._logger = logger
        self._read_at = self._stamps()
        # gRPC keeps no reference of its own to what it asks for certificates.
        self.credentials = grpc.dynamic_ssl_server_credentials(
            self._read(),
            self._changed,  # type: ignore[arg-type] # its types forget that it may return None
            require_client_authentication=files.client_ca is not None,
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what to use from now on, or None for what was used before.

        gRPC calls this from a thread of its own before each handshake. Files that are written one after the other do
        not fit each other for a moment: until they do, the old ones serve.
        """
        stamps = self._stamps()
        if stamps == self._read_at:
            return None
        self._read_at = stamps
        try:
            return self._read()
        except ConfigurationError as error:
            self._logger.warning("certificates changed and cannot be used", reason=str(error))
            return None

    def _stamps(self) -> tuple[Stamp, ...]:
        files = self._files
        return tuple(stamp(path) for path in (files.certificate, files.key, files.client_ca) if path is not None)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        files = self._files
        chain = _content("TLS_CERTIFICATE", files.certificate)
        key = _content("TLS_KEY", files.key)
        certificate = _parsed(
            "TLS_CERTIFICATE", files.certificate, "PEM certificates", lambda: x509.load_pem_x509_certificates(chain)
        )[0]
        private = _parsed(
            "TLS_KEY",
            files.key,
            "a PEM private key without a password",
            lambda: serialization.load_pem_private_key(key, None),
        )
        if private.public_key() != certificate.public_key():
            raise ConfigurationError(f"TLS_KEY {files.key} is not the key of TLS_CERTIFICATE {files.certificate}")
        authorities = None
        if files.client_ca is not None:
            path, authorities = files.client_ca, _content("TLS_CLIENT_CA", files.client_ca)
            found = authorities
            _parsed("TLS_CLIENT_CA", path, "PEM certificates", lambda: x509.load_pem_x509_certificates(found))
        expires = certificate.not_valid_after_utc
        tell = self._logger.warning if expires <= datetime.now(UTC) else self._logger.info
        tell("certificate", file=str(files.certificate), expires=expires.isoformat())
        return grpc.ssl_server_certificate_configuration([(key, chain)], authorities)


def _content(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{setting}: cannot read {path}: {error.strerror}") from error


def _parsed(setting: str, path: Path, expected: str, parse: Callable[[], _Parsed]) -> _Parsed:
    try:
        return parse()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{setting}: {path} does not hold {expected}") from error
