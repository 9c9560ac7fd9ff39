"""Ghost mode: what others may see of where a person is for a while (GEO-22).

That somebody is a ghost is a fact in Postgres. The place that they are frozen at is a position, so it is kept
where positions are, in Valkey, and ends with the ghost; where it was lost the person is hidden.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

import asyncpg
import msgspec
import redis.asyncio as redis

GhostMode = Literal["hidden", "frozen"]


@dataclass(frozen=True, slots=True)
class Ghost:
    """Since when it goes on, whichever mode it had before, and until when."""

    mode: GhostMode
    since_ms: int
    until_ms: int


class FrozenPlace(msgspec.Struct, array_like=True, frozen=True):
    """The last fix before the ghost began (WGS84 degrees, metres, Unix ms) and the cell shown for it."""

    lat: float
    lon: float
    acc_m: float
    t_ms: int
    cell: str
    since_ms: int
    fine: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(FrozenPlace)


IS_UNSEEN = "coalesce({0}.ghost_mode = 'hidden' AND {0}.ghost_until > now(), false)"
"""Whether somebody of `users` (its name in the query) is in nobody's list now."""


async def begin(connection: Any, user: str, mode: GhostMode, now: datetime, until: datetime) -> None:
    """The person is a ghost from now on; one that goes on keeps its beginning, so what it froze, too."""
    await connection.execute(
        """UPDATE users SET ghost_mode = $2, ghost_until = $4, version = version + 1,
        ghost_since = CASE WHEN ghost_until > $3 THEN ghost_since ELSE $3 END WHERE id = $1""",
        user,
        mode,
        now,
        until,
    )


async def end(connection: Any, user: str, due: datetime | None = None) -> bool:
    """The person is none any more; with `due` only if its time was over by then. Whether they were one."""
    ended = await connection.fetchval(
        """UPDATE users SET ghost_mode = NULL, ghost_since = NULL, ghost_until = NULL, version = version + 1
        WHERE id = $1 AND ghost_mode IS NOT NULL AND ($2::timestamptz IS NULL OR ghost_until <= $2)
        RETURNING true""",
        user,
        due,
    )
    return bool(ended)


def ghost_of(row: asyncpg.Record) -> Ghost | None:
    """Of a row with `ghost_mode`, `ghost_since` and `ghost_until`."""
    if row["ghost_mode"] is None:
        return None
    since_ms, until_ms = (round(row[name].timestamp() * 1000) for name in ("ghost_since", "ghost_until"))
    return Ghost(row["ghost_mode"], since_ms, until_ms)


def _key(user: str) -> str:
    return f"hereabouts:frozen:{user}"


async def freeze(valkey: redis.Redis, user: str, place: FrozenPlace, until_ms: int) -> None:
    """Keeps the place until the ghost ends."""
    await valkey.set(_key(user), _encoder.encode(place), pxat=until_ms)


async def frozen(valkey: redis.Redis, user: str, since_ms: int) -> FrozenPlace | None:
    """The place that the ghost which began at this moment froze."""
    found = await valkey.get(_key(user))
    place = None if found is None else _decoder.decode(cast(bytes, found))
    return place if place is not None and place.since_ms == since_ms else None


async def thaw(valkey: redis.Redis, user: str) -> None:
    """Forgets it."""
    await valkey.delete(_key(user))
