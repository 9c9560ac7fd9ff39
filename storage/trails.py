"""Rows of people's trails: the fixes of their last hours (GEO-24). Sealed before they come here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storage.messages import moment

AT_ONCE = 500
"""Rows of one statement."""

_LAST_MS = 253_402_300_799_000
"""The end of the year 9999, beyond which a time stamp has no name."""
_OLD_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class TrailRow:
    """Fixes from `from_ms` to `to_ms` (device time); `taken_ms` is when the engine took the last of them."""

    trail: str
    user: str
    from_ms: int
    to_ms: int
    taken_ms: int
    sealed: bytes


async def add(connection: Any, rows: Sequence[TrailRow]) -> None:
    """Stores rows of those who are there and have not erased their trail since. No epoch guards it: a row
    only adds fixes, and one that is stored twice is read once.
    """
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        await connection.execute(
            """INSERT INTO trails (id, user_id, from_at, to_at, sealed)
            SELECT w.id, w.user_id, w.from_at, w.to_at, w.sealed
            FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[],
                $6::bytea[]) AS w (id, user_id, from_at, to_at, taken_at, sealed)
            JOIN users u ON u.id = w.user_id AND u.status = 'active'
            LEFT JOIN trail_erasures e ON e.user_id = w.user_id
            WHERE e.at IS NULL OR e.at < w.taken_at""",
            [row.trail for row in part],
            [row.user for row in part],
            [moment(row.from_ms) for row in part],
            [moment(row.to_ms) for row in part],
            [moment(row.taken_ms) for row in part],
            [row.sealed for row in part],
        )


async def page(  # noqa: PLR0917 - a page of one person
    connection: Any, user: str, from_ms: int, to_ms: int, after: tuple[datetime, str] | None, limit: int
) -> list[tuple[str, datetime, bytes]]:
    """(id, from, sealed) of rows with fixes between two moments, by when they begin, behind `after`."""
    began, trail = after or (moment(0), "00000000-0000-0000-0000-000000000000")
    rows = await connection.fetch(
        """SELECT id::text, from_at, sealed FROM trails WHERE user_id = $1 AND to_at >= $2 AND from_at <= $3
        AND (from_at, id) > ($4, $5::uuid) ORDER BY from_at, id LIMIT $6""",
        user,
        moment(min(from_ms, _LAST_MS)),
        moment(min(to_ms, _LAST_MS)),
        began,
        trail,
        limit,
    )
    return [(row["id"], row["from_at"], row["sealed"]) for row in rows]


async def erase(connection: Any, user: str, at_ms: int) -> None:
    """Removes a person's trail; what was taken up to now (the engine's clock) is stored no more."""
    await connection.execute(
        """INSERT INTO trail_erasures (user_id, at) SELECT id, $2 FROM users WHERE id = $1
        ON CONFLICT (user_id) DO UPDATE SET at = greatest(trail_erasures.at, excluded.at)""",
        user,
        moment(at_ms),
    )
    await connection.execute("DELETE FROM trails WHERE user_id = $1", user)


async def remove_old(connection: Any, before_ms: int) -> None:
    """Removes rows without a newer fix, some at a time."""
    await connection.execute(
        """DELETE FROM trails WHERE id IN (SELECT id FROM trails WHERE to_at < $1
        LIMIT $2 FOR UPDATE SKIP LOCKED)""",
        moment(before_ms),
        _OLD_AT_ONCE,
    )
