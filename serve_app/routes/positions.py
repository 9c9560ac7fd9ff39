"""Where I am, told over HTTP, and who is near. A precise position goes to my user actor and nowhere else."""

import asyncio
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Body, Query
from pydantic import ConfigDict, Field, model_validator

from actors import messages as wire
from actors.protocol import EngineError, ErrorCode
from serve_app import schemas
from serve_app.gate import Caller, ServicesHere, admit
from serve_app.schemas import Answer, Limit, problems
from serve_app.throttle import POSITIONS

router = APIRouter(prefix="/v1", tags=["location"], responses=problems(401, 429, 500, 503))

BATCH_MAXIMUM = 100
RADIUS_MAXIMUM_M = 5_000.0
NEAR_DEFAULT, NEAR_RADIUS_DEFAULT_M = 50, 2_000.0

NearAudience = Literal["matches", "group", "everyone"]
Degrees = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-360, le=360)]
Accuracy = Annotated[float, Field(gt=0, le=5_000)]
Milliseconds = Annotated[int, Field(ge=0, lt=2**53)]
Sequence = Annotated[int, Field(ge=0, lt=2**53, description="`t_ms` unless given")]


class Fix(schemas.Body):
    """A fix: WGS84 degrees, accuracy (68 %) in metres, device time in Unix ms."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"lat": 52.52, "lon": 13.405, "acc_m": 8, "t_ms": 1790000000000, "speed_mps": 1.4}]
        }
    )

    lat: Degrees
    lon: Longitude
    acc_m: Accuracy
    t_ms: Milliseconds
    speed_mps: Annotated[float, Field(ge=0, le=1_000)] | None = None
    heading_deg: Annotated[float, Field(ge=0, le=360)] | None = None
    seq: Sequence | None = None


class FixFrame(schemas.Body):
    """The same as the WebSocket's `pos` frame has it: [lat, lon, acc_m, t_ms, speed_mps?, heading_deg?]."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"pos": [52.52, 13.405, 8, 1790000000000]}]})

    pos: Annotated[list[float | None], Field(min_length=4, max_length=6)]
    seq: Sequence | None = None

    @model_validator(mode="after")
    def _is_a_fix(self) -> Self:
        self.fix()
        return self

    def fix(self) -> Fix:
        """By name. Raises ValidationError (a ValueError) for what is out of range."""
        names = ("lat", "lon", "acc_m", "t_ms", "speed_mps", "heading_deg")
        values = dict(zip(names, self.pos, strict=False))
        t_ms = values["t_ms"]
        if t_ms is None or t_ms != int(t_ms):
            raise ValueError("t_ms is whole milliseconds")
        return Fix.model_validate(values | {"t_ms": int(t_ms), "seq": self.seq})


OneFix = Fix | FixFrame
Fixes = OneFix | Annotated[list[OneFix], Field(min_length=1, max_length=BATCH_MAXIMUM)]


class Outcome(Answer):
    """What became of a fix: `ok`, or the code of the error table (124: stale or implausible)."""

    ok: bool
    code: int | None = None
    detail: str | None = None


class Outcomes(Answer):
    """`accepted` of the fixes count; in a batch, `items` says which."""

    ok: bool
    accepted: int
    items: list[Outcome] | None = None


class Neighbour(Answer):
    """Somebody near: the H3 cell that I may know of, how far that is, and, where that was asked for and is
    known, how well we fit (0 to 1) by which model.
    """

    user: str
    cell: str
    band: int | str
    score: float | None = None
    model: str | None = None


class Neighbours(Answer):
    """The nearest first."""

    items: list[Neighbour]
    next: None = None


@router.post(
    "/positions",
    summary="Say where I am",
    responses=problems(409),
    response_model_exclude_none=True,
)
async def post_positions(
    fixes: Annotated[Fixes, Body(description="One fix, or a list of up to 100, oldest first")],
    me: Caller,
    here: ServicesHere,
) -> Outcomes:
    """One fix: 200, or 409 with code 124 where it is stale or implausible. A batch: 200 and `items`."""
    batch = fixes if isinstance(fixes, list) else [fixes]
    for _ in batch:
        admit(here, POSITIONS, me.user)
    asked = [_message(me, each.fix() if isinstance(each, FixFrame) else each) for each in batch]
    # Asked in order and all at once: they go to the actor in one frame.
    replies = await asyncio.gather(
        *(here.router.request("user", me.user, message) for message in asked), return_exceptions=True
    )
    outcomes: list[Outcome] = []
    for reply in replies:
        if not isinstance(reply, BaseException):
            outcomes.append(Outcome(ok=True))
        elif not isinstance(fixes, list) or not _is_judged(reply):
            raise reply
        else:
            assert isinstance(reply, EngineError)
            outcomes.append(Outcome(ok=False, code=reply.code.value, detail=reply.message))
    accepted = sum(outcome.ok for outcome in outcomes)
    return Outcomes(
        ok=accepted == len(outcomes), accepted=accepted, items=outcomes if isinstance(fixes, list) else None
    )


def _message(me: Caller, fix: Fix) -> wire.Position:
    return wire.Position(
        0, me.user, fix.lat, fix.lon, fix.acc_m, fix.t_ms, fix.speed_mps, fix.heading_deg, fix.seq
    )


def _is_judged(error: BaseException) -> bool:
    return isinstance(error, EngineError) and error.code in (
        ErrorCode.STALE_POSITION,
        ErrorCode.BAD_REQUEST,
    )


@router.get("/people/near", summary="Who is near me now", response_model_exclude_unset=True)
async def get_people_near(  # noqa: PLR0917 - one a query parameter
    me: Caller,
    here: ServicesHere,
    radius_m: Annotated[float, Query(gt=0, le=RADIUS_MAXIMUM_M, allow_inf_nan=False)] = NEAR_RADIUS_DEFAULT_M,
    limit: Limit = NEAR_DEFAULT,
    audience: Annotated[
        NearAudience, Query(description="Whom of them: my matches, my groups, or all")
    ] = "everyone",
    online: Annotated[bool, Query(description="Only those who are online")] = False,
    scores: Annotated[bool, Query(description="With how well we fit, as far as that is known")] = False,
    min_score: Annotated[
        float | None,
        Query(ge=0, le=1, description="Only those of the 200 nearest whose score is known and this or more"),
    ] = None,
) -> Neighbours:
    """One look, with the filter of the `near` channel, which keeps on telling. Before my first fix: nobody.
    Scores that are not known yet are waited for, a second at most. One person's looks are limited over all
    their connections: 429.
    """
    has_scores = scores or min_score is not None
    query = wire.NearQuery(0, me.user, radius_m, limit, audience, online, has_scores, min_score)
    reply = await here.router.request("user", me.user, query)
    return Neighbours(items=[Neighbour.model_validate(each) for each in reply["items"]], next=None)
