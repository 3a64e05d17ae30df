"""Why there is no connection, where gRPC says only that there is none.

gRPC tells of a failed handshake in the words of its TLS library, or as a socket that was closed. So once it has failed,
we shake hands ourselves, and look.
"""

import socket
import ssl

from beers_cli.access import Access
from beers_cli.failure import Failure

_PATIENCE = 2.0
"""Seconds for each step of a look."""

_EXPIRED = 10
_OTHER_NAME = (62, 64)
"""OpenSSL's numbers of what is wrong with a certificate."""


def obstacle(address: str, access: Access) -> Failure | None:
    """Return why nobody gets in at *address* in the way of *access*; None if it is not for want of an understanding."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        with socket.create_connection((host, int(port)), timeout=_PATIENCE) as connection:
            if access.encrypted:
                return _encrypted(connection, host, address, access)
            return _plain(connection, address)
    except (OSError, ValueError):
        return None


def _plain(connection: socket.socket, address: str) -> Failure | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # whoever it is: nothing is told to it
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        context.wrap_socket(connection).close()
    except ssl.SSLError as error:
        if "ALERT" not in (error.reason or ""):
            return None
    return Failure(
        f"{address} speaks TLS, and was not spoken to in TLS.",
        "--tls-ca or BEERS_TLS_CA says whose certificate to trust; --tls, that of any authority this system trusts.",
        code="UNAVAILABLE",
    )


def _encrypted(connection: socket.socket, host: str, address: str, access: Access) -> Failure | None:
    try:
        with access.context().wrap_socket(connection, server_hostname=host) as secured:
            try:
                heard = secured.recv(1)  # a server of HTTP/2 that lets us in speaks first
            except (ssl.SSLError, ConnectionError):
                heard = b""
    except ssl.SSLCertVerificationError as error:
        return _untrusted(error, address)
    except ssl.SSLError as error:
        if error.reason == "WRONG_VERSION_NUMBER":
            return Failure(
                f"{address} does not speak TLS.",
                "Ask whoever runs the service whether it should; without the options of TLS it is called in plaintext.",
                code="UNAVAILABLE",
            )
        return None
    if heard:
        return None
    if access.tls_certificate:
        message = f"{address} does not accept the certificate in {access.tls_certificate}."
    else:
        message = f"{address} wants to see a certificate of yours."
    return Failure(
        message, "--tls-certificate and --tls-key name one; ask whoever runs the service.", code="UNAVAILABLE"
    )


def _untrusted(error: ssl.SSLCertVerificationError, address: str) -> Failure:
    if error.verify_code == _EXPIRED:
        message, hint = f"The certificate of {address} has expired.", "Tell whoever runs the service."
    elif error.verify_code in _OTHER_NAME:
        message = f"The certificate of {address} is for another name."
        hint = "Give --address the name that the certificate is for."
    else:
        message = f"The certificate of {address} is of no authority that you trust: {error.verify_message}."
        hint = "--tls-ca or BEERS_TLS_CA says whom to trust; ask whoever runs the service, not the network."
    return Failure(message, hint, code="UNAVAILABLE")
