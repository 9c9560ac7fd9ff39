"""Crossings of fences as they are stored: visits, the events of people and of fences, memberships."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from storage.fences import remove_fence
from storage.ids import UserId, new_id
from storage.messages import moment
from storage.outbox import notify

ERASED = "account_erased"
"""The reason of the exits of somebody whose account is no more."""


@dataclass(frozen=True, slots=True)
class CrossingRow:
    """A crossing. `body` is JSON text. `room` is the room that the fence is bound to, where this person's
    crossings move its members; `membership` is join, leave, pass (see migration 0009) or empty. `due_ms` is
    when the visit's reminder is due, `slot` the person's.
    """

    user: str
    slot: int
    fence: str
    visit: int
    event: str
    at_ms: int
    body: str
    event_id: str
    confidence: float = 1.0
    due_ms: int | None = None
    room: str = ""
    membership: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """What the room's table says to a crossing. `heir` is another fence that the person is inside of and
    that is bound to the same room; `state` is empty where the person never was in the room.
    """

    applied: bool
    state: str
    role: str
    by_fence: str
    heir: str


async def record(
    connection: asyncpg.Connection, fences: Sequence[tuple[int, int]], crossings: Sequence[CrossingRow]
) -> dict[int, int]:
    """Applies crossings, each once, in one statement; a person's in the order given.

    Returns index → offset in the person's `fences` stream, of those that were not applied before. `fences`
    are (slot, epoch). Raises asyncpg.PostgresError with sqlstate FENCED or MOVED_ON; then nothing was
    written.
    """
    rows = await connection.fetch(
        "SELECT number, assigned FROM record_crossings($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14)",
        [slot for slot, _ in fences],
        [epoch for _, epoch in fences],
        [c.user for c in crossings],
        [c.slot for c in crossings],
        [c.fence for c in crossings],
        [c.visit for c in crossings],
        [c.event for c in crossings],
        [moment(c.at_ms) for c in crossings],
        [c.body for c in crossings],
        [c.event_id for c in crossings],
        [c.confidence for c in crossings],
        [None if c.due_ms is None else moment(c.due_ms) for c in crossings],
        [c.room or None for c in crossings],
        [c.membership for c in crossings],
    )
    return {row["number"] - 1: row["assigned"] for row in rows}


async def places(connection: asyncpg.Connection, crossings: Sequence[CrossingRow]) -> list[Place]:
    """What stands in the tables of each crossing and its room, before it is applied."""
    rows = await connection.fetch(
        """SELECT EXISTS (SELECT 1 FROM fence_visits v
                WHERE v.user_id = g.u AND v.fence_id = g.f AND v.visit = g.visit
                AND (g.e <> 'exit' OR v.exited_at IS NOT NULL)
                AND (g.e <> 'dwell' OR v.dwelled_at IS NOT NULL OR v.exited_at IS NOT NULL)) AS applied,
            coalesce(m.state, '') AS state, coalesce(m.role, '') AS role,
            coalesce(m.by_fence::text, '') AS by_fence,
            coalesce((SELECT v.fence_id::text FROM fence_visits v WHERE v.user_id = g.u
                AND v.exited_at IS NULL AND v.room_id = g.room AND v.fence_id <> g.f LIMIT 1), '') AS heir
        FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::uuid[])
            WITH ORDINALITY AS g (u, f, visit, e, room, n)
        LEFT JOIN room_members m ON m.room_id = g.room AND m.user_id = g.u ORDER BY g.n""",
        [c.user for c in crossings],
        [c.fence for c in crossings],
        [c.visit for c in crossings],
        [c.event for c in crossings],
        [c.room or None for c in crossings],
    )
    return [Place(**row) for row in rows]


async def close_visits(connection: asyncpg.Connection, user: str, at_ms: int) -> list[str]:
    """Ends all visits of somebody who is no more, once each, and the memberships that they came with. In the
    caller's transaction; it needs no epoch, since a visit ends once, whoever ends it. Returns the fences.
    """
    rows = await connection.fetch(
        """SELECT fence_id::text AS fence, visit, entered_at FROM fence_visits
        WHERE user_id = $1 AND exited_at IS NULL ORDER BY fence_id""",
        user,
    )
    ended = []
    for row in rows:
        entered_ms = round(row["entered_at"].timestamp() * 1000)
        at = max(at_ms, entered_ms)
        body = {
            "fence": row["fence"], "event": "exit", "at_ms": at, "entered_at_ms": entered_ms,
            "confidence": 1.0, "dwell_s": (at - entered_ms) / 1_000, "reason": ERASED, "v": 1,
        }  # fmt: skip
        text = json.dumps(body, separators=(",", ":"))
        ended.append(CrossingRow(user, 0, row["fence"], row["visit"], "exit", at, text, new_id()))
    if ended:
        await record(connection, [], ended)
    rooms = await connection.fetch(
        """UPDATE room_members SET state = 'left', by_fence = NULL
        WHERE user_id = $1 AND by_fence IS NOT NULL AND state = 'member' AND role = 'member'
        RETURNING room_id::text AS room""",
        user,
    )
    await notify(connection, {("room", row["room"]) for row in rooms})
    return [row["fence"] for row in rows]


async def erase(connection: asyncpg.Connection, user: str, at_ms: int) -> None:
    """Somebody is no more: their visits end, what they granted is forgotten, and no fence's log knows them;
    their own fences are removed. In the caller's transaction.
    """
    fences = await close_visits(connection, user, at_ms)
    await notify(connection, {("fence", fence) for fence in fences})
    await connection.execute("DELETE FROM fence_grants WHERE user_id = $1", user)
    await connection.execute("UPDATE fence_events SET user_id = NULL WHERE user_id = $1", user)
    for row in await connection.fetch(
        "SELECT id::text AS fence FROM fences WHERE owner_id = $1 AND removed_at IS NULL", user
    ):
        await remove_fence(connection, row["fence"], UserId(user))
