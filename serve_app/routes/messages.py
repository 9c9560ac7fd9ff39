"""What is said in a room, over HTTP: paging its log, and posting through its actor."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field

from actors import messages as wire
from actors.protocol import OFFSET_LIMIT
from serve_app.errors import Fault, invalid
from serve_app.frames import check_body
from serve_app.gate import Caller, RoomInPath, ServicesHere, access_room
from serve_app.schemas import LIMIT_DEFAULT, Answer, Body, Limit, Line, Offset, problems
from serve_app.services import Services
from storage.history import MessageRow, messages_after, messages_before
from storage.ids import RoomId, UserId

router = APIRouter(
    prefix="/v1/rooms/{room}/messages", tags=["rooms"], responses=problems(401, 404, 429, 500, 503)
)


class Message(Answer):
    """A publication: offset, Unix ms, id, sender, what was said; `cid` on my own."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "o": 42,
                    "t": 1790000000000,
                    "i": "01990b6e-8c1f-7d3a-9c55-0f6f2c1b7a10",
                    "u": "01990b6e-1111-7d3a-9c55-0f6f2c1b7a10",
                    "d": {"text": "hello"},
                }
            ]
        }
    )

    o: int
    t: int
    i: str
    u: str
    d: Any
    cid: str | None = None


class MessagePage(Answer):
    """Ascending. `next` goes into `after` when that was given, else into `before`; null at the end."""

    items: list[Message]
    next: int | None


class MessageWish(Body):
    """`d` is any JSON (at most 8 KiB); `cid` makes a retry harmless. `ack` is `durable` in a durable room
    unless given, `relay` in one that is kept in memory.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"d": {"text": "hello"}, "cid": "c-17", "ack": "durable"}]}
    )

    d: Any
    cid: Annotated[Line, Field(min_length=1, max_length=128)] | None = None
    ack: Literal["none", "relay", "durable"] | None = None


class Acknowledged(Answer):
    """Offset, Unix ms and id of the message; `dup`: this `cid` was there already."""

    o: int
    t: int
    i: str
    dup: bool


@router.get("", summary="A page of messages", response_model=MessagePage)
async def get_messages(
    *,
    room: RoomInPath,
    me: Caller,
    here: ServicesHere,
    after: Annotated[Offset | None, Query(description="Past this offset")] = None,
    before: Annotated[Offset | None, Query(description="Below this offset")] = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Response:
    """Ascending; with neither `after` nor `before` the newest page. Those of people who are blocked with me
    are left out.
    """
    if after is not None and before is not None:
        raise invalid("Ask for after or before, not both.", Fault("query.before", "beside after"))
    found, _ = await access_room(here, me, room, "read")
    if found.durability == "memory":
        page = await _from_memory(here, me.user, room, after=after, before=before, limit=limit)
    else:
        page = await _from_log(here, me.user, room, after=after, before=before, limit=limit)
    return Response(page, media_type="application/json")


async def _from_log(
    here: Services, me: UserId, room: RoomId, *, after: int | None, before: int | None, limit: int
) -> bytes:
    async with here.pool.acquire() as connection:
        if after is not None:
            rows = await messages_after(connection, room, me, after, limit + 1)
            more, rows = len(rows) > limit, rows[:limit]
            following = rows[-1].offset if more else None
        else:
            below = OFFSET_LIMIT if before is None else before
            rows = await messages_before(connection, room, me, below, limit + 1)
            more, rows = len(rows) > limit, rows[-limit:]
            following = rows[0].offset if more else None
    return _page([_message(row) for row in rows], following)


async def _from_memory(
    here: Services, me: UserId, room: RoomId, *, after: int | None, before: int | None, limit: int
) -> bytes:
    if before == 0:
        return _page([], None)
    below = OFFSET_LIMIT if before is None else before
    ask = wire.History(
        rid=0,
        ch=f"room:{room}",
        user=me,
        limit=limit,
        offset=-1 if after is None else after,
        before=below if after is None else -1,
    )
    reply = await here.router.request("room", room, ask)
    pubs = reply["pubs"]
    following = None
    if reply["more"] and pubs:
        following = pubs[-1]["o"] if after is not None else pubs[0]["o"]
    return _page(pubs, following)


def _message(row: MessageRow) -> dict[str, Any]:
    message: dict[str, Any] = {"o": row.offset, "t": row.sent_at_ms, "i": row.message, "u": row.sender}
    if row.cid is not None:
        message["cid"] = row.cid
    return message | {"d": msgspec.Raw(row.body.encode())}


def _page(items: list[Any], following: int | None) -> bytes:
    """Encoded here, not by the response model: `d` is whatever somebody sent."""
    return msgspec.json.encode({"items": items, "next": following})


@router.post("", status_code=201, summary="Say something", responses=problems(409))
async def post_message(
    wish: MessageWish, room: RoomInPath, me: Caller, here: ServicesHere, response: Response
) -> Acknowledged | None:
    """201 when the room has it (as `ack` says), 200 when this `cid` was there already, 202 for ack `none`."""
    found, _ = await access_room(here, me, room, "post")
    ack = wish.ack or ("durable" if found.durability == "durable" else "relay")
    message = wire.Publish(
        rid=0, ch=f"room:{room}", user=me.user, conn="", d=_encoded(wish.d), cid=wish.cid or "", ack=ack
    )
    reply = await here.router.request("room", room, message)
    if reply is None or ack == "none":
        response.status_code = 202
        return None
    if reply["dup"]:
        response.status_code = 200
    return Acknowledged(o=reply["o"], t=reply["t"], i=reply["i"], dup=reply["dup"])


def _encoded(value: Any) -> bytes:
    """Canonical JSON. NaN, infinities and lone surrogates, which Python's reader lets in, are none, and a
    whole number beyond 64 bits would not reach readers of MessagePack. It may nest as deep as the gateway
    lets it: what reaches one member's reader must reach all.
    """
    try:
        check_body(value)
        encoded = msgspec.json.encode(value)
        msgspec.msgpack.encode(value)
        if msgspec.json.decode(encoded) != value:
            raise invalid("d holds a number that is none.", Fault("body.d", "NaN or infinite"))
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError, OverflowError, ValueError):
        raise invalid("d is not JSON that could be passed on.", Fault("body.d", "not JSON")) from None
    return encoded
