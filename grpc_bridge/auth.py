"""Who calls, and what they may do: bearer tokens, and certificates of clients.

A token is a JWT, signed with a key that we know, for us, not expired, of a subject; its `scope` says what that one may
do. What was found out about a token is kept until it expires, so that a call costs a look into a dictionary.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import jwt
from structlog.typing import FilteringBoundLogger

from grpc_bridge.errors import CallFailed
from grpc_bridge.identifiers import is_name
from grpc_bridge.keys import Keys

READ: Final = "beers.read"
WRITE: Final = "beers.write"
SCOPES: Final = frozenset({READ, WRITE})

_AUTHORIZATION: Final = "authorization"
_LONGEST_TOKEN: Final = 8192
_MOST_TOKENS: Final = 1000
"""How many tokens are remembered; the one that was not seen for longest is forgotten first."""
_LOOK_EVERY: Final = 1.0
"""Seconds between two looks whether the keys have changed."""

_FOREVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Which tokens are good. Leeway is in seconds.

    Attributes:
        keys: The file that holds the keys.
        shared: Whether it is a shared secret; else it is a JWKS.
        issuer: Who must have issued them.
        audience: For whom they must be.
        leeway: By how much the clocks of the issuer and ours may differ.
    """

    keys: Path
    shared: bool
    issuer: str
    audience: str
    leeway: float = 30.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who was recognized.

    Attributes:
        name: The token's subject, or the name in the certificate: the actor of what they do.
        scopes: What they may do.
        until: When that ends, in seconds since the epoch.
    """

    name: str
    scopes: frozenset[str]
    until: float = _FOREVER


class Door:
    """Lets calls in, or not.

    Args:
        tokens: Which tokens are good; None if none is.
        clients: The scopes of those who show a certificate, by the name in it; ``*`` stands for all others. None where
            clients show none.
        logger: Takes what happens to the keys.
        clock: Tells the time in seconds since the epoch.

    Raises:
        ConfigurationError: If the keys of *tokens* cannot be used.
    """

    def __init__(
        self,
        tokens: TokenRules | None,
        clients: Mapping[str, frozenset[str]] | None,
        logger: FilteringBoundLogger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rules = tokens
        self._keys = None if tokens is None else Keys(tokens.keys, logger, shared=tokens.shared)
        self._clients = clients
        self._clock = clock
        self._known: OrderedDict[str, Identity] = OrderedDict()
        self._look_at = 0.0

    def admit(self, context: "grpc.aio.ServicerContext[Any, Any]", scope: str) -> Identity:
        """Return who calls, if they may do what *scope* is for.

        Raises:
            CallFailed: TokenMissing, TokenInvalid or TokenExpired if it is not known who calls; ScopeMissing if they
                may not.
        """
        identity = self._identity(context)
        if scope not in identity.scopes:
            raise CallFailed("ScopeMissing", (scope,), f"this needs the scope {scope}")
        return identity

    def left(self, identity: Identity) -> float | None:
        """Return for how many seconds more *identity* is good; None for ever."""
        return None if identity.until == _FOREVER else max(0.0, identity.until - self._clock())

    def _identity(self, context: "grpc.aio.ServicerContext[Any, Any]") -> Identity:
        if self._keys is not None:
            found = [value for key, value in context.invocation_metadata() or () if key == _AUTHORIZATION]
            if found:
                return self._of_token(_bearer(found))
        if self._clients is not None:
            name = _name(context.auth_context())
            scopes = self._clients.get(name, self._clients.get("*"))
            if scopes is not None and is_name(name):
                return Identity(name, scopes)
        if self._keys is not None:
            raise CallFailed("TokenMissing", (), "this needs a bearer token")
        raise CallFailed("ClientUnknown", (), "the client's certificate is not known here")

    def _of_token(self, token: str) -> Identity:
        now = self._clock()
        self._look(now)
        identity = self._known.get(token)
        if identity is None:
            identity = self._verified(token)
            self._known[token] = identity
            if len(self._known) > _MOST_TOKENS:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(token)
        if identity.until <= now:
            self._known.pop(token, None)
            raise expired()
        return identity

    def _look(self, now: float) -> None:
        """Forget what was found out with keys that are no longer good."""
        if abs(now - self._look_at) < _LOOK_EVERY or self._keys is None:
            return
        self._look_at = now
        if self._keys.refresh():
            self._known.clear()

    def _verified(self, token: str) -> Identity:
        rules, keys = self._rules, self._keys
        if rules is None or keys is None:
            raise _invalid("no tokens are taken")
        try:
            key = keys.find(jwt.get_unverified_header(token).get("kid"))
            if key is None:
                raise _invalid("unknown key")
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                issuer=rules.issuer,
                audience=rules.audience,
                leeway=rules.leeway,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            subject, until = str(claims["sub"]), float(claims["exp"]) + rules.leeway
        except jwt.ExpiredSignatureError:
            raise expired() from None
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            # Without the cause: it may quote the token.
            raise _invalid(type(error).__name__) from None
        if not is_name(subject):
            raise _invalid("the subject is no name")
        return Identity(subject, _scopes(claims.get("scope")), until)


def expired() -> CallFailed:
    """Return the failure of a call whose token is too old."""
    return CallFailed("TokenExpired", (), "the bearer token has expired")


def _invalid(why: str) -> CallFailed:
    """Return the failure of a call whose token is no good; *why* is for the log, and not for whoever tries."""
    return CallFailed("TokenInvalid", (why,), "the bearer token is not valid here")


def _bearer(found: list[Any]) -> str:
    kind, _, token = str(found[0]).partition(" ")
    if len(found) > 1 or kind.lower() != "bearer" or not 0 < len(token) <= _LONGEST_TOKEN:
        raise _invalid("no bearer token")
    return token.strip()


def _scopes(claimed: object) -> frozenset[str]:
    """Return those scopes that mean something here, of a text with spaces between them, or of a list."""
    named = claimed.split() if isinstance(claimed, str) else claimed
    if not isinstance(named, list):
        return frozenset()
    return SCOPES & {scope for scope in named if isinstance(scope, str)}


def _name(auth_context: Mapping[str, Any]) -> str:
    """Return what a certificate calls its owner: the common name, else the first alternative name."""
    for field in ("x509_common_name", "x509_subject_alternative_name"):
        for value in auth_context.get(field, ()):
            if value:
                return str(value.decode("utf-8", "replace"))
    return ""
