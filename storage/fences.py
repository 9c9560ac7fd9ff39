"""Rows of geofences and of what members grant them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from storage import reminders
from storage.ids import FenceId, RoomId, UserId
from storage.outbox import write_event
from storage.placement import slot_of

CLOSE_AFTER = timedelta(seconds=2)
"""So long after a fence ended its actor looks who is still inside."""


@dataclass(frozen=True, slots=True)
class FenceRow:
    """`shape` is the text of a GeoJSON geometry (RFC 7946)."""

    fence: FenceId
    owner: UserId
    name: str
    shape: str
    dwell_s: int
    confirm_fixes: int
    audience: str
    room: RoomId | None
    created_at: datetime
    gap_s: int = 900
    expires_at: datetime | None = None
    by_app: bool = False
    """The owner has the role `app`: the fence's room may take in whoever comes, without their opt-in."""


_FENCE = (
    "id::text, owner_id::text, name, shape, dwell_s, confirm_fixes, audience, room_id::text, created_at, "
    "gap_s, expires_at, "
    "EXISTS (SELECT 1 FROM users o WHERE o.id = owner_id AND 'app' = ANY(o.roles)) AS by_app"
)


async def insert_fence(connection: Any, fence: FenceRow) -> None:
    await connection.execute(
        "INSERT INTO fences (id, owner_id, name, shape, dwell_s, confirm_fixes, audience, room_id, "
        "created_at, gap_s, expires_at) VALUES ($1, $2, $3, $4::json, $5, $6, $7, $8, $9, $10, $11)",
        fence.fence,
        fence.owner,
        fence.name,
        fence.shape,
        fence.dwell_s,
        fence.confirm_fixes,
        fence.audience,
        fence.room,
        fence.created_at,
        fence.gap_s,
        fence.expires_at,
    )
    if fence.expires_at is not None:
        await _remind(connection, fence.fence, "expire", fence.expires_at)


async def load_fence(connection: Any, fence: FenceId) -> FenceRow | None:
    """The fence unless it was removed."""
    row = await connection.fetchrow(
        f"SELECT {_FENCE} FROM fences WHERE id = $1 AND removed_at IS NULL", fence
    )
    return None if row is None else FenceRow(*row)


async def fences_page(connection: Any, *, after: str | None, limit: int) -> list[FenceRow]:
    """Standing fences by id, past `after`."""
    rows = await connection.fetch(
        f"SELECT {_FENCE} FROM fences WHERE removed_at IS NULL AND ($1::uuid IS NULL OR id > $1) "
        "ORDER BY id LIMIT $2",
        after,
        limit,
    )
    return [FenceRow(*row) for row in rows]


async def remove_fence(connection: Any, fence: FenceId, owner: UserId) -> bool:
    """Whether `owner` had such a fence and it is now removed; whoever is inside is let out (GEO-17). In the
    caller's transaction.
    """
    removed = await connection.fetchval(
        "UPDATE fences SET removed_at = now(), removed_why = 'fence_removed' "
        "WHERE id = $1 AND owner_id = $2 AND removed_at IS NULL RETURNING true",
        fence,
        owner,
    )
    if removed:
        await _remind(connection, fence, "close", datetime.now(UTC) + CLOSE_AFTER)
        await _ended(connection, fence, "fence.removed")
    return bool(removed)


async def expire_fence(connection: Any, fence: str, now_ms: int, why: str) -> bool:
    """Whether the fence's time is over, and it is now removed. In the caller's transaction."""
    expired = await connection.fetchval(
        "UPDATE fences SET removed_at = now(), removed_why = $3 "
        "WHERE id = $1 AND removed_at IS NULL AND expires_at <= $2 RETURNING true",
        fence,
        datetime.fromtimestamp(now_ms / 1_000, UTC),
        why,
    )
    if expired:
        await _ended(connection, fence, "fence.expired")
    return bool(expired)


async def _ended(connection: Any, fence: str, what: str) -> None:
    touches = [("fences", fence), ("reminder", fence)]
    await write_event(connection, type=what, aggregate=f"fence:{fence}", payload={}, touches=touches)


async def _remind(connection: Any, fence: str, name: str, at: datetime) -> None:
    """The fence's actor is to be told at that time (actors/fence_host.py)."""
    due_ms = round(at.timestamp() * 1000)
    reminder = reminders.Reminder("fence", fence, name, slot_of("fence", fence), due_ms)
    await reminders.put(connection, reminder, None)


async def bind_room(connection: Any, fence: FenceId, owner: UserId, room: RoomId) -> bool:
    """Whether `owner` has such a fence, it had no room, and now has this one."""
    bound = await connection.fetchval(
        "UPDATE fences SET room_id = $3 WHERE id = $1 AND owner_id = $2 AND removed_at IS NULL "
        "AND room_id IS NULL RETURNING true",
        fence,
        owner,
        room,
    )
    return bool(bound)


async def name_place(connection: Any, room: RoomId, fence: FenceId) -> None:
    """The room's place is this fence, unless it has one."""
    await connection.execute("UPDATE rooms SET fence_id = $2 WHERE id = $1 AND fence_id IS NULL", room, fence)


async def grants_of(connection: Any, user: UserId, fences: Sequence[str]) -> dict[str, tuple[str, bool]]:
    """What `user` grants each of `fences`: (grant, auto_join); absent where nothing was said."""
    rows = await connection.fetch(
        'SELECT fence_id::text AS fence, "grant", auto_join FROM fence_grants '
        "WHERE user_id = $1 AND fence_id = ANY($2::uuid[])",
        user,
        list(fences),
    )
    return {row["fence"]: (row["grant"], row["auto_join"]) for row in rows}


async def put_grant(connection: Any, user: UserId, fence: FenceId, *, grant: str, auto_join: bool) -> None:
    await connection.execute(
        'INSERT INTO fence_grants (user_id, fence_id, "grant", auto_join) VALUES ($1, $2, $3, $4) '
        'ON CONFLICT (user_id, fence_id) DO UPDATE SET "grant" = excluded."grant", '
        "auto_join = excluded.auto_join",
        user,
        fence,
        grant,
        auto_join,
    )


async def live_fences(connection: Any, fences: Sequence[str] | None = None) -> list[FenceRow]:
    """Standing fences, all or of these: what a shard's index is built from."""
    rows = await connection.fetch(
        f"SELECT {_FENCE} FROM fences WHERE removed_at IS NULL AND ($1::uuid[] IS NULL OR id = ANY($1)) "
        "ORDER BY id",
        None if fences is None else list(fences),
    )
    return [FenceRow(*row) for row in rows]


async def ended_fences(
    connection: Any, since: datetime, fences: Sequence[str] | None = None
) -> dict[str, str]:
    """Fence → why it was removed, of those (all, or these) that were removed since then."""
    rows = await connection.fetch(
        "SELECT id::text AS fence, coalesce(removed_why, 'fence_removed') AS why FROM fences "
        "WHERE removed_at >= $1 AND ($2::uuid[] IS NULL OR id = ANY($2))",
        since,
        None if fences is None else list(fences),
    )
    return {row["fence"]: row["why"] for row in rows}
