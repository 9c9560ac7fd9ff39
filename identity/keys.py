"""The keys that sign access tokens: made on first use, kept sealed in Postgres, agreed on by all replicas."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from jwt.algorithms import ECAlgorithm

from identity.departed import Departed
from identity.seals import Seal, SealBrokenError
from identity.secrets import derive
from identity.tokens import ALGORITHM, Claims, SigningKey, TokenInvalid, TokenVerifier, UnknownKey
from storage import keys as rows
from storage.ids import new_id

RELOAD_S = 3.0
"""An unknown kid makes the verifier read the keys anew, at most this often."""

_TABLE = "signing_keys"

__all__ = ["ReloadingVerifier", "SealBrokenError", "ensure_signing_key", "load_verifying_keys"]


def _seal(seal: Seal, kid: str, private_key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return seal.close(_TABLE, kid, plain)


def _open(seal: Seal, row: rows.SigningKeyRow) -> SigningKey:
    private_key = load_der_private_key(seal.open(_TABLE, row.kid, row.private_key_sealed), None)
    assert isinstance(private_key, ec.EllipticCurvePrivateKey)
    return SigningKey(row.kid, private_key, json.loads(row.public_jwk))


def _generate() -> SigningKey:
    private_key = ec.generate_private_key(ec.SECP256R1())
    kid = new_id()
    public = ECAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
    return SigningKey(kid, private_key, {**public, "kid": kid, "alg": ALGORITHM, "use": "sig"})


async def ensure_signing_key(pool: Any, secret_key: str) -> SigningKey:
    """The key to sign with. The first caller ever makes it; concurrent first callers get the same one.

    Raises SealBrokenError when `secret_key` is not the one that the database was made with.
    """
    seal = Seal(derive(secret_key, "signing keys"))
    async with pool.acquire() as connection, connection.transaction():
        found = await rows.newest_signing_key(connection)
        if found is None:
            await rows.lock_signing_keys(connection)
            found = await rows.newest_signing_key(connection)
        if found is not None:
            return _open(seal, found)
        made = _generate()
        sealed = _seal(seal, made.kid, made.private_key)
        await rows.insert_signing_key(
            connection, rows.SigningKeyRow(made.kid, json.dumps(made.public_jwk), sealed)
        )
        return made


async def load_verifying_keys(connection: Any) -> dict[str, dict[str, Any]]:
    """The public JWK of every key that may have signed a valid token, by kid."""
    return {kid: json.loads(jwk) for kid, jwk in (await rows.public_keys(connection)).items()}


class ReloadingVerifier:
    """A TokenVerifier that reads the keys from Postgres when a token names one it does not know, and believes
    no token of somebody who has given up their account.
    """

    def __init__(self, pool: Any, clock: Callable[[], float] = time.time) -> None:
        self._pool = pool
        self._clock = clock
        self.departed = Departed(pool, clock)
        self._verifier = TokenVerifier({})
        self._loaded_at_s = float("-inf")
        self._loading: asyncio.Task[None] | None = None

    async def verify(self, token: str) -> Claims:
        """As TokenVerifier.verify, at the clock's time. Raises what the pool raises if it must read."""
        claims = await self._verify(token)
        await self.departed.keep_up()
        if claims.user in self.departed:
            raise TokenInvalid
        return claims

    async def _verify(self, token: str) -> Claims:
        now_s = self._clock()
        try:
            return self._verifier.verify(token, now_s)
        except UnknownKey:
            if self._loading is None and now_s - self._loaded_at_s < RELOAD_S:
                raise
        if self._loading is None:
            self._loading = asyncio.create_task(self._load(now_s))
        # Everybody who comes meanwhile waits for the same read; one who gives up does not end it.
        await asyncio.shield(self._loading)
        return self._verifier.verify(token, now_s)

    async def _load(self, now_s: float) -> None:
        try:
            self._verifier.replace_keys(await load_verifying_keys(self._pool))
            self._loaded_at_s = now_s
        finally:
            self._loading = None
