"""Geofences: GeoJSON Features (RFC 7946) that tell of people who come and go."""

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, ConfigDict, Field

from actors.protocol import OFFSET_LIMIT
from geo.geojson import ShapeError, parse_shape
from identity.audience import allows
from identity.relations import load_relations
from serve_app.errors import Fault, invalid, not_found
from serve_app.gate import Caller, FenceInPath, Me, ServicesHere, access_fence
from serve_app.schemas import (
    LIMIT_DEFAULT,
    Answer,
    Audience,
    Body,
    Cursor,
    Id,
    Limit,
    Line,
    Offset,
    Page,
    problems,
)
from serve_app.services import Services
from storage import fence_events
from storage.fences import (
    FenceRow,
    fences_page,
    grants_of,
    insert_fence,
    load_fence,
    name_place,
    remove_fence,
)
from storage.ids import FenceId, RoomId, new_id
from storage.outbox import write_event
from storage.rooms import load_member

router = APIRouter(prefix="/v1/fences", tags=["geofences"], responses=problems(401, 429, 500, 503))

_PARK: dict[str, Any] = {
    "type": "Feature",
    "geometry": {
        "type": "Polygon",
        "coordinates": [[[13.35, 52.51], [13.36, 52.51], [13.36, 52.52], [13.35, 52.52], [13.35, 52.51]]],
    },
    "properties": {"name": "The park", "dwell_s": 300},
}
_CAFE: dict[str, Any] = {
    "type": "Feature",
    "geometry": {"type": "Point", "coordinates": [13.4050, 52.5200]},
    "properties": {"name": "A café", "radius_m": 60, "audience": "matches"},
}


class Geometry(Body):
    """A Polygon, a MultiPolygon, or a Point that `properties.radius_m` makes a circle; at most 10,000
    vertices. Positions are [longitude, latitude] in WGS84 degrees. Not of RFC 7946 is H3: `cells`, at most
    10,000 of resolutions 5 to 12.
    """

    type: Literal["Polygon", "MultiPolygon", "Point", "H3"]
    coordinates: list[Any] | None = None
    cells: list[str] | None = None
    radius_m: Annotated[float, Field(ge=1, le=100_000)] | None = None
    bbox: list[float] | None = None


class FenceProperties(Body):
    """`audience` is who the fence may notice; `room` (mine to run) is the place's room. A stay of `dwell_s`
    without a gap of more than `gap_s` between fixes is a dwell. At `expires_at` the fence is removed.
    """

    name: Annotated[Line, Field(min_length=1, max_length=100)]
    dwell_s: Annotated[int, Field(ge=1, le=86_400)] = 300
    gap_s: Annotated[int, Field(ge=1, le=86_400)] = 900
    expires_at: Annotated[AwareDatetime, Field(strict=False, description="RFC 3339")] | None = None
    confirm_fixes: Annotated[int, Field(ge=1, le=10)] = 2
    audience: Audience = "everyone"
    room: Id | None = None
    radius_m: Annotated[float, Field(ge=1, le=100_000)] | None = None


