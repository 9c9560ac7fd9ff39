"""Rows of connections: one per unordered pair (low < high), and what they say about who sees whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storage.ids import UserId


@dataclass(frozen=True, slots=True)
class PairRow:
    low: UserId
    high: UserId
    state: str
    acting: UserId | None
    requester: UserId | None
    low_blocks: bool
    high_blocks: bool
    version: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RelationRow:
    other: UserId
    blocked: bool
    matched: bool
    shares_group: bool


_PAIR = (
    "low_id::text, high_id::text, state, acting_id::text, requester_id::text, low_blocks, high_blocks, "
    "version, updated_at"
)

BLOCKED_WITH = """EXISTS (SELECT 1 FROM connections b
    WHERE b.low_id = LEAST({one}, {other}) AND b.high_id = GREATEST({one}, {other})
    AND (b.low_blocks OR b.high_blocks))"""
"""SQL condition: a block stands between two users, either way. Format with two uuid expressions."""


async def lock_pair(connection: Any, low: UserId, high: UserId, now: datetime) -> PairRow:
    """The pair's row, locked until the transaction ends; a new pair starts at version 0 in state none."""
    await connection.execute(
        "INSERT INTO connections (low_id, high_id, version, updated_at) VALUES ($1, $2, 0, $3) "
        "ON CONFLICT DO NOTHING",
        low,
        high,
        now,
    )
    row = await connection.fetchrow(
        f"SELECT {_PAIR} FROM connections WHERE low_id = $1 AND high_id = $2 FOR UPDATE", low, high
    )
    return PairRow(*row)


async def save_pair(connection: Any, pair: PairRow) -> None:
    await connection.execute(
        "UPDATE connections SET state = $3, acting_id = $4, requester_id = $5, low_blocks = $6, "
        "high_blocks = $7, version = $8, updated_at = $9 WHERE low_id = $1 AND high_id = $2",
        pair.low,
        pair.high,
        pair.state,
        pair.acting,
        pair.requester,
        pair.low_blocks,
        pair.high_blocks,
        pair.version,
        pair.updated_at,
    )


async def pairs_of(connection: Any, user: UserId, *, after: str | None, limit: int) -> list[PairRow]:
    """Pairs that `user` is in, by the other's id, past `after`; none with who has given up their account."""
    rows = await connection.fetch(
        f"SELECT {_PAIR} FROM (SELECT *, CASE WHEN low_id = $1 THEN high_id ELSE low_id END AS other "
        "FROM connections WHERE low_id = $1 OR high_id = $1) mine "
        "WHERE ($2::uuid IS NULL OR other > $2) AND NOT EXISTS (SELECT 1 FROM users u WHERE u.id = other "
        "AND u.status IN ('deleting', 'erased')) ORDER BY other LIMIT $3",
        user,
        after,
        limit,
    )
    return [PairRow(*row) for row in rows]


async def relation_rows(connection: Any, me: UserId, others: Sequence[str]) -> list[RelationRow]:
    """What stands between `me` and each of `others`; one row for each, also for those who do not exist."""
    rows = await connection.fetch(
        """
        SELECT o.id::text AS other,
               coalesce(c.low_blocks OR c.high_blocks, false) AS blocked,
               coalesce(c.state = 'matched', false) AS matched,
               EXISTS (SELECT 1 FROM room_members a JOIN room_members b ON a.room_id = b.room_id
                       JOIN rooms r ON r.id = a.room_id
                       WHERE a.user_id = $1 AND b.user_id = o.id AND a.state = 'member' AND b.state = 'member'
                       AND r.kind = 'group') AS shares_group
        FROM unnest($2::uuid[]) AS o (id)
        LEFT JOIN connections c ON c.low_id = LEAST($1, o.id) AND c.high_id = GREATEST($1, o.id)
        """,
        me,
        list(others),
    )
    return [RelationRow(*row) for row in rows]


async def shared_rooms(connection: Any, one: UserId, other: UserId) -> list[str]:
    """Rooms that both are members of."""
    rows = await connection.fetch(
        "SELECT a.room_id::text AS room FROM room_members a JOIN room_members b ON a.room_id = b.room_id "
        "WHERE a.user_id = $1 AND b.user_id = $2 AND a.state = 'member' AND b.state = 'member'",
        one,
        other,
    )
    return [row["room"] for row in rows]
