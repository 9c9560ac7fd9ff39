"""Whether and how a room's messages are read, and what is kept of it (NLP-4, NLP-10)."""

from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field

from actors import messages as wire
from serve_app.gate import Caller, RoomInPath, ServicesHere, access_room
from serve_app.schemas import Answer, Body, Terms, problems

router = APIRouter(
    prefix="/v1/rooms/{room}", tags=["rooms"], responses=problems(401, 404, 409, 429, 500, 503)
)


class TermsWish(Body):
    """On which terms the room is read. A verdict that is not there after `deadline_ms` is as none: the
    message is published, and counted as unscored. `threshold` is of the harm that a scorer sees, 0 to 1;
    `hold` refuses what reaches it (code 123), `retract` takes it back. `marks` (with `pass`) tells each
    verdict as an event.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "scorer": "model",
                    "policy": "hold",
                    "deadline_ms": 500,
                    "heads": ["offence"],
                    "threshold": 0.8,
                }
            ]
        }
    )

    scorer: Literal["inline", "model"] = "inline"
    policy: Literal["pass", "hold", "retract"] = "pass"
    deadline_ms: int = Field(default=1_000, ge=20, le=10_000, description="At most 3,000 with hold")
    heads: list[Literal["sentiment", "emotion", "offence"]] = Field(
        default=["sentiment"], min_length=1, max_length=3
    )
    threshold: float | None = Field(default=None, gt=0, le=1)
    marks: bool = False


class ReadingSet(Answer):
    """The room is read on these terms from offset `o` of its log on."""

    reading: Terms
    o: int


class Dynamics(Answer):
    """`room` is what is kept of the room, `mine` what is kept of me there (null: nothing yet)."""

    room: dict[str, Any]
    mine: dict[str, Any] | None


@router.put("/reading", summary="Have a room read", responses=problems(422))
async def put_reading(wish: TermsWish, room: RoomInPath, me: Caller, here: ServicesHere) -> ReadingSet:
    """For its owners. Members are told by an event in the room, from which on it is read. 409: it is
    encrypted, or kept in memory.
    """
    await access_room(here, me, room, "read")
    terms = msgspec.json.encode(wish.model_dump())
    ack = await here.router.request("room", room, wire.SetTerms(0, f"room:{room}", me.user, terms))
    return ReadingSet(reading=Terms(**wish.model_dump()), o=ack["o"])


@router.delete("/reading", status_code=204, summary="Have a room read no more")
async def delete_reading(room: RoomInPath, me: Caller, here: ServicesHere) -> Response:
    """For its owners. What was kept is deleted; members are told."""
    await access_room(here, me, room, "read")
    await here.router.request("room", room, wire.SetTerms(0, f"room:{room}", me.user, None))
    return Response(status_code=204)


@router.get("/dynamics", summary="How the conversation goes")
async def get_dynamics(room: RoomInPath, me: Caller, here: ServicesHere) -> Dynamics:
    """For members: figures of the room, of three speakers or more, and one's own. 409: it is not read."""
    await access_room(here, me, room, "read")
    reply = await here.router.request("room", room, wire.DynamicsQuery(0, f"room:{room}", me.user))
    return Dynamics(room=reply["room"], mine=reply["mine"])
