"""Changing who is in a room, in one transaction each; identity owns the membership table (CONN-9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from identity.audience import STRANGERS
from identity.groups import Membership, NotAllowedError, entry_state, put, take_out
from identity.relations import load_relation, load_relations
from storage.accounts import living_users
from storage.fences import bind_room, load_fence
from storage.ids import FenceId, RoomId, UserId, new_id
from storage.outbox import Touch, append_user_event, write_event
from storage.rooms import (
    MemberRow,
    count_owners,
    crown,
    entered,
    insert_room,
    load_member,
    load_room,
    lock_room,
    member_ids,
    pass_ownership,
    put_members,
)

MATES_TOLD = 1_000
"""In a group up to this size everybody's user actor learns at once who their group mates are; in a larger
one at its next activation."""


class DirectRoomError(Exception):
    """A direct room is between its maker and exactly one other."""


class FenceBoundError(Exception):
    """The fence has a room already."""


@dataclass(frozen=True, slots=True)
class NewRoom:
    name: str
    kind: str
    durability: str
    members: Sequence[UserId]
    fence: FenceId | None
    is_encrypted: bool = False


async def create_room(
    pool: Any, me: UserId, wanted: NewRoom, now: datetime
) -> tuple[RoomId, list[MemberRow], list[Touch]]:
    """Makes a room with its members: those who let `me` add them join at once, the others are invited.

    Who is blocked with `me`, or does not exist, is answered as invited too and not stored: the three look
    alike. Raises DirectRoomError, NotAllowedError (the fence is not there or not mine) or FenceBoundError.
    """
    others = [user for user in dict.fromkeys(wanted.members) if user != me]
    if wanted.kind == "direct" and len(others) != 1:
        raise DirectRoomError
    room = RoomId(new_id())
    async with pool.acquire() as connection, connection.transaction():
        living = await living_users(connection, others)
        relations = await load_relations(connection, me, others)
        members = [MemberRow(me, "owner", "member")]
        for user in others:
            entry = entry_state(living.get(user, "nobody"), relations.get(user, STRANGERS))
            members.append(MemberRow(user, "member", entry))
        stored = [
            each
            for each in members
            if each.user == me or (each.user in living and not relations[each.user].blocked)
        ]
        await insert_room(
            connection,
            room=room,
            name=wanted.name,
            kind=wanted.kind,
            durability=wanted.durability,
            owner=me,
            fence=wanted.fence,
            epoch=new_id(),
            is_encrypted=wanted.is_encrypted,
        )
        touches: list[Touch] = [("room", room), *(("user", each.user) for each in stored)]
        if wanted.fence is not None:
            await _bind(connection, wanted.fence, me, room)
            touches.append(("fences", wanted.fence))
        await put_members(connection, room, [(each.user, each.role, each.state) for each in stored], now)
        for each in sorted(stored, key=lambda row: row.user):
            if each.user != me:
                await _tell(connection, room, me, each)
        await write_event(
            connection,
            type="room.created",
            aggregate=f"room:{room}",
            payload={"kind": wanted.kind, "owner": me},
            touches=touches,
        )
    return room, members, touches


async def put_member(
    pool: Any, me: UserId, room: RoomId, target: UserId, *, role: str | None, now: datetime
) -> tuple[MemberRow, list[Touch]]:
    """Puts `target` into the room, or gives them a role; on oneself: takes up an invitation.

    Raises NotAllowedError, which also stands for a room or a person that is not there, or LastOwnerError.
    """
    async with pool.acquire() as connection, connection.transaction():
        actor, before, owners = await _places(connection, room, me, target)
        entry = "member"
        if target != me:
            if not actor.inside:
                raise NotAllowedError
            living = await living_users(connection, [target])
            relation = await load_relation(connection, me, target)
            found = await load_room(connection, room)
            if target not in living or relation.blocked or found is None:
                raise NotAllowedError
            if found.kind == "direct" and before.state not in ("member", "invited"):
                raise NotAllowedError
            entry = entry_state(living[target], relation)
        after = put(actor, before, role, entry=entry, is_self=target == me, owners=owners)
        touches = await _store(connection, room, me=me, target=target, before=before, after=after, now=now)
    return MemberRow(target, after.role, after.state or "member"), touches


async def remove_member(
    pool: Any, me: UserId, room: RoomId, target: UserId, now: datetime
) -> tuple[list[Touch], bool]:
    """Takes `target` out, or lets oneself leave; the touched actors, and whether anything changed.

    Raises NotAllowedError or LastOwnerError.
    """
    async with pool.acquire() as connection, connection.transaction():
        actor, before, owners = await _places(connection, room, me, target)
        if target != me and (await load_relation(connection, me, target)).blocked:
            raise NotAllowedError
        after = take_out(actor, before, is_self=target == me, owners=owners)
        touches = await _store(connection, room, me=me, target=target, before=before, after=after, now=now)
        if before.role == "owner":
            await pass_ownership(connection, room)
    return touches, before != after


async def leave_all(connection: Any, me: UserId, now: datetime) -> list[Touch]:
    """Out of every room, in the caller's transaction; one that loses its last owner gets another."""
    touches: list[Touch] = []
    for each in await entered(connection, me):
        room = RoomId(each)
        actor, before, owners = await _places(connection, room, me, me)
        if before.inside and before.role == "owner" and owners == 1:
            await crown(connection, room, me)
        after = take_out(actor, before, is_self=True, owners=owners + 1)
        touches += await _store(connection, room, me=me, target=me, before=before, after=after, now=now)
        if before.role == "owner":
            await pass_ownership(connection, room)
    return touches


async def _bind(connection: Any, fence: FenceId, me: UserId, room: RoomId) -> None:
    if await bind_room(connection, fence, me, room):
        return
    found = await load_fence(connection, fence)
    raise FenceBoundError if found is not None and found.owner == me else NotAllowedError


async def _places(
    connection: Any, room: RoomId, me: UserId, target: UserId
) -> tuple[Membership, Membership, int]:
    """(my membership, the target's, how many owners), with the room's memberships locked."""
    if not await lock_room(connection, room):
        raise NotAllowedError
    mine = await load_member(connection, room, me)
    theirs = mine if target == me else await load_member(connection, room, target)
    return _place(mine), _place(theirs), await count_owners(connection, room)


def _place(row: MemberRow | None) -> Membership:
    return Membership() if row is None else Membership(row.role, row.state)


async def _store(
    connection: Any,
    room: RoomId,
    *,
    me: UserId,
    target: UserId,
    before: Membership,
    after: Membership,
    now: datetime,
) -> list[Touch]:
    if before == after:
        return []
    row = MemberRow(target, after.role, after.state or "left")
    await put_members(connection, room, [(target, row.role, row.state)], now)
    if target != me and before.state != after.state:
        await _tell(connection, room, me, row)
    touches: list[Touch] = [("room", room), ("user", target)]
    mates: list[Touch] = []
    if before.inside != after.inside:
        ids = await member_ids(connection, room, limit=MATES_TOLD + 1)
        mates = [("user", user) for user in ids] if len(ids) <= MATES_TOLD else []
    await write_event(
        connection,
        type="room.member_changed",
        aggregate=f"room:{room}",
        payload={"user": target, "role": row.role, "state": row.state, "by": me},
        touches=[*touches, *mates],
    )
    return touches


async def _tell(connection: Any, room: RoomId, by: UserId, member: MemberRow) -> None:
    """Writes to the person's `me` stream what became of them."""
    event = {"member": "room.joined", "invited": "room.invited"}.get(member.state, "room.left")
    await append_user_event(connection, member.user, {"type": event, "v": 1, "room": room, "by": by})
