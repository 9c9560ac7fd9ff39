"""Regions whose children stand in for them (ACT-10)."""

import asyncpg


async def load(connection: asyncpg.Connection) -> frozenset[str]:
    """All of them."""
    return frozenset(row["region"] for row in await connection.fetch("SELECT region FROM region_splits"))


async def add(connection: asyncpg.Connection, region: str, slot: int, epoch: int) -> None:
    """Splits a region and tells every shard. Fails with FENCED if another activation owns the slot."""
    async with connection.transaction():
        await connection.execute("SELECT assert_epochs(ARRAY[$1::integer], ARRAY[$2::bigint])", slot, epoch)
        added = await connection.fetchval(
            "INSERT INTO region_splits (region) VALUES ($1) ON CONFLICT DO NOTHING RETURNING region", region
        )
        if added is not None:
            await connection.execute("SELECT pg_notify('hereabouts', 'split:' || $1)", region)
