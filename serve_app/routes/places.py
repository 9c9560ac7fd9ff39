"""My own places: where I stay, kept for me alone (GEO-19). Exact positions, to nobody but their person."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field

from actors import messages as wire
from actors.protocol import EngineError
from identity.places import OwnPlace
from serve_app.errors import not_found
from serve_app.gate import Caller, PlaceInPath, ServicesHere
from serve_app.schemas import Answer, Body, Line, problems
from storage.accounts import load_account
from storage.outbox import write_event

router = APIRouter(prefix="/v1/me/places", tags=["me"], responses=problems(401, 429, 500, 503))

_MS_PER_MINUTE = 60_000
_PATIENCE_S = 1.0
Offset = Annotated[
    int | None,
    Query(ge=-14 * 60, le=14 * 60, description="My local time less UTC, in minutes; by the sun if left out"),
]


class MyPlace(Answer):
    """`lat`, `lon`: the middle by time, WGS84 degrees; `stayed_s`: all stays together, one that goes on as
    far as it is known; `first_at`, `last_at`: Unix ms. `kind` is home or work only where my account says
    `home_and_work`.
    """

    id: str
    label: str | None
    lat: float
    lon: float
    radius_m: float
    visits: int
    stayed_s: float
    first_at: int
    last_at: int
    here: bool = Field(description="A stay there goes on, as far as is known")
    kind: str | None


class MyPlaces(Answer):
    """The last visited first; all of them."""

    items: list[MyPlace]
    next: None = None


class PlaceChanges(Body):
    """A name of my own for a place."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"label": "The library"}]})

    label: Annotated[Line, Field(max_length=100, description="Empty: none")]


def _shown(own: OwnPlace, lasts: dict[str, int]) -> MyPlace:
    """`lasts` is what my actor says of the stay that goes on."""
    place, stay = own.place, own.stay
    until_ms = stay.last_ms if stay is not None else 0
    if stay is not None and lasts.get("since_ms") == stay.since_ms:
        until_ms = max(until_ms, lasts["last_ms"])
    return MyPlace(
        id=own.id,
        label=place.label or None,
        lat=place.lat,
        lon=place.lon,
        radius_m=round(place.radius_m, 1),
        visits=place.visits,
        stayed_s=(place.stayed_ms + (until_ms - stay.since_ms if stay is not None else 0)) / 1_000,
        first_at=place.first_ms,
        last_at=max(place.last_ms, until_ms),
        here=stay is not None,
        kind=own.kind,
    )


async def _read(here: ServicesHere, me: Caller, utc_offset_min: int | None) -> list[MyPlace]:
    offset_ms = None if utc_offset_min is None else utc_offset_min * _MS_PER_MINUTE
    async with here.pool.acquire() as connection:
        account = await load_account(connection, me.user)
        infers = account is not None and account.infers_home_and_work
        found = await here.places.read(connection, me.user, infers=infers, offset_ms=offset_ms)
    goes_on = any(own.stay is not None for own in found)
    lasts = await _lasts(here, me) if goes_on and here.router.view.version else {}
    return [_shown(own, lasts) for own in found]


async def _lasts(here: ServicesHere, me: Caller) -> dict[str, int]:
    """How long the stay that goes on has lasted; what is stored must do where my actor does not say."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            reply: dict[str, int] = await here.router.request("user", me.user, wire.StayQuery(0, me.user))
    except (EngineError, TimeoutError):
        return {}
    return reply


async def _told(connection: Any, me: Caller) -> None:
    """My actor looks whether a stay of mine was forgotten."""
    await write_event(
        connection,
        type="user.changed",
        aggregate=f"user:{me.user}",
        payload={},
        touches=[("user", me.user)],
    )


@router.get("", summary="My places")
async def get_places(
    me: Caller, here: ServicesHere, response: Response, utc_offset_min: Offset = None
) -> MyPlaces:
    """Where I have stayed five minutes or more within 100 m, merged to places."""
    response.headers["Cache-Control"] = "no-store"
    return MyPlaces(items=await _read(here, me, utc_offset_min))


@router.get("/{place}", summary="One of my places", responses=problems(404))
async def get_place(
    place: PlaceInPath, me: Caller, here: ServicesHere, response: Response, utc_offset_min: Offset = None
) -> MyPlace:
    """As in the list."""
    response.headers["Cache-Control"] = "no-store"
    for each in await _read(here, me, utc_offset_min):
        if each.id == place:
            return each
    raise not_found()


@router.patch("/{place}", summary="Name one of my places", responses=problems(404))
async def patch_place(
    changes: PlaceChanges, place: PlaceInPath, me: Caller, here: ServicesHere, response: Response
) -> MyPlace:
    """A named place is not forgotten in favour of newer ones."""
    async with here.pool.acquire() as connection, connection.transaction():
        if not await here.places.label(connection, me.user, place, changes.label):
            raise not_found()
    return await get_place(place, me, here, response)


@router.delete("/{place}", status_code=204, summary="Forget one of my places", responses=problems(404))
async def delete_place(place: PlaceInPath, me: Caller, here: ServicesHere) -> None:
    """With the stays there; if I stay there now, that begins anew."""
    async with here.pool.acquire() as connection, connection.transaction():
        if not await here.places.remove(connection, me.user, place):
            raise not_found()
        await _told(connection, me)
    await here.refresh([("user", me.user)])


@router.delete("", status_code=204, summary="Forget all my places")
async def delete_places(me: Caller, here: ServicesHere) -> None:
    """All that is known of where I stay. What comes later is kept again, unless my account says otherwise."""
    async with here.pool.acquire() as connection, connection.transaction():
        await here.places.erase(connection, me.user)
        await _told(connection, me)
    await here.refresh([("user", me.user)])
