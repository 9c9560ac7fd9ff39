"""Until when somebody sees others at city precision: in Valkey, so no restart ends it (GEO-23)."""

from typing import cast

import redis.asyncio as redis


def _key(user: str) -> str:
    return f"hereabouts:probing:{user}"


async def save(valkey: redis.Redis, user: str, until_ms: int) -> None:
    """Keeps it until then."""
    await valkey.set(_key(user), until_ms, pxat=until_ms)


async def load(valkey: redis.Redis, user: str) -> int:
    """Unix milliseconds; 0 if nothing is known against them."""
    found = await valkey.get(_key(user))
    return 0 if found is None else int(cast(bytes, found))


async def forget(valkey: redis.Redis, user: str) -> None:
    """Nothing is known against them."""
    await valkey.delete(_key(user))
