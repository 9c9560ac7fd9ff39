"""Where I was: my own fixes of the last hours, exact, for nobody but me (GEO-24)."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi import status as http

from actors import messages as wire
from actors.protocol import EngineError, ErrorCode
from identity.seals import SealBrokenError
from identity.trails import TrailFixes
from serve_app.gate import Caller, ServicesHere
from serve_app.schemas import Answer, Limit, problems

router = APIRouter(prefix="/v1/me/positions", tags=["me"], responses=problems(401, 429, 500, 503))

_DEFAULT, _PATIENCE_S, _TIME_MAXIMUM = 50, 2.0, 2**53
_SMALLEST = -(2**63)
Milliseconds = Annotated[int | None, Query(ge=0, lt=_TIME_MAXIMUM, description="Unix ms, inclusive")]
Cursor = Annotated[
    str | None,
    Query(pattern=r"^\d{1,16}\.-?\d{1,16}$", description="`next` of the page before"),
]


class MyFix(Answer):
    """WGS84 degrees, accuracy in metres, device time in Unix ms as the engine took it."""

    lat: float
    lon: float
    acc_m: float
    t_ms: int
    seq: int
    speed_mps: float | None
    heading_deg: float | None


class MyFixes(Answer):
    """The oldest first."""

    items: list[MyFix]
    next: str | None


@router.get("", summary="Where I was")
async def get_positions(  # noqa: PLR0917 - the query
    me: Caller,
    here: ServicesHere,
    response: Response,
    from_: Annotated[Milliseconds, Query(alias="from")] = None,
    to: Milliseconds = None,
    limit: Limit = _DEFAULT,
    cursor: Cursor = None,
) -> MyFixes:
    """My fixes that counted, and those that came too late to move me, for as long as they are kept."""
    response.headers["Cache-Control"] = "no-store"
    from_ms, to_ms = from_ or 0, _TIME_MAXIMUM if to is None else to
    after = (-1, _SMALLEST)
    if cursor is not None:
        t_ms, _, seq = cursor.partition(".")
        after = (int(t_ms), int(seq))
    if here.router.view.version:
        await _store(here, me)
    async with here.pool.acquire() as connection:
        try:
            found = await here.trails.read(connection, me.user, from_ms, to_ms, after, limit + 1)
        except SealBrokenError:
            raise EngineError(ErrorCode.INTERNAL, "the history can't be read") from None
    fixes = [_shown(found, index) for index in range(min(limit, found.size))]
    more = found.size > limit
    return MyFixes(items=fixes, next=f"{fixes[-1].t_ms}.{fixes[-1].seq}" if more else None)


async def _store(here: ServicesHere, me: Caller) -> None:
    """What my shard holds of the last minute is stored first; without it the page is a minute behind."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await here.router.request("user", me.user, wire.TrailQuery(0, me.user))
    except (EngineError, TimeoutError):
        return


def _shown(fixes: TrailFixes, index: int) -> MyFix:
    lat, lon, acc_m, t_ms, seq, speed_mps, heading_deg = fixes[index].tolist()
    return MyFix(
        lat=lat,
        lon=lon,
        acc_m=round(acc_m, 2),
        t_ms=t_ms,
        seq=seq,
        speed_mps=None if speed_mps != speed_mps else round(speed_mps, 2),  # noqa: PLR0124 - NaN is none
        heading_deg=None if heading_deg != heading_deg else round(heading_deg, 2),  # noqa: PLR0124
    )


@router.delete("", summary="Forget where I am and was", status_code=http.HTTP_204_NO_CONTENT)
async def delete_positions(me: Caller, here: ServicesHere) -> None:
    """My history, and where I am now: I am nowhere until my next fix."""
    await here.router.request("user", me.user, wire.ForgetPositions(0, me.user))
