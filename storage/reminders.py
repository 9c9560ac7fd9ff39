"""What virtual actors want to be told at a time (ACT-8)."""

from collections.abc import Collection
from dataclasses import dataclass

import asyncpg

from storage.messages import moment


@dataclass(frozen=True, slots=True)
class Reminder:
    """One reminder of an actor, by name. `data` is JSON text."""

    kind: str
    key: str
    name: str
    slot: int
    due_ms: int
    data: str = "null"


async def put(connection: asyncpg.Connection, reminder: Reminder, epoch: int | None) -> None:
    """Sets or replaces a reminder; in the caller's transaction, if there is one. Fails with FENCED if another
    activation owns the slot by now; without an epoch it is no actor that writes, and nobody is asked.
    """
    await connection.execute(
        """WITH fenced AS MATERIALIZED (SELECT CASE WHEN $7::bigint IS NOT NULL
            THEN assert_epochs(ARRAY[$4::integer], ARRAY[$7::bigint]) END)
        INSERT INTO reminders (kind, key, name, slot, due_at, data)
        SELECT $1, $2, $3, $4, $5, $6::json FROM fenced
        ON CONFLICT (kind, key, name) DO UPDATE SET due_at = excluded.due_at, data = excluded.data""",
        reminder.kind,
        reminder.key,
        reminder.name,
        reminder.slot,
        moment(reminder.due_ms),
        reminder.data,
        epoch,
    )


async def remove(
    connection: asyncpg.Connection, kind: str, key: str, name: str, due_ms: int | None = None
) -> None:
    """Removes a reminder; with `due_ms` only if it was not set anew meanwhile."""
    await connection.execute(
        """DELETE FROM reminders WHERE kind = $1 AND key = $2 AND name = $3
        AND ($4::timestamptz IS NULL OR due_at = $4)""",
        kind,
        key,
        name,
        None if due_ms is None else moment(due_ms),
    )


async def due(
    connection: asyncpg.Connection, slots: Collection[int], now_ms: int, limit: int
) -> list[Reminder]:
    """The reminders of these slots whose time has come, oldest first."""
    rows = await connection.fetch(
        """SELECT kind, key, name, slot, due_at, data FROM reminders
        WHERE slot = ANY($1::smallint[]) AND due_at <= $2 ORDER BY due_at LIMIT $3""",
        list(slots),
        moment(now_ms),
        limit,
    )
    return [
        Reminder(
            row["kind"],
            row["key"],
            row["name"],
            row["slot"],
            round(row["due_at"].timestamp() * 1000),
            row["data"],
        )
        for row in rows
    ]


async def next_due_ms(connection: asyncpg.Connection, slots: Collection[int]) -> int | None:
    """When the next reminder of these slots is due."""
    at = await connection.fetchval(
        "SELECT min(due_at) FROM reminders WHERE slot = ANY($1::smallint[])", list(slots)
    )
    return None if at is None else round(at.timestamp() * 1000)
