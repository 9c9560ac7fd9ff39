"""Rooms and who is in them."""

from datetime import datetime
from typing import Annotated, Literal, Self

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field, model_validator

from identity.memberships import NewRoom, create_room, put_member, remove_member
from serve_app.gate import Caller, RoomInPath, ServicesHere, UserInPath, look_at_room
from serve_app.schemas import LIMIT_DEFAULT, Answer, Body, Cursor, Id, Limit, Line, Page, Terms, problems
from storage.ids import FenceId, UserId
from storage.rooms import MemberRow, RoomRow, members_of, rooms_of

router = APIRouter(prefix="/v1/rooms", tags=["rooms"], responses=problems(401, 429, 500, 503))

Kind = Literal["group", "direct", "place"]
Durability = Literal["durable", "memory"]
Role = Literal["owner", "admin", "member"]
MEMBERS_SHOWN = 300


class RoomWish(Body):
    """A new room. `direct` has exactly one other member; `fence` (mine) makes it that place's room."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Sunday run",
                    "kind": "group",
                    "members": ["01990b6e-8c1f-7d3a-9c55-0f6f2c1b7a10"],
                }
            ]
        }
    )

    name: Annotated[Line, Field(max_length=100)] = ""
    kind: Kind = "group"
    members: Annotated[list[Id], Field(max_length=1000, default_factory=list)]
    fence: Id | None = None
    durability: Durability = "durable"
    is_encrypted: bool = Field(
        default=False, description="Members send what only they can read: the server never reads it"
    )

    @model_validator(mode="after")
    def _is_named(self) -> Self:
        if self.kind != "direct" and not self.name.strip():
            raise ValueError("a room has a name, unless it is direct")
        return self


class Member(Answer):
    """`invited` joins by putting themselves in."""

    user: str
    role: Role
    state: Literal["member", "invited"]


class Room(Answer):
    """A room; `state` and `role` are mine in it, `members` counts who is in."""

    id: str
    name: str
    kind: Kind
    durability: Durability
    owner: str
    fence: str | None
    members_count: int
    state: Literal["member", "invited"]
    role: Role
    created_at: datetime
    version: int
    is_encrypted: bool
    reading: Terms | None = Field(description="On which terms its messages are read; null: they are not")


class RoomWithMembers(Room):
    """As Room, with those of its members that I may see (at most 300)."""

    members: list[Member]


class RoleWish(Body):
    """Owners give roles; without one, a person is put in as member."""

    role: Role | None = None


def _room(row: RoomRow, mine: MemberRow) -> dict[str, object]:
    return {
        "id": row.room,
        "name": row.name,
        "kind": row.kind,
        "durability": row.durability,
        "owner": row.owner,
        "fence": row.fence,
        "members_count": row.members,
        "state": mine.state,
        "role": mine.role,
        "created_at": row.created_at,
        "version": row.version,
        "is_encrypted": row.is_encrypted,
        "reading": None if row.reading is None else msgspec.json.decode(row.reading),
    }


def _member(row: MemberRow) -> Member:
    return Member(user=row.user, role=row.role, state=row.state)  # type: ignore[arg-type] # CHECKs say so


@router.post("", status_code=201, summary="Make a room", responses=problems(404, 409))
async def post_room(wish: RoomWish, me: Caller, here: ServicesHere, response: Response) -> RoomWithMembers:
    """I am owner and member. `members` join at once, or are invited where they do not let me add them (or
    are not there: that looks the same). 404: the fence is not mine; 409: it has a room.
    """
    wanted = NewRoom(
        name=wish.name.strip(),
        kind=wish.kind,
        durability=wish.durability,
        members=[UserId(user) for user in wish.members],
        fence=None if wish.fence is None else FenceId(wish.fence),
        is_encrypted=wish.is_encrypted,
    )
    room, members, touches = await create_room(here.pool, me.user, wanted, here.now)
    await here.refresh(touches)
    row, mine = await look_at_room(here, me, room)
    response.headers["Location"] = f"/v1/rooms/{room}"
    return RoomWithMembers.model_validate(_room(row, mine) | {"members": [_member(each) for each in members]})


@router.get("", summary="My rooms")
async def get_rooms(
    me: Caller,
    here: ServicesHere,
    state: Annotated[
        Literal["member", "invited"] | None, Query(description="Only those where I am this")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Page[Room]:
    """Rooms that I am in or invited to, by id."""
    states = ["member", "invited"] if state is None else [state]
    async with here.pool.acquire() as connection:
        rows = await rooms_of(connection, me.user, states=states, after=cursor, limit=limit + 1)
    items = [Room.model_validate(_room(row, mine)) for row, mine in rows[:limit]]
    return Page(items=items, next=items[-1].id if len(rows) > limit else None)


@router.get("/{room}", summary="One room", responses=problems(404))
async def get_room(room: RoomInPath, me: Caller, here: ServicesHere) -> RoomWithMembers:
    """With its members, if I am one; without those who are blocked with me."""
    row, mine = await look_at_room(here, me, room)
    members: list[MemberRow] = []
    if mine.state == "member":
        async with here.pool.acquire() as connection:
            members = await members_of(connection, room, me.user, limit=MEMBERS_SHOWN)
    return RoomWithMembers.model_validate(_room(row, mine) | {"members": [_member(each) for each in members]})


@router.put("/{room}/members/{user}", summary="Put somebody in", responses=problems(404, 409))
async def put_room_member(
    room: RoomInPath, user: UserInPath, me: Caller, here: ServicesHere, wish: RoleWish | None = None
) -> Member:
    """Owners and admins add people, owners give roles; on oneself it takes up an invitation."""
    role = None if wish is None else wish.role
    row, touches = await put_member(here.pool, me.user, room, user, role=role, now=here.now)
    await here.refresh(touches)
    return _member(row)


@router.delete(
    "/{room}/members/{user}", status_code=204, summary="Take somebody out", responses=problems(404, 409)
)
async def delete_room_member(room: RoomInPath, user: UserInPath, me: Caller, here: ServicesHere) -> Response:
    """Owners remove anybody below them, admins members; anybody leaves, but for the last owner (409)."""
    touches, _ = await remove_member(here.pool, me.user, room, user, here.now)
    await here.refresh(touches)
    return Response(status_code=204)
