"""Rooms' durable logs: what a room's activation reads, and how a tick of messages is appended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

FENCED = "HB001"
"""SQLSTATE: a slot's epoch is not the writer's any more (ACT-4)."""

MOVED_ON = "HB002"
"""SQLSTATE: a room's log is not where its sequencer believed it to be."""

ENGINE = "00000000-0000-0000-0000-000000000000"
"""Stands in the log as the sender where nobody speaks; a Row has no sender then."""


@dataclass(frozen=True, slots=True)
class Row:
    """One message of a log. `body` is JSON text."""

    room: str
    offset: int
    sent_at_ms: int
    id: str
    sender: str
    cid: str
    body: str


@dataclass(frozen=True, slots=True)
class Advance:
    """A room's log goes from offset `before` to `after`, as one event in the outbox."""

    room: str
    before: int
    after: int
    event_id: str


@dataclass(frozen=True, slots=True)
class RoomRecord:
    """What an activation starts from. `blocked` maps a member to those members a block stands with."""

    durable: bool
    is_direct: bool
    epoch: str
    last_offset: int
    members: dict[str, str]
    blocked: dict[str, frozenset[str]]
    newest: list[Row]
    is_read: bool = False
    is_encrypted: bool = False
    has_refusals: bool = False
    """Some cids that it has answered are of no message."""


async def assert_epoch(connection: asyncpg.Connection, slot: int, epoch: int) -> None:
    """Fails with FENCED unless the slot still has this epoch; it keeps it until the transaction ends."""
    await connection.execute("SELECT assert_epochs(ARRAY[$1::integer], ARRAY[$2::bigint])", slot, epoch)


def moment(at_ms: int) -> datetime:
    """Unix milliseconds as an aware UTC time."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


async def append(
    connection: asyncpg.Connection,
    fences: Sequence[tuple[int, int]],
    advances: Sequence[Advance],
    rows: Sequence[Row],
) -> None:
    """Appends a tick's messages in one statement. `fences` are (slot, epoch) of the rooms' slots.

    Raises asyncpg.PostgresError with sqlstate FENCED or MOVED_ON; then nothing was written.
    """
    await connection.execute(
        "SELECT append_messages($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)",
        [slot for slot, _ in fences],
        [epoch for _, epoch in fences],
        [a.room for a in advances],
        [a.before for a in advances],
        [a.after for a in advances],
        [a.event_id for a in advances],
        [r.room for r in rows],
        [r.offset for r in rows],
        [moment(r.sent_at_ms) for r in rows],
        [r.id for r in rows],
        [r.sender or ENGINE for r in rows],
        [r.cid or None for r in rows],
        [r.body for r in rows],
    )


async def find_cids(
    connection: asyncpg.Connection, keys: Sequence[tuple[str, str, str]]
) -> dict[tuple[str, str, str], tuple[int, int, str]]:
    """(room, sender, cid) → (offset, sent_at_ms, id) of those that the log knows."""
    rows = await connection.fetch(
        """SELECT c.room_id, c.sender_id, c.cid, c."offset", c.sent_at, c.id FROM message_cids c
        JOIN unnest($1::uuid[], $2::uuid[], $3::text[]) AS k (room, sender, cid)
        ON c.room_id = k.room AND c.sender_id = k.sender AND c.cid = k.cid""",
        [key[0] for key in keys],
        [key[1] for key in keys],
        [key[2] for key in keys],
    )
    return {
        (str(r["room_id"]), str(r["sender_id"]), r["cid"]): (r["offset"], _ms(r["sent_at"]), str(r["id"]))
        for r in rows
    }


async def last_offset(connection: asyncpg.Connection, room: str) -> int | None:
    """Where a room's log ends."""
    offset: int | None = await connection.fetchval("SELECT last_offset FROM rooms WHERE id = $1", room)
    return offset


async def page(
    connection: asyncpg.Connection, room: str, *, after: int, before: int, limit: int, newest_first: bool
) -> list[Row]:
    """Up to `limit` messages with after < offset < before, from either end."""
    order = "DESC" if newest_first else "ASC"
    rows = await connection.fetch(
        f"""SELECT "offset", sent_at, id, sender_id, cid, body FROM messages
        WHERE room_id = $1 AND "offset" > $2 AND "offset" < $3 ORDER BY "offset" {order} LIMIT $4""",
        room,
        after,
        before,
        limit,
    )
    return [_row(room, r) for r in rows]


def _row(room: str, r: Any) -> Row:
    sender = str(r["sender_id"])
    return Row(
        room,
        r["offset"],
        _ms(r["sent_at"]),
        str(r["id"]),
        "" if sender == ENGINE else sender,
        r["cid"] or "",
        r["body"],
    )


async def load_room(connection: asyncpg.Connection, room: str, newest: int) -> RoomRecord | None:
    """All that a room's activation needs; None where there is no such room."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        found = await connection.fetchrow(
            """SELECT durability, kind, epoch, last_offset, reading IS NOT NULL AS is_read, is_encrypted,
            EXISTS (SELECT 1 FROM message_cids WHERE room_id = $1 AND "offset" = 0) AS has_refusals
            FROM rooms WHERE id = $1""",
            room,
        )
        if found is None:
            return None
        members, blocked = await load_members(connection, room)
        rows = []
        if found["durability"] == "durable":
            top = found["last_offset"]
            rows = await page(connection, room, after=0, before=top + 1, limit=newest, newest_first=True)
        return RoomRecord(
            found["durability"] == "durable",
            found["kind"] == "direct",
            found["epoch"],
            found["last_offset"],
            members,
            blocked,
            rows[::-1],
            found["is_read"],
            found["is_encrypted"],
            found["has_refusals"],
        )


async def load_members(
    connection: asyncpg.Connection, room: str
) -> tuple[dict[str, str], dict[str, frozenset[str]]]:
    """Members with their roles, and the blocks that stand among them (both directions)."""
    members = {
        str(r["user_id"]): r["role"]
        for r in await connection.fetch(
            "SELECT user_id, role FROM room_members WHERE room_id = $1 AND state = 'member'", room
        )
    }
    pairs = await connection.fetch(
        """SELECT c.low_id, c.high_id FROM connections c
        JOIN room_members l ON l.room_id = $1 AND l.user_id = c.low_id AND l.state = 'member'
        JOIN room_members h ON h.room_id = $1 AND h.user_id = c.high_id AND h.state = 'member'
        WHERE c.low_blocks OR c.high_blocks""",
        room,
    )
    blocked: dict[str, set[str]] = {}
    for pair in pairs:
        low, high = str(pair["low_id"]), str(pair["high_id"])
        blocked.setdefault(low, set()).add(high)
        blocked.setdefault(high, set()).add(low)
    return members, {user: frozenset(others) for user, others in blocked.items()}
