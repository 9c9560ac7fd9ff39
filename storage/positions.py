"""The live snapshot of positions in Valkey: what a shard starts from after a kill (ACT-9).

Precise positions: this store, the user actor and the fences are the only places that hold them. One hash
a slot, so a shard reads all of its people in a few commands.
"""

from collections.abc import Iterable, Mapping
from typing import cast

import msgspec
import redis.asyncio as redis

KEEP_S = 24 * 3600
_BATCH = 128


class Place(msgspec.Struct, array_like=True, frozen=True):
    """A person's last accepted fix (WGS84 degrees, metres, Unix ms) and the cell that was shown for it."""

    lat: float
    lon: float
    acc_m: float
    t_ms: int
    seq: int
    cell: str
    outside_since_ms: int | None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Place)


def _key(slot: int) -> str:
    return f"hereabouts:position:{slot}"


def open_valkey(url: str, patience_s: float = 2.0) -> redis.Redis:
    """A client; connections are made when needed. RESP2: RESP3 changes the shape of stream replies."""
    return redis.from_url(url, protocol=2, socket_timeout=patience_s, socket_connect_timeout=patience_s)


async def save(valkey: redis.Redis, places: Mapping[tuple[int, str], Place]) -> None:
    """Stores places by (slot, user), in one round trip."""
    pipe = valkey.pipeline(transaction=False)
    for (slot, user), place in places.items():
        pipe.hset(_key(slot), user, _encoder.encode(place))
    for slot in {slot for slot, _ in places}:
        pipe.expire(_key(slot), KEEP_S)
    await pipe.execute()


async def load(valkey: redis.Redis, slot: int, user: str) -> Place | None:
    """One person's place."""
    found = await valkey.hget(_key(slot), user)
    return None if found is None else _decoder.decode(cast(bytes, found))


async def forget(valkey: redis.Redis, slot: int, user: str) -> None:
    """Removes one person's place."""
    await valkey.hdel(_key(slot), user)


async def load_slots(valkey: redis.Redis, slots: Iterable[int], newer_than_ms: int) -> dict[str, Place]:
    """The people of these slots whose fix is newer than a moment, and where they are."""
    found: dict[str, Place] = {}
    wanted = sorted(slots)
    for start in range(0, len(wanted), _BATCH):
        pipe = valkey.pipeline(transaction=False)
        for slot in wanted[start : start + _BATCH]:
            pipe.hgetall(_key(slot))
        for places in await pipe.execute():
            for user, raw in places.items():
                place = _decoder.decode(raw)
                if place.t_ms > newer_than_ms:
                    found[user.decode()] = place
    return found
