"""Who is asking, how often, and whether they may: one gate per kind of access (style.md §3)."""

import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from actors.protocol import ErrorCode
from identity.relations import load_relations
from identity.tokens import TokenExpired, TokenInvalid
from serve_app.errors import Refusal, not_found
from serve_app.services import Services, services
from serve_app.throttle import OPEN, READ, REFUSED, WRITE, Policy, Verdict
from storage import fence_events
from storage.ids import FenceId, PlaceId, RoomId, SessionId, ShareId, UserId, is_id
from storage.rooms import MemberRow, RoomRow, load_member, load_room, members_of

ServicesHere = Annotated[Services, Depends(services)]

_bearer = HTTPBearer(
    scheme_name="bearer", bearerFormat="JWT", description="An access token (ES256)", auto_error=False
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


@dataclass(frozen=True, slots=True)
class Me:
    """Who asks: a user, in a session."""

    user: UserId
    session: SessionId


def address_of(request: Request) -> str:
    """The client's address. A proxy on this machine is believed to name it; nobody else is."""
    peer = request.client.host if request.client is not None else "?"
    if peer in ("127.0.0.1", "::1"):
        forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        return forwarded[:64] or peer
    return peer


def admit(here: Services, policy: Policy, key: str, response: Response | None = None) -> None:
    """Counts a request; raises 429 with Retry-After when it is one too many."""
    verdict = here.throttle.take(policy, key, time.monotonic())
    headers = _limit_headers(policy, verdict)
    if not verdict.admitted:
        retry_ms = max(1, round(verdict.retry_after_s * 1000))
        raise Refusal(
            ErrorCode.TOO_MANY_REQUESTS, "Too many requests: slow down.", headers=headers, retry_ms=retry_ms
        )
    if response is not None:
        response.headers.update(headers)


def _limit_headers(policy: Policy, verdict: Verdict) -> dict[str, str]:
    """As in draft-ietf-httpapi-ratelimit-headers."""
    window_s = round(policy.burst / policy.per_s)
    return {
        "RateLimit-Policy": f'"{policy.name}";q={policy.burst};w={window_s}',
        "RateLimit": f'"{policy.name}";r={verdict.remaining};t={-int(-verdict.reset_s // 1)}',
    }


async def current_user(
    request: Request, response: Response, here: ServicesHere, credentials: Credentials
) -> Me:
    """The user of a valid access token; counts the request. Raises 401 (codes 101, 109) or 429."""
    if credentials is None:
        raise TokenInvalid
    try:
        claims = await here.verifier.verify(credentials.credentials)
    except (TokenInvalid, TokenExpired):
        admit(here, REFUSED, address_of(request))
        raise
    admit(here, READ if request.method in ("GET", "HEAD") else WRITE, claims.user, response)
    return Me(claims.user, claims.session)


async def anybody(request: Request, response: Response, here: ServicesHere) -> None:
    """No account needed; counts the request by address."""
    admit(here, OPEN, address_of(request), response)


Caller = Annotated[Me, Depends(current_user)]

Action = Literal["read", "post"]


async def access_room(here: Services, me: Me, room: RoomId, action: Action) -> tuple[RoomRow, MemberRow]:
    """The room and my membership, if I may do this there; otherwise 404, whatever the reason.

    Members read and post. The invited may look at what they are invited to, but read nothing (`action`
    "look" has its own gate below). In a direct room a block ends both.
    """
    found, member = await look_at_room(here, me, room)
    if member.state != "member":
        raise not_found()
    if found.kind == "direct" and action == "post":
        async with here.pool.acquire() as connection:
            others = [each.user for each in await members_of(connection, room, me.user, limit=3)]
            if len(others) < found.members:
                raise not_found()
    return found, member


async def look_at_room(here: Services, me: Me, room: RoomId) -> tuple[RoomRow, MemberRow]:
    """The room and my place in it, as a member or as somebody invited."""
    async with here.pool.acquire() as connection:
        member = await load_member(connection, room, me.user)
        if member is None or member.state not in ("member", "invited"):
            raise not_found()
        found = await load_room(connection, room)
        if found is None:
            raise not_found()
        if member.state == "invited":
            relation = (await load_relations(connection, me.user, [found.owner]))[found.owner]
            if relation.blocked:
                raise not_found()
    return found, member


async def access_fence(connection: Any, me: Me, fence: FenceId) -> None:
    """Lets the fence's owner and apps look at what happens there; otherwise 404, whatever the reason."""
    head = await fence_events.head(connection, fence)
    if head is None or (me.user != head.owner and not await fence_events.is_app(connection, me.user)):
        raise not_found()


_ID = Path(
    description="A UUIDv7 in canonical form",
    json_schema_extra={"format": "uuid"},
    examples=["01990b6e-8c1f-7d3a-9c55-0f6f2c1b7a10"],
)


async def _user_in_path(user: Annotated[str, _ID]) -> UserId:
    if not is_id(user):
        raise not_found()
    return UserId(user)


async def _room_in_path(room: Annotated[str, _ID]) -> RoomId:
    if not is_id(room):
        raise not_found()
    return RoomId(room)


async def _fence_in_path(fence: Annotated[str, _ID]) -> FenceId:
    if not is_id(fence):
        raise not_found()
    return FenceId(fence)


async def _share_in_path(share: Annotated[str, _ID]) -> ShareId:
    if not is_id(share):
        raise not_found()
    return ShareId(share)


async def _place_in_path(place: Annotated[str, _ID]) -> PlaceId:
    if not is_id(place):
        raise not_found()
    return PlaceId(place)


UserInPath = Annotated[UserId, Depends(_user_in_path)]
RoomInPath = Annotated[RoomId, Depends(_room_in_path)]
FenceInPath = Annotated[FenceId, Depends(_fence_in_path)]
ShareInPath = Annotated[ShareId, Depends(_share_in_path)]
PlaceInPath = Annotated[PlaceId, Depends(_place_in_path)]