class FenceWish(Body):
    """A GeoJSON Feature."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PARK, _CAFE]})

    type: Literal["Feature"]
    geometry: Geometry
    properties: FenceProperties
    bbox: list[float] | None = None


class MyGrant(Answer):
    """What I let this fence do with me."""

    grant: Literal["exact", "count", "none"]
    auto_join: bool


class FenceShown(Answer):
    """The properties of a fence."""

    name: str
    dwell_s: int
    gap_s: int
    expires_at: str | None
    confirm_fixes: int
    audience: Audience
    room: str | None
    radius_m: float | None = None
    owner: str
    created_at: str
    me: MyGrant


class Fence(Answer):
    """A GeoJSON Feature."""

    type: Literal["Feature"] = "Feature"
    id: str
    geometry: dict[str, Any]
    properties: FenceShown


def _fence(row: FenceRow, grant: tuple[str, bool] | None, here: Services) -> Fence:
    geometry = json.loads(row.shape)
    radius_m = geometry.pop("radius_m", None)
    level, auto_join = grant or ("count" if here.config.privacy_k <= 1 else "none", False)
    return Fence(
        id=row.fence,
        geometry=geometry,
        properties=FenceShown(
            name=row.name,
            dwell_s=row.dwell_s,
            gap_s=row.gap_s,
            expires_at=None if row.expires_at is None else row.expires_at.isoformat(),
            confirm_fixes=row.confirm_fixes,
            audience=row.audience,  # type: ignore[arg-type] # the table's CHECK says so
            room=row.room,
            radius_m=radius_m,
            owner=row.owner,
            created_at=row.created_at.isoformat(),
            me=MyGrant(grant=level, auto_join=auto_join),  # type: ignore[arg-type]
        ),
    )


async def visible_fences(connection: Any, me: Me, rows: Iterable[FenceRow]) -> list[FenceRow]:
    """Those whose audience I belong to; my own always."""
    found = list(rows)
    relations = await load_relations(connection, me.user, [row.owner for row in found])
    return [row for row in found if allows(row.audience, relations[row.owner])]


async def visible_fence(connection: Any, me: Me, fence: FenceId) -> FenceRow:
    """The fence if I belong to its audience; otherwise 404."""
    row = await load_fence(connection, fence)
    if row is None or not await visible_fences(connection, me, [row]):
        raise not_found()
    return row


def _shape(wish: FenceWish) -> str:
    """The geometry as it is stored. Raises 422 with the reason."""
    radius_m = wish.properties.radius_m or wish.geometry.radius_m
    given: dict[str, Any] = {"type": wish.geometry.type, "coordinates": wish.geometry.coordinates}
    if wish.geometry.type == "Point":
        given["radius_m"] = radius_m
    if wish.geometry.type == "H3":
        given = {"type": "H3", "cells": wish.geometry.cells}
    try:
        return json.dumps(parse_shape(given).geometry, allow_nan=False)
    except ShapeError as error:
        raise invalid("This geometry is no fence.", Fault("body.geometry", str(error))) from None
    except (ValueError, RecursionError, OverflowError):
        raise invalid("This geometry is no fence.", Fault("body.geometry", "not numbers")) from None


@router.post("", status_code=201, summary="Draw a fence", responses=problems(404))
async def post_fence(wish: FenceWish, me: Caller, here: ServicesHere, response: Response) -> Fence:
    """In force with the answer. 404: the room is not there, or not mine to run."""
    asked = wish.properties
    shape = _shape(wish)
    row = FenceRow(
        fence=FenceId(new_id()),
        owner=me.user,
        name=asked.name,
        shape=shape,
        dwell_s=asked.dwell_s,
        confirm_fixes=asked.confirm_fixes,
        audience=asked.audience,
        room=None if asked.room is None else RoomId(asked.room),
        created_at=here.now,
        gap_s=asked.gap_s,
        expires_at=asked.expires_at,
    )
    if row.expires_at is not None and row.expires_at <= here.now:
        raise invalid("This fence would be over.", Fault("body.properties.expires_at", "in the past"))
    touches = [("fences", str(row.fence))]
    touches += [("reminder", str(row.fence))] if row.expires_at is not None else []
    async with here.pool.acquire() as connection, connection.transaction():
        if row.room is not None:
            mine = await load_member(connection, row.room, me.user)
            if mine is None or mine.state != "member" or mine.role not in ("owner", "admin"):
                raise not_found()
            await name_place(connection, row.room, row.fence)
        await insert_fence(connection, row)
        await write_event(
            connection,
            type="fence.created",
            aggregate=f"fence:{row.fence}",
            payload={"owner": me.user, "room": row.room},
            touches=touches,
        )
    await here.refresh(touches[:1])
    response.headers["Location"] = f"/v1/fences/{row.fence}"
    return _fence(row, None, here)


@router.get("", summary="Fences around")
async def get_fences(
    me: Caller, here: ServicesHere, cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT
) -> Page[Fence]:
    """Mine, and those whose audience I belong to, by id. A page may be short although more follow."""
    async with here.pool.acquire() as connection:
        rows = await fences_page(connection, after=cursor, limit=limit + 1)
        seen = await visible_fences(connection, me, rows[:limit])
        grants = await grants_of(connection, me.user, [row.fence for row in seen])
    items = [_fence(row, grants.get(row.fence), here) for row in seen]
    return Page(items=items, next=rows[limit - 1].fence if len(rows) > limit else None)


@router.get("/{fence}", summary="One fence", responses=problems(404))
async def get_fence(fence: FenceInPath, me: Caller, here: ServicesHere) -> Fence:
    """As it was drawn."""
    async with here.pool.acquire() as connection:
        row = await visible_fence(connection, me, fence)
        grants = await grants_of(connection, me.user, [row.fence])
    return _fence(row, grants.get(row.fence), here)


@router.delete("/{fence}", status_code=204, summary="Remove a fence of mine", responses=problems(404))
async def delete_fence(fence: FenceInPath, me: Caller, here: ServicesHere) -> Response:
    """Whoever is inside gets one `exit` (GEO-17)."""
    touches = [("fences", str(fence))]
    async with here.pool.acquire() as connection, connection.transaction():
        if not await remove_fence(connection, fence, me.user):
            raise not_found()
    await here.refresh(touches)
    return Response(status_code=204)


class FenceEvent(Answer):
    """As an `m` of the channel `fence:<id>`: offset, Unix ms, id, and what happened. `d.user` is there only
    where that person grants the fence's owner `exact`; `d.inside` is how many were inside after it.
    """

    o: int
    t: int
    i: str
    u: str
    d: Any


class FenceEvents(Answer):
    """Ascending. `next` goes into `after`; null at the end."""

    items: list[FenceEvent]
    next: int | None


@router.get("/{fence}/events", summary="What happened at a fence", responses=problems(404))
async def get_fence_events(
    fence: FenceInPath,
    me: Caller,
    here: ServicesHere,
    after: Annotated[Offset, Query(description="Past this offset")] = 0,
    limit: Limit = LIMIT_DEFAULT,
) -> FenceEvents:
    """For its owner and apps, also when it has ended; 404 for everybody else."""
    async with here.pool.acquire() as connection:
        await access_fence(connection, me, fence)
        found = await fence_events.events(
            connection, fence, me.user, after=after, before=OFFSET_LIMIT, limit=limit + 1
        )
    items = [
        FenceEvent(o=each.offset, t=each.at_ms, i=each.id, u="", d=json.loads(each.body))
        for each in found[:limit]
    ]
    return FenceEvents(items=items, next=items[-1].o if len(found) > limit else None)
