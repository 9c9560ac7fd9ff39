"""The snapshot of a region in Valkey: whom it shows, and where (ACT-9). Snapped places only (GEO-20).

One hash a region, a row a person. A new activation claims the hash under its slot's epoch and reads it in one
step; whoever held the slot before writes nothing to it from then on (ACT-4).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import asyncpg
import msgspec
import redis.asyncio as redis

CROWD_KEEP_S = 25 * 3_600

_EPOCH = ""
"""The field that holds the epoch of the last activation; no person has this name."""

_BATCH = 500
"""Rows in one command: Lua unpacks no more than a few thousand arguments."""

_CLAIM = """
local held = redis.call('HGET', KEYS[1], '')
if held and tonumber(held) > tonumber(ARGV[1]) then return '{}' end
redis.call('HSET', KEYS[1], '', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
local all, fields = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  if all[i] ~= '' then fields[#fields + 1] = '"' .. all[i] .. '":' .. all[i + 1] end
end
return '{' .. table.concat(fields, ',') .. '}'
"""
_SAVE = """
local held = redis.call('HGET', KEYS[1], '')
if held and tonumber(held) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], '', ARGV[1])
local gone = tonumber(ARGV[3])
if gone > 0 then redis.call('HDEL', KEYS[1], unpack(ARGV, 4, 3 + gone)) end
if #ARGV > 3 + gone then redis.call('HSET', KEYS[1], unpack(ARGV, 4 + gone)) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""


class RegionPlace(msgspec.Struct, array_like=True, frozen=True):
    """One person's row: the sticky cell that was announced, to whom it may be shown, and when it was true."""

    cell: str
    audience: str
    precision: str
    t_ms: int
    online: bool | None = None
    fine: str = ""
    stamp: int = 0


@dataclass(frozen=True, slots=True)
class RegionChanges:
    """What is to be written of one region: rows by person, None where there is none any more."""

    region: str
    epoch: int
    places: Mapping[str, RegionPlace | None]
    crowd: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """By cell, who was there last, as numbers, and when; empty where there is nobody any more."""


# JSON, so that Valkey can join thousands of rows to one reply: parsing them singly takes seconds.
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, RegionPlace])
_crowd_decoder = msgspec.json.Decoder(dict[str, dict[int, int]])


def _key(region: str) -> str:
    return f"hereabouts:region:{region}"


def _crowd_key(region: str) -> str:
    return f"hereabouts:crowd:{region}"


async def claim(valkey: redis.Redis, region: str, epoch: int, keep_s: int) -> dict[str, RegionPlace]:
    """The rows of a region, which nobody of an older epoch writes to any more; none to somebody older."""
    found = await cast(Any, valkey.eval(_CLAIM, 1, _key(region), epoch, keep_s))
    return _decoder.decode(found)


async def save(valkey: redis.Redis, changes: Collection[RegionChanges], keep_s: int) -> None:
    """Writes changed rows in one round trip; rows of a region that has a newer activation are left out."""
    pipe = valkey.pipeline(transaction=False)
    for each in changes:
        items = list(each.places.items())
        for start in range(0, len(items), _BATCH):
            part = items[start : start + _BATCH]
            gone = [user for user, place in part if place is None]
            rows = [(user, _encoder.encode(place)) for user, place in part if place is not None]
            flat = [value for row in rows for value in row]
            pipe.eval(_SAVE, 1, _key(each.region), each.epoch, keep_s, len(gone), *gone, *flat)
        if each.crowd:
            empty = [cell for cell, people in each.crowd.items() if not people]
            held = [(cell, _encoder.encode(people)) for cell, people in each.crowd.items() if people]
            flat = [value for pair in held for value in pair]
            key = _crowd_key(each.region)
            pipe.eval(_SAVE, 1, key, each.epoch, CROWD_KEEP_S, len(empty), *empty, *flat)
    await pipe.execute()


async def claim_crowd(valkey: redis.Redis, region: str, epoch: int) -> dict[str, dict[int, int]]:
    """Who was active in the cells of a region, claimed like its rows."""
    found = await cast(Any, valkey.eval(_CLAIM, 1, _crowd_key(region), epoch, CROWD_KEEP_S))
    return _crowd_decoder.decode(found)


async def changed_wishes(
    connection: asyncpg.Connection, known: Mapping[str, tuple[str, str]]
) -> dict[str, tuple[str, str] | None]:
    """(audience, precision) of those who want something else than is known, None who are not active: a
    snapshot may be older than their wish.
    """
    found = await connection.fetch(
        """SELECT k.id::text, u.visibility_audience, u.visibility_precision
        FROM unnest($1::uuid[], $2::text[], $3::text[]) AS k (id, audience, precision)
        LEFT JOIN users u ON u.id = k.id AND u.status = 'active'
        WHERE (u.visibility_audience, u.visibility_precision) IS DISTINCT FROM (k.audience, k.precision)""",
        list(known),
        [audience for audience, _ in known.values()],
        [precision for _, precision in known.values()],
    )
    return {
        row["id"]: None
        if row["visibility_audience"] is None
        else (row["visibility_audience"], row["visibility_precision"])
        for row in found
    }
