"""Tokens for the tests, and an issuer of them."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from grpc_bridge.auth import TokenRules

ISSUER = "https://issuer.example"
AUDIENCE = "beers"
SECRET = "a secret that is shared, of 32 bytes and more"


class Issuer:
    """Signs tokens with a key whose public half it puts into *file*, a JWKS."""

    def __init__(self, file: Path, name: str = "key-1") -> None:
        self.file = file
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.publish()

    def publish(self, **changes: Any) -> None:
        """Write the JWKS."""
        self.file.write_text(json.dumps({"keys": [self.public_key() | changes]}))

    def public_key(self) -> dict[str, Any]:
        document: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return document | {"kid": self._name}

    def rules(self, **changes: Any) -> TokenRules:
        """Return what a bridge takes for good."""
        given: dict[str, Any] = {"keys": self.file, "shared": False, "issuer": ISSUER, "audience": AUDIENCE}
        return TokenRules(**given | changes)

    def token(self, **changes: Any) -> str:
        """Return a good token, or one with changed claims; None leaves a claim out."""
        return jwt.encode(claims(**changes), self._key, "ES256", headers={"kid": self._name})


def claims(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "shop",
        "exp": time.time() + 3600,
        "scope": "beers.read beers.write",
    }
    return {name: value for name, value in (given | changes).items() if value is not None}


def bearing(token: str) -> list[tuple[str, str]]:
    """Return the metadata of a call that shows *token*."""
    return [("authorization", f"Bearer {token}")]
