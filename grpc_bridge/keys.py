"""The keys that tokens are signed with, read anew when their file changes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
from structlog.typing import FilteringBoundLogger

from beers_runtime.configuration import ConfigurationError
from beers_runtime.files import stamp

_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_ALGORITHMS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("RSA", ""): _RSA,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""What a key of a kind and curve may sign with; the first where the key does not say. A token has no say in it."""

_HMAC: Final = "HS256"
"""What a shared secret signs with."""
_SHORTEST_SECRET: Final = 32
"""Bytes: as long as what HS256 makes of it."""
_SHORTEST_RSA: Final = 2048
"""Bits."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key, and the one algorithm that it is for."""

    algorithm: str
    key: Any


class Keys:
    """The keys in the file at *path*: a JWKS, or a shared secret if it is *shared*.

    Raises:
        ConfigurationError: If it cannot be read, or holds nothing that a signature can be checked with.
    """

    def __init__(self, path: Path, logger: FilteringBoundLogger, *, shared: bool) -> None:
        self._path = path
        self._logger = logger
        self._shared = shared
        self._read_at = stamp(path)
        self._keys = self._read()

    def refresh(self) -> bool:
        """Look whether the file has changed, and return whether the keys have. What cannot be read changes nothing."""
        found = stamp(self._path)
        if found == self._read_at:
            return False
        self._read_at = found
        try:
            self._keys = self._read()
        except ConfigurationError as error:
            self._logger.warning("keys of tokens changed and cannot be used", reason=str(error))
            return False
        self._logger.info("keys of tokens", file=str(self._path), count=len(self._keys))
        return True

    def find(self, name: object) -> Key | None:
        """Return the key that a token calls *name*; one that names none can mean the only one."""
        if name is None or self._shared:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(name) if isinstance(name, str) else None

    def _read(self) -> Mapping[str, Key]:
        setting = "TOKEN_SECRET_FILE" if self._shared else "TOKEN_JWKS"
        try:
            content = self._path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{setting}: cannot read {self._path}: {error.strerror}") from error
        if not self._shared:
            return _jwks(f"{setting}: {self._path}", content)
        secret = content.strip()
        if len(secret) < _SHORTEST_SECRET:
            raise ConfigurationError(f"{setting}: {self._path} must hold a secret of at least {_SHORTEST_SECRET} bytes")
        return {"": Key(_HMAC, secret)}


def _jwks(where: str, content: bytes) -> Mapping[str, Key]:
    try:
        listed = json.loads(content)["keys"]
        documents = [document for document in listed if document.get("use", "sig") == "sig"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # Without what caused it, which may quote the file.
        raise ConfigurationError(f'{where} is no JWKS, {{"keys": […]}}') from None
    keys: dict[str, Key] = {}
    for index, document in enumerate(documents):
        name = document.get("kid", "")
        if not isinstance(name, str) or name in keys:
            raise ConfigurationError(f"{where}: key {index} needs a kid of its own")
        keys[name] = _key(f"{where}: key {index}", document)
    if not keys:
        raise ConfigurationError(f"{where} holds no key for signatures")
    return keys


def _key(where: str, document: Mapping[str, Any]) -> Key:
    kind = (str(document.get("kty", "")), str(document.get("crv", "")))
    algorithms = _ALGORITHMS.get(kind, ())
    algorithm = document.get("alg", algorithms[0] if algorithms else "")
    if algorithm not in algorithms:
        raise ConfigurationError(
            f"{where} must be an RSA, P-256, P-384 or Ed25519 key, and for an algorithm of its kind"
        )
    if "d" in document:
        raise ConfigurationError(f"{where} is a private key; the bridge needs public ones only")
    try:
        key = jwt.PyJWK(dict(document), algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        raise ConfigurationError(f"{where} is malformed") from None
    if kind[0] == "RSA" and key.key_size < _SHORTEST_RSA:
        raise ConfigurationError(f"{where} must have at least {_SHORTEST_RSA} bits")
    return Key(algorithm, key)
