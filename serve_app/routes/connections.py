"""What I am to others: requests, matches, passes, blocks (CONN)."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from identity.connections import Action, View
from identity.pairs import act, list_views
from serve_app.gate import Caller, ServicesHere, UserInPath
from serve_app.schemas import LIMIT_DEFAULT, Answer, Body, Cursor, Limit, Page, problems

router = APIRouter(prefix="/v1/connections", tags=["connections"], responses=problems(401, 429, 500, 503))

State = Literal["requested", "matched", "declined", "unmatched", "expired", "blocked"]


class Wish(Body):
    """`version` is needed for `accept`: that of the request that was seen."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"action": "request"}, {"action": "accept", "version": 3}]}
    )

    action: Literal["request", "accept", "pass", "unmatch", "block", "unblock"]
    version: Annotated[int, Field(ge=0, lt=2**53)] | None = None


class Connection(Answer):
    """A connection as I see it; `by` is who requested, passed or blocked."""

    user: str
    state: Literal["none", "requested", "matched", "declined", "unmatched", "expired", "blocked"]
    by: str | None
    version: int


def _connection(view: View) -> Connection:
    return Connection(user=view.user, state=view.state, by=view.by, version=view.version)  # type: ignore[arg-type]


@router.put("/{user}", summary="Request, accept, pass, unmatch, block, unblock", responses=problems(404, 409))
async def put_connection(wish: Wish, user: UserInPath, me: Caller, here: ServicesHere) -> Connection:
    """Requests that cross are a match. 409: the state does not admit the action, or has another version."""
    view, touches = await act(
        here.pool, me.user, user, Action(wish.action), here.now, expected_version=wish.version
    )
    await here.refresh(touches)
    return _connection(view)


@router.get("", summary="My connections")
async def get_connections(
    me: Caller,
    here: ServicesHere,
    state: Annotated[State | None, Query(description="Only those in this state")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Page[Connection]:
    """By the other's id. A page may be short, or empty, although more follow: go on until `next` is null."""
    async with here.pool.acquire() as connection:
        views, following = await list_views(
            connection, me.user, here.now, state=state, after=cursor, limit=limit
        )
    return Page(items=[_connection(view) for view in views], next=following)
