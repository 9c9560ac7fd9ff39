"""Where people are, in Valkey: a snapshot of each person, and a log of what came since (ACT-9, GEO-24).

Precise positions: this store, the history, the user actor and the fences are the only places that hold them.
The snapshot is one hash a slot, so a shard reads its people in a few commands; whoever held the slot under an
older epoch writes nothing to it any more (ACT-4). The log is one stream a shard, an entry a batch of packed
rows, about two minutes long; whoever takes slots over reads all streams, and of each what is about its slots.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt
import redis.asyncio as redis

from geo.fixes import Fix
from storage.placement import slot_of

KEEP_S = 24 * 3600
LOG_KEEP_S = 240
"""A log that nobody writes to goes after so long."""

_BATCH = 128
_PEOPLE = 500
"""In one command: Lua unpacks no more than a few thousand arguments."""

_EPOCH = ""
"""The field that holds the epoch of the newest writer; no person has this name."""

_LOGS = "hereabouts:fixes"
_PAGE = 200

_SAVE = """
local held = redis.call('HGET', KEYS[1], '')
if held and tonumber(held) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], '', unpack(ARGV))
redis.call('EXPIRE', KEYS[1], 86400)
return 1
"""

LOGGED = np.dtype(
    [
        ("user", "S36"), ("slot", "<u2"), ("epoch", "<i8"), ("at_ms", "<i8"), ("outcome", "u1"),
        ("lat", "<f8"), ("lon", "<f8"), ("acc_m", "<f8"), ("t_ms", "<i8"), ("seq", "<i8"),
        ("speed_mps", "<f4"), ("heading_deg", "<f4"),
    ]
)  # fmt: skip
"""A row of the log: a fix in the order in which it was judged, when (our clock, Unix ms), and what became of
it, an index of `geo.intake.OUTCOMES`; ERASED: nothing that stands before it is of this person any more."""

ERASED = 255

LoggedRows = npt.NDArray[np.void]


class Place(msgspec.Struct, array_like=True, frozen=True):
    """A person's last accepted fix (WGS84 degrees, metres, Unix ms), the cell that was shown for it, a fix
    that is held as a jump, and what else begins anew from there, by name.
    """

    lat: float
    lon: float
    acc_m: float
    t_ms: int
    seq: int
    cell: str
    outside_since_ms: int | None
    held: Fix | None = None
    kept: dict[str, Any] = {}


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Place)


@dataclass(frozen=True, slots=True)
class SlotPlaces:
    """What is to be written of one slot: places by person."""

    slot: int
    epoch: int
    places: Mapping[str, Place]


def _key(slot: int) -> str:
    return f"hereabouts:position:{slot}"


def _log_key(shard: int) -> str:
    return f"hereabouts:fixes:{shard}"


def open_valkey(url: str, patience_s: float = 2.0) -> redis.Redis:
    """A client; connections are made when needed. RESP2: RESP3 changes the shape of stream replies."""
    return redis.from_url(url, protocol=2, socket_timeout=patience_s, socket_connect_timeout=patience_s)


# -- the snapshot -----------------------------------------------------------------------------------------


async def save(valkey: redis.Redis, slots: Iterable[SlotPlaces]) -> None:
    """Stores places in one round trip; a slot that has a newer epoch is left as it is."""
    pipe = valkey.pipeline(transaction=False)
    for each in slots:
        rows = [(user, _encoder.encode(place)) for user, place in each.places.items()]
        for start in range(0, len(rows), _PEOPLE):
            flat = [value for row in rows[start : start + _PEOPLE] for value in row]
            pipe.eval(_SAVE, 1, _key(each.slot), each.epoch, *flat)
    await pipe.execute()


async def load_all(valkey: redis.Redis, people: Collection[tuple[int, str]]) -> dict[str, Place]:
    """The places of people by (slot, user), as far as they are known."""
    by_slot: dict[int, list[str]] = {}
    for slot, user in people:
        by_slot.setdefault(slot, []).append(user)
    found: dict[str, Place] = {}
    wanted = list(by_slot.items())
    for start in range(0, len(wanted), _BATCH):
        part = wanted[start : start + _BATCH]
        pipe = valkey.pipeline(transaction=False)
        for slot, users in part:
            pipe.hmget(_key(slot), users)
        for (_, users), raws in zip(part, await pipe.execute(), strict=True):
            rows = zip(users, raws, strict=True)
            found |= {user: _decoder.decode(raw) for user, raw in rows if raw is not None}
    return found


async def cells(valkey: redis.Redis, users: Collection[str], newer_than_ms: int) -> dict[str, str]:
    """The cells that people were shown in last, of those whose last fix is newer (Unix ms).

    For what works on coarse places: of the positions themselves nothing leaves here.
    """
    found = await load_all(valkey, [(slot_of("user", user), user) for user in users])
    return {user: place.cell for user, place in found.items() if place.t_ms > newer_than_ms}


async def forget(valkey: redis.Redis, slot: int, user: str) -> None:
    """Removes one person's place."""
    await valkey.hdel(_key(slot), user)


# -- the log ----------------------------------------------------------------------------------------------


async def append(
    valkey: redis.Redis, shard: int, rows: bytes, oldest_id: bytes, *, keep: bool = True
) -> bytes:
    """Appends rows of LOGGED to the shard's log and returns the entry's id; entries before `oldest_id` go.

    `keep`: the log is known to readers from then on, and lives for LOG_KEEP_S.
    """
    pipe = valkey.pipeline(transaction=False)
    key = _log_key(shard)
    pipe.xadd(key, {b"r": rows}, minid=oldest_id)
    if keep:
        pipe.expire(key, LOG_KEEP_S)
        pipe.sadd(_LOGS, shard)
    appended = await pipe.execute()
    return cast(bytes, appended[0])


async def read_logs(valkey: redis.Redis, slots: Collection[int]) -> LoggedRows:
    """All rows of these slots in all logs, oldest first: by epoch, then as they were appended."""
    wanted = np.zeros(65_536, dtype=bool)
    wanted[list(slots)] = True
    parts: list[LoggedRows] = []
    for shard in await cast(Any, valkey.smembers(_LOGS)):
        start = b"-"
        while True:
            entries = await cast(Any, valkey.xrange(_log_key(int(shard)), min=start, count=_PAGE))
            for _, fields in entries:
                rows = np.frombuffer(fields[b"r"], dtype=LOGGED)
                parts.append(rows[wanted[rows["slot"]]])
            if len(entries) < _PAGE:
                break
            start = b"(" + entries[-1][0]
    if not parts:
        return np.empty(0, dtype=LOGGED)
    together = np.concatenate(parts)
    together = together[np.argsort(together["epoch"], kind="stable")]
    kept = np.ones(together.size, dtype=bool)
    for index in np.flatnonzero(together["outcome"] == ERASED).tolist():
        kept[: index + 1] &= together["user"][: index + 1] != together["user"][index]
    return together[kept]
