"""Who owns which slot, in Postgres: the Directory's only durable state (ACT-3, ACT-4)."""

from dataclasses import dataclass

import asyncpg

SLOTS = 1024


@dataclass(frozen=True)
class Ownership:
    """One version of the map: `owners[slot]` is a shard number, `epochs[slot]` counts its assignments."""

    version: int
    owners: list[int]
    epochs: list[int]


async def read_ownership(connection: asyncpg.Connection) -> Ownership:
    """The current map. Before `spread_slots` ran once it has no owners."""
    version = await connection.fetchval("SELECT version FROM directory")
    rows = await connection.fetch("SELECT shard, epoch FROM slots ORDER BY slot")
    return Ownership(version, [row["shard"] for row in rows], [row["epoch"] for row in rows])


async def spread_slots(connection: asyncpg.Connection, shards: int) -> Ownership:
    """Gives every slot an owner among `shards` shards, moving only those whose owner does not exist (or
    none exists yet), or all that a new shard must take. Each move raises the slot's epoch.
    """
    async with connection.transaction():
        await connection.execute("SELECT 1 FROM directory FOR UPDATE")
        present = await connection.fetchval("SELECT count(DISTINCT shard) FROM slots")
        if present == 0:
            await connection.execute(
                "INSERT INTO slots (slot, shard, epoch) SELECT s, s % $1, 1 FROM generate_series(0, $2) s",
                shards,
                SLOTS - 1,
            )
        elif present != shards or await connection.fetchval("SELECT max(shard) >= $1 FROM slots", shards):
            await connection.execute(
                "UPDATE slots SET shard = slot % $1, epoch = epoch + 1 WHERE shard <> slot % $1", shards
            )
        await _raise_version(connection)
        return await read_ownership(connection)


async def admit_shard(
    connection: asyncpg.Connection, shard: int, incarnation: str, address: str
) -> Ownership:
    """A shard's process announces itself. A new incarnation raises the epoch of all its slots, so that
    nothing which its predecessor still writes is accepted.
    """
    async with connection.transaction():
        await connection.execute("SELECT 1 FROM directory FOR UPDATE")
        known = await connection.fetchval("SELECT incarnation FROM shards WHERE shard = $1 FOR UPDATE", shard)
        if known != incarnation:
            await connection.execute("UPDATE slots SET epoch = epoch + 1 WHERE shard = $1", shard)
            await connection.execute(
                """INSERT INTO shards (shard, incarnation, address) VALUES ($1, $2, $3)
                ON CONFLICT (shard) DO UPDATE SET incarnation = $2, address = $3""",
                shard,
                incarnation,
                address,
            )
        await _raise_version(connection)
        return await read_ownership(connection)


async def raise_version(connection: asyncpg.Connection) -> int:
    """A new view version without a new map: a shard went away, a gateway came."""
    async with connection.transaction():
        return await _raise_version(connection)


async def _raise_version(connection: asyncpg.Connection) -> int:
    version: int = await connection.fetchval("UPDATE directory SET version = version + 1 RETURNING version")
    return version
