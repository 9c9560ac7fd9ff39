"""Rows of the keys that sign access tokens. The private half is sealed before it comes here."""

from dataclasses import dataclass
from typing import Any

_LOCK = 0x6B65_7973  # "keys"; any fixed number, the same in every version


@dataclass(frozen=True, slots=True)
class SigningKeyRow:
    kid: str
    public_jwk: str
    private_key_sealed: bytes


async def lock_signing_keys(connection: Any) -> None:
    """Until the transaction ends, nobody else creates a key: replicas that start at once agree on one."""
    assert connection.is_in_transaction(), "the lock ends with the transaction"
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)


async def newest_signing_key(connection: Any) -> SigningKeyRow | None:
    row = await connection.fetchrow(
        "SELECT kid, public_jwk, private_key_sealed FROM signing_keys WHERE retired_at IS NULL "
        "ORDER BY created_at DESC, kid DESC LIMIT 1"
    )
    return None if row is None else SigningKeyRow(*row)


async def insert_signing_key(connection: Any, key: SigningKeyRow) -> None:
    await connection.execute(
        "INSERT INTO signing_keys (kid, public_jwk, private_key_sealed) VALUES ($1, $2::json, $3)",
        key.kid,
        key.public_jwk,
        key.private_key_sealed,
    )


async def public_keys(connection: Any) -> dict[str, str]:
    """The public JWK (text) by kid of every key that may still have signed a valid token."""
    rows = await connection.fetch("SELECT kid, public_jwk FROM signing_keys WHERE retired_at IS NULL")
    return {row["kid"]: row["public_jwk"] for row in rows}
