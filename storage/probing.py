"""Until when somebody sees others at city precision: in Valkey, so no restart ends it (GEO-23)."""

from collections.abc import Sequence
from typing import cast

import redis.asyncio as redis


def _key(user: str) -> str:
    return f"hereabouts:probing:{user}"


async def save(valkey: redis.Redis, user: str, until_ms: int) -> None:
    """Keeps it until then."""
    await valkey.set(_key(user), until_ms, pxat=until_ms)


async def load(valkey: redis.Redis, users: Sequence[str]) -> dict[str, int]:
    """Unix milliseconds, of those against whom something is known."""
    found = await valkey.mget([_key(user) for user in users])
    return {user: int(cast(bytes, raw)) for user, raw in zip(users, found, strict=True) if raw is not None}


async def forget(valkey: redis.Redis, user: str) -> None:
    """Nothing is known against them."""
    await valkey.delete(_key(user))
