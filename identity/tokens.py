"""Access tokens: short-lived JWTs signed with ES256 (RFC 7518 §3.4), the key named by `kid` (AUTH-3).

Issuing and verifying are pure: keys and the time are arguments. Where the keys come from is identity/keys.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from storage.ids import SessionId, UserId, is_id, new_id

ISSUER = "hereabouts"
AUDIENCE = "hereabouts"
ALGORITHM = "ES256"
LIFETIME_S = 600
CACHE_S = 60
"""A verified token is not verified again for this long (a verification costs 0.09 ms)."""

CACHE_LIMIT = 50_000
TOKEN_LIMIT = 4096
"""No token of ours is longer; a longer one is not looked at."""


class TokenInvalid(Exception):  # noqa: N818 - a verdict, not a fault
    """Not a token of this engine: malformed, forged, of another audience or signed by an unknown key."""


class UnknownKey(TokenInvalid):
    """Names a key that the verifier does not have: one that was just made, or a forgery."""


class TokenExpired(Exception):  # noqa: N818 - a verdict, not a fault
    """Was a token of this engine."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """`public_jwk` is a public EC JWK (RFC 7517) with kid, alg and use."""

    kid: str
    private_key: EllipticCurvePrivateKey
    public_jwk: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Claims:
    """Who a valid token speaks for."""

    user: UserId
    session: SessionId
    expires_at_s: int


def issue_access_token(
    key: SigningKey,
    *,
    user: UserId,
    now_s: float,
    session: SessionId | None = None,
    lifetime_s: float = LIFETIME_S,
) -> str:
    """A token for `user`, valid from `now_s` (Unix seconds) for `lifetime_s`."""
    issued_at_s = int(now_s)
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user,
        "sid": session or new_id(),
        "iat": issued_at_s,
        "exp": issued_at_s + max(1, int(lifetime_s)),
        "jti": new_id(),
    }
    return jwt.encode(claims, key.private_key, ALGORITHM, headers={"kid": key.kid})


class TokenVerifier:
    """Verifies access tokens against public keys by kid. Not shared between threads."""

    def __init__(self, keys: Mapping[str, Mapping[str, Any]]) -> None:
        self._keys: dict[str, jwt.PyJWK] = {}
        self._cache: dict[bytes, tuple[Claims, float]] = {}
        self.replace_keys(keys)

    def replace_keys(self, keys: Mapping[str, Mapping[str, Any]]) -> None:
        """From now on only these keys are believed."""
        self._keys = {kid: jwt.PyJWK(dict(jwk), ALGORITHM) for kid, jwk in keys.items()}
        self._cache.clear()

    def verify(self, token: str, now_s: float) -> Claims:
        """The claims of a valid token. Raises TokenExpired, UnknownKey or another TokenInvalid."""
        if len(token) > TOKEN_LIMIT:
            raise TokenInvalid
        try:
            digest = sha256(token.encode()).digest()
        except UnicodeEncodeError:
            raise TokenInvalid from None
        cached = self._cache.get(digest)
        if cached is not None and now_s < cached[1]:
            return cached[0]
        claims = self._verify(token)
        if now_s >= claims.expires_at_s:
            raise TokenExpired
        while len(self._cache) >= CACHE_LIMIT:
            del self._cache[next(iter(self._cache))]
        self._cache[digest] = (claims, min(claims.expires_at_s, now_s + CACHE_S))
        return claims

    def _verify(self, token: str) -> Claims:
        try:
            header = jwt.get_unverified_header(token)
            kid = header.get("kid")
            if header.get("alg") != ALGORITHM or not isinstance(kid, str):
                raise TokenInvalid
            key = self._keys.get(kid)
            if key is None:
                raise UnknownKey
            # The time is an argument of ours, so PyJWT must not compare against its own clock.
            payload = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={
                    "require": ["iss", "aud", "sub", "sid", "iat", "exp", "jti"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.PyJWTError, ValueError):
            raise TokenInvalid from None
        expires_at_s = payload["exp"]
        if not (is_id(payload["sub"]) and is_id(payload["sid"]) and isinstance(expires_at_s, int)):
            raise TokenInvalid
        return Claims(UserId(payload["sub"]), SessionId(payload["sid"]), expires_at_s)
