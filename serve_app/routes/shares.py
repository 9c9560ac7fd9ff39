"""Live location shares: whom I show where I am, for how long, and how precisely (GEO-22).

No position passes here: those it is shared with hear it on the channel `share:<id>`.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import AwareDatetime, ConfigDict, Field

from actors import messages as wire
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode
from identity.relations import load_relations
from serve_app.errors import Fault, Refusal, invalid, not_found
from serve_app.gate import Caller, ServicesHere, ShareInPath
from serve_app.schemas import LIMIT_DEFAULT, Answer, Body, Cursor, Id, Limit, Page, problems
from storage.accounts import living_users
from storage.ids import ShareId, new_id
from storage.outbox import notify
from storage.reminders import Reminder, put
from storage.shares import (
    Receiver,
    ShareRow,
    Told,
    end_share,
    insert_share,
    leave_share,
    load_share,
    shares_given,
    shares_page,
    tell,
)

router = APIRouter(prefix="/v1/shares", tags=["location"], responses=problems(401, 429, 500, 503))

LONGEST = timedelta(hours=24)
RECEIVERS_LIMIT = 20
SHARES_LIMIT = 20

Precision = Literal["exact", "r9", "r8", "r7", "city"]


class ShareWish(Body):
    """Either `duration_s` or `until`, which lies in the next 24 hours."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"to": ["01990b6e-8c1f-7d3a-9c55-0f6f2c1b7a10"], "duration_s": 3600, "precision": "exact"}
            ]
        }
    )

    to: Annotated[list[Id], Field(min_length=1, max_length=RECEIVERS_LIMIT)]
    duration_s: Literal[900, 3600, 28800] | None = None
    until: Annotated[AwareDatetime, Field(strict=False, description="RFC 3339")] | None = None
    precision: Precision = "exact"


class Watcher(Answer):
    """Somebody the share is with: whether they look now, and when they last did."""

    user: str
    viewing: bool
    viewed_at: str | None
    last_viewed_at: str | None


class Share(Answer):
    """A share that goes on. `viewers` is for the sharer only."""

    id: str
    channel: str
    sharer: str
    precision: Precision
    created_at: str
    ends_at: str
    viewers: list[Watcher] | None = None


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _watcher(receiver: Receiver, watching: dict[str, int]) -> Watcher:
    return Watcher(
        user=receiver.user,
        viewing=receiver.user in watching,
        viewed_at=_time(receiver.viewed_at),
        last_viewed_at=_time(receiver.last_viewed_at),
    )


def _share(row: ShareRow, me: str, watching: dict[str, dict[str, int]]) -> Share:
    own = watching.get(row.share, {})
    return Share(
        id=row.share,
        channel=f"share:{row.share}",
        sharer=row.sharer,
        precision=row.precision,  # type: ignore[arg-type] # the table's CHECK says so
        created_at=row.created_at.isoformat(),
        ends_at=row.ends_at.isoformat(),
        viewers=[_watcher(each, own) for each in row.receivers] if row.sharer == me else None,
    )


async def _watching(here: ServicesHere, me: str) -> dict[str, dict[str, int]]:
    """Who looks now, as my actor knows it; nobody while it does not answer."""
    if here.router.view.version == 0:
        return {}  # no Directory, so nobody looks at anything
    try:
        found: dict[str, dict[str, int]] = await here.router.request("user", me, wire.WatchersQuery(0, me))
    except EngineError:
        return {}
    return found


def _ends_at(wish: ShareWish, now: datetime) -> datetime:
    if (wish.duration_s is None) is (wish.until is None):
        raise invalid("Say for how long.", Fault("body", "either duration_s or until"))
    if wish.until is None:
        return now + timedelta(seconds=wish.duration_s or 0)
    if not now < wish.until <= now + LONGEST:
        raise invalid("This is no end.", Fault("body.until", "not in the next 24 hours"))
    return wish.until


@router.post("", status_code=201, summary="Show somebody where I am", responses=problems(404, 409))
async def post_share(wish: ShareWish, me: Caller, here: ServicesHere, response: Response) -> Share:
    """In force with the answer; they hear `share.started` on `me`. With matches and people of my groups only:
    404 for anybody else. 409: I share too much already.
    """
    to = sorted(set(wish.to))
    row = ShareRow(
        ShareId(new_id()), me.user, wish.precision, here.now, _ends_at(wish, here.now),
        tuple(Receiver(user) for user in to),
    )  # fmt: skip
    async with here.pool.acquire() as connection, connection.transaction():
        relations = await load_relations(connection, me.user, to)
        living = await living_users(connection, to)
        for user in to:
            relation = relations[user]
            if user not in living or relation.blocked or not (relation.matched or relation.shares_group):
                raise not_found()
        if await shares_given(connection, me.user, here.now) >= SHARES_LIMIT:
            raise Refusal(ErrorCode.LIMIT, f"At most {SHARES_LIMIT} shares at a time.", status=409)
        await insert_share(connection, row)
        ends_at_ms = round(row.ends_at.timestamp() * 1000)
        reminder = Reminder("user", me.user, f"share:{row.share}", slot_of("user", me.user), ends_at_ms)
        await put(connection, reminder, None)
        await notify(connection, [("reminder", row.share)])
        started = {
            "type": "share.started", "v": 1, "share": row.share, "user": me.user,
            "precision": row.precision, "ends_at_ms": ends_at_ms,
        }  # fmt: skip
        told = await tell(connection, [(user, started) for user in (me.user, *to)])
    await here.refresh([("user", user) for user in told])
    response.headers["Location"] = f"/v1/shares/{row.share}"
    return _share(row, me.user, {})


@router.get("", summary="What I share, and what is shared with me")
async def get_shares(
    me: Caller, here: ServicesHere, cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT
) -> Page[Share]:
    """Those that go on, by id."""
    async with here.pool.acquire() as connection:
        rows = await shares_page(connection, me.user, here.now, after=cursor, limit=limit + 1)
    watching = await _watching(here, me.user) if any(row.sharer == me.user for row in rows) else {}
    items = [_share(row, me.user, watching) for row in rows[:limit]]
    return Page(items=items, next=rows[limit - 1].share if len(rows) > limit else None)


@router.get("/{share}", summary="One share", responses=problems(404))
async def get_share(share: ShareInPath, me: Caller, here: ServicesHere) -> Share:
    """404 for whom it is not with, and once it has ended."""
    async with here.pool.acquire() as connection:
        row = await load_share(connection, share, me.user, here.now)
    if row is None:
        raise not_found()
    return _share(row, me.user, await _watching(here, me.user) if row.sharer == me.user else {})


@router.delete("/{share}", status_code=204, summary="End a share, or leave it", responses=problems(404))
async def delete_share(share: ShareInPath, me: Caller, here: ServicesHere) -> Response:
    """The sharer ends it for everybody; who it is with leaves it for themselves."""
    async with here.pool.acquire() as connection, connection.transaction():
        row = await load_share(connection, share, me.user, here.now)
        if row is None:
            raise not_found()
        events: list[Told]
        if row.sharer == me.user:
            events = await end_share(connection, share, me.user, "revoked")
        else:
            events = await leave_share(connection, share, me.user)
        if not events:
            raise not_found()
        told = await tell(connection, events)
    await here.refresh([("user", user) for user in told])
    return Response(status_code=204)
