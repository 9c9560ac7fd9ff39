"""Rows of rooms and of who is in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storage.connections import BLOCKED_WITH
from storage.ids import FenceId, RoomId, UserId


@dataclass(frozen=True, slots=True)
class RoomRow:
    room: RoomId
    name: str
    kind: str
    durability: str
    owner: UserId
    fence: FenceId | None
    last_offset: int
    version: int
    created_at: datetime
    members: int
    is_encrypted: bool
    reading: str | None
    """On which terms it is read, JSON."""


@dataclass(frozen=True, slots=True)
class MemberRow:
    user: UserId
    role: str
    state: str


_ROOM = (
    "r.id::text, r.name, r.kind, r.durability, r.owner_id::text, r.fence_id::text, r.last_offset, r.version, "
    "r.created_at, (SELECT count(*) FROM room_members m WHERE m.room_id = r.id AND m.state = 'member'), "
    "r.is_encrypted, r.reading"
)
_ROOM_COLUMNS = 12


async def insert_room(
    connection: Any,
    *,
    room: RoomId,
    name: str,
    kind: str,
    durability: str,
    owner: UserId,
    fence: str | None,
    epoch: str,
    is_encrypted: bool,
) -> None:
    await connection.execute(
        "INSERT INTO rooms (id, name, kind, durability, owner_id, fence_id, epoch, is_encrypted) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        room,
        name,
        kind,
        durability,
        owner,
        fence,
        epoch,
        is_encrypted,
    )


async def put_members(
    connection: Any, room: RoomId, members: Sequence[tuple[str, str, str]], now: datetime
) -> None:
    """Sets (user, role, state) of each, by hand; who was a member and stays one keeps the time of joining."""
    await connection.execute(
        "INSERT INTO room_members (room_id, user_id, role, state, joined_at) "
        "SELECT $1, u, r, s, $5 FROM unnest($2::uuid[], $3::text[], $4::text[]) AS m (u, r, s) "
        "ON CONFLICT (room_id, user_id) DO UPDATE SET role = excluded.role, state = excluded.state, "
        "by_fence = NULL, "
        "joined_at = CASE WHEN room_members.state = excluded.state THEN room_members.joined_at "
        "ELSE excluded.joined_at END",
        room,
        [user for user, _, _ in members],
        [role for _, role, _ in members],
        [state for _, _, state in members],
        now,
    )


async def lock_room(connection: Any, room: RoomId) -> bool:
    """Whether the room exists. Membership changes of one room follow one another until the transaction ends.

    The lock admits the shard's appends, which move last_offset.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"room:{room}")
    return bool(await connection.fetchval("SELECT EXISTS (SELECT 1 FROM rooms WHERE id = $1)", room))


async def load_member(connection: Any, room: RoomId, user: UserId) -> MemberRow | None:
    row = await connection.fetchrow(
        "SELECT user_id::text, role, state FROM room_members WHERE room_id = $1 AND user_id = $2", room, user
    )
    return None if row is None else MemberRow(*row)


async def member_ids(connection: Any, room: RoomId, *, limit: int) -> list[str]:
    """Ids of members, in order."""
    rows = await connection.fetch(
        "SELECT user_id::text AS id FROM room_members WHERE room_id = $1 AND state = 'member' "
        "ORDER BY user_id LIMIT $2",
        room,
        limit,
    )
    return [row["id"] for row in rows]


async def count_owners(connection: Any, room: RoomId) -> int:
    owners = await connection.fetchval(
        "SELECT count(*) FROM room_members WHERE room_id = $1 AND role = 'owner' AND state = 'member'", room
    )
    return int(owners)


async def entered(connection: Any, user: str) -> list[str]:
    """Rooms that somebody is in, invited to or asks to enter, by id."""
    rows = await connection.fetch(
        "SELECT room_id::text FROM room_members WHERE user_id = $1 "
        "AND state IN ('member', 'invited', 'requested') ORDER BY room_id",
        user,
    )
    return [row[0] for row in rows]


async def crown(connection: Any, room: RoomId, without: UserId) -> None:
    """A room that loses its last owner gets another: the admin, else the member, who is in for longest."""
    await connection.execute(
        "UPDATE room_members SET role = 'owner' WHERE room_id = $1 AND user_id = (SELECT user_id "
        "FROM room_members WHERE room_id = $1 AND user_id <> $2 AND state = 'member' "
        "ORDER BY role <> 'admin', joined_at, user_id LIMIT 1) AND NOT EXISTS (SELECT 1 FROM room_members "
        "WHERE room_id = $1 AND user_id <> $2 AND state = 'member' AND role = 'owner')",
        room,
        without,
    )


async def pass_ownership(connection: Any, room: RoomId) -> None:
    """After an owner left: rooms.owner_id names the longest-standing owner that is still in."""
    await connection.execute(
        "UPDATE rooms SET owner_id = coalesce((SELECT user_id FROM room_members WHERE room_id = $1 "
        "AND role = 'owner' AND state = 'member' ORDER BY joined_at, user_id LIMIT 1), owner_id) "
        "WHERE id = $1",
        room,
    )


async def load_room(connection: Any, room: RoomId) -> RoomRow | None:
    row = await connection.fetchrow(f"SELECT {_ROOM} FROM rooms r WHERE r.id = $1", room)
    return None if row is None else RoomRow(*row)


async def members_of(connection: Any, room: RoomId, viewer: UserId, *, limit: int) -> list[MemberRow]:
    """Members, the longest-standing first, without those who are blocked with the viewer."""
    rows = await connection.fetch(
        "SELECT user_id::text, role, state FROM room_members m WHERE room_id = $1 AND state = 'member' "
        f"AND NOT {BLOCKED_WITH.format(one='m.user_id', other='$2::uuid')} "
        "ORDER BY joined_at, user_id LIMIT $3",
        room,
        viewer,
        limit,
    )
    return [MemberRow(*row) for row in rows]


async def rooms_of(
    connection: Any, user: UserId, *, states: Sequence[str], after: str | None, limit: int
) -> list[tuple[RoomRow, MemberRow]]:
    """Rooms where `user` has one of `states`, with the user's own membership, by room id, past `after`.

    An invitation into a room whose owner is blocked with the invited is not shown.
    """
    rows = await connection.fetch(
        f"SELECT {_ROOM}, me.user_id::text, me.role, me.state "
        "FROM room_members me JOIN rooms r ON r.id = me.room_id "
        "WHERE me.user_id = $1 AND me.state = ANY($2::text[]) AND ($3::uuid IS NULL OR r.id > $3) "
        f"AND NOT (me.state = 'invited' AND {BLOCKED_WITH.format(one='r.owner_id', other='$1::uuid')}) "
        "ORDER BY r.id LIMIT $4",
        user,
        list(states),
        after,
        limit,
    )
    return [(RoomRow(*row[:_ROOM_COLUMNS]), MemberRow(*row[_ROOM_COLUMNS:])) for row in map(tuple, rows)]
