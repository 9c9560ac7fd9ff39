"""My own account."""

from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Response
from pydantic import AwareDatetime, ConfigDict, Field

from actors import messages as wire
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode
from identity.accounts import PASSWORD_MAXIMUM, age_years
from identity.leaving import leave
from serve_app.errors import Fault, Refusal, invalid
from serve_app.gate import Caller, FenceInPath, ServicesHere, admit
from serve_app.routes.auth import Handle
from serve_app.routes.fences import visible_fence
from serve_app.schemas import Answer, Audience, Body, problems
from serve_app.throttle import SIGN_IN_PAIR
from storage import ghosts, reminders
from storage.accounts import Account, load_account, update_profile, update_visibility
from storage.fences import put_grant
from storage.ghosts import GhostMode
from storage.ids import UserId
from storage.outbox import write_event
from storage.reminders import Reminder

router = APIRouter(prefix="/v1/me", tags=["me"], responses=problems(401, 429, 500, 503))

Precision = Literal["exact", "r9", "r8", "r7", "city", "hidden"]

_GHOST_LONGEST = timedelta(days=30)
_GHOST_ENDS = "ghost:ends"


class Ghost(Answer):
    """Until then others see nothing of where I am (`hidden`), or go on seeing the last place (`frozen`)."""

    mode: GhostMode
    until: str


class Visibility(Answer):
    """Who may see where I am, and how precisely; strangers never get finer than res 8 (~300 m)."""

    audience: Audience
    precision: Precision
    ghost: Ghost | None


class GhostWish(Body):
    """Either `duration_s` or `until`, at most 30 days ahead."""

    mode: GhostMode
    duration_s: Annotated[int, Field(ge=1, le=2_592_000)] | None = None
    until: Annotated[AwareDatetime, Field(strict=False, description="RFC 3339")] | None = None


class VisibilityWish(Body):
    """`ghost` begins or prolongs ghost mode, null ends it; left out, it stays as it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"audience": "everyone", "precision": "r8"},
                {
                    "audience": "matches",
                    "precision": "r9",
                    "ghost": {"mode": "frozen", "duration_s": 3600},
                },
            ]
        }
    )

    audience: Audience
    precision: Precision
    ghost: GhostWish | None = None


class OwnProfile(Answer):
    """My account as only I see it."""

    id: str
    handle: str
    birth_date: date
    age: int
    mail: str | None
    status: str
    visibility: Visibility
    who_can_add_me: Audience
    places: bool
    home_and_work: bool
    version: int


class ProfileChanges(Body):
    """What is given is changed. `places`: my own places are kept, for me alone; `home_and_work`: they tell
    which of them look like home and work.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"who_can_add_me": "everyone"}]})

    handle: Handle | None = None
    who_can_add_me: Audience | None = None
    places: bool | None = None
    home_and_work: bool | None = None


class Grant(Body):
    """What a fence may do with me: tell its owner who I am (`exact`), only count me, or nothing (`none`);
    take me into its room when I come, and out when I go.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"grant": "exact", "auto_join": True}]})

    grant: Literal["exact", "count", "none"] = "count"
    auto_join: bool = False


class Departure(Body):
    """The password, of an account that has one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"password": "correct horse"}]})

    password: Annotated[str, Field(max_length=PASSWORD_MAXIMUM)] | None = None


class Departed(Answer):
    """From then on nothing is left of the account but an id in what others keep."""

    status: Literal["deleting"]
    erase_at: str


def _own(account: Account, here: ServicesHere, response: Response) -> OwnProfile:
    response.headers["ETag"] = f'"{account.version}"'
    response.headers["Cache-Control"] = "no-store"
    return OwnProfile(
        id=account.user,
        handle=account.handle,
        birth_date=account.birth_date,
        age=age_years(account.birth_date, here.now.date()),
        mail=account.mail,
        status=account.status,
        visibility=_visibility(account, here.now),
        who_can_add_me=account.who_can_add_me,  # type: ignore[arg-type] # the table's CHECK says so
        places=account.keeps_places,
        home_and_work=account.infers_home_and_work,
        version=account.version,
    )


def _visibility(account: Account, now: datetime) -> Visibility:
    ghost, until = None, account.ghost_until
    if until is not None and until > now:
        ghost = {"mode": account.ghost_mode, "until": until.isoformat()}
    return Visibility.model_validate(
        {"audience": account.visibility_audience, "precision": account.visibility_precision, "ghost": ghost}
    )


def account_gone() -> Refusal:
    return Refusal(ErrorCode.UNAUTHORIZED, "This account is not there any more.")


@router.get("", summary="My account")
async def get_me(me: Caller, here: ServicesHere, response: Response) -> OwnProfile:
    """My account; `ETag` is its version."""
    account = await load_account(here.pool, me.user)
    if account is None:
        raise account_gone()
    return _own(account, here, response)


@router.patch("", summary="Change my account", responses=problems(409, 412))
async def patch_me(
    changes: ProfileChanges,
    me: Caller,
    here: ServicesHere,
    response: Response,
    if_match: Annotated[str, Header(description="The `ETag` that was read, or `*`", max_length=64)] = "",
) -> OwnProfile:
    """Changes what is given. 412 without `If-Match`, or when the account has another version by now."""
    version = version_of(if_match)
    async with here.pool.acquire() as connection, connection.transaction():
        account = await update_profile(
            connection,
            me.user,
            version=version,
            handle=changes.handle,
            who_can_add_me=changes.who_can_add_me,
            keeps_places=changes.places,
            infers_home_and_work=changes.home_and_work,
        )
        if account is None:
            if await load_account(connection, me.user) is None:
                raise account_gone()
            raise another_version()
        touches = [("user", me.user)] if changes.places is not None else []
        await write_event(
            connection, type="user.changed", aggregate=f"user:{me.user}", payload={}, touches=touches
        )
    await here.refresh(touches)
    return _own(account, here, response)


def version_of(if_match: str) -> int | None:
    if if_match == "*":
        return None
    given = if_match.removeprefix("W/").strip('"')
    if not (given.isascii() and given.isdecimal() and len(given) < 19):
        raise another_version()
    return int(given)


def another_version() -> Refusal:
    return Refusal(ErrorCode.BAD_REQUEST, "If-Match does not name the current version.", status=412)


@router.delete("", summary="Give up my account")
async def delete_me(me: Caller, here: ServicesHere, wish: Departure | None = None) -> Departed:
    """At once I am signed out everywhere, in no room, and seen by nobody; there is no way back. What is left
    is erased at `erase_at`. 401: the password is wrong, or missing.
    """
    admit(here, SIGN_IN_PAIR, me.user)
    password = None if wish is None else wish.password
    grace = timedelta(seconds=here.config.erase_grace_s)
    erase_at, touches = await leave(here.pool, here.passwords, me.user, password, here.now, grace)
    here.verifier.departed.add(me.user)
    await here.refresh(touches)
    return Departed(status="deleting", erase_at=erase_at.isoformat())


@router.put("/visibility", summary="Who may see where I am")
async def put_visibility(wanted: VisibilityWish, me: Caller, here: ServicesHere) -> Visibility:
    """In force with the answer: `near` and shares of everybody follow at once."""
    if wanted.ghost is not None:
        await _awaken(here, me.user)
    now = here.now
    async with here.pool.acquire() as connection, connection.transaction():
        await update_visibility(connection, me.user, audience=wanted.audience, precision=wanted.precision)
        if wanted.ghost is not None:
            await _haunt(connection, me.user, wanted.ghost, now)
        elif "ghost" in wanted.model_fields_set:
            await ghosts.end(connection, me.user)
            await reminders.remove(connection, "user", me.user, _GHOST_ENDS)
        account = await load_account(connection, me.user)
        if account is None:
            raise account_gone()
        visibility = _visibility(account, now)
        await write_event(
            connection,
            type="user.visibility_changed",
            aggregate=f"user:{me.user}",
            payload=visibility.model_dump(),
            touches=[("user", me.user), ("reminder", me.user), *_gone_from_lists(me.user, wanted.ghost)],
        )
    await here.refresh([("user", me.user)])
    return visibility


def _gone_from_lists(user: UserId, wish: GhostWish | None) -> list[tuple[str, str]]:
    """Who hides is in nobody's live list of recommendations from now on."""
    return [("withdrawn", user)] if wish is not None and wish.mode == "hidden" else []


async def _awaken(here: ServicesHere, user: UserId) -> None:
    """What a ghost freezes is known to an actor that is there when it begins; else nothing is shown."""
    if here.router.view.version:
        with suppress(EngineError):
            await here.router.request("user", user, wire.WatchersQuery(0, user))


async def _haunt(connection: Any, user: UserId, wish: GhostWish, now: datetime) -> None:
    """The person is a ghost from now on, and no longer when that is over."""
    if (wish.duration_s is None) is (wish.until is None):
        raise invalid("Say for how long.", Fault("body.ghost", "either duration_s or until"))
    until = wish.until or now + timedelta(seconds=wish.duration_s or 0)
    if not now < until <= now + _GHOST_LONGEST:
        raise invalid("This is no end.", Fault("body.ghost.until", "not in the next 30 days"))
    await ghosts.begin(connection, user, wish.mode, now, until)
    due_ms = round(until.timestamp() * 1000)
    await reminders.put(connection, Reminder("user", user, _GHOST_ENDS, slot_of("user", user), due_ms), None)


@router.put("/fences/{fence}", summary="What a fence may do with me", responses=problems(404))
async def put_fence_grant(wanted: Grant, fence: FenceInPath, me: Caller, here: ServicesHere) -> Grant:
    """Without this, a fence's owner sees a count, and its room is not joined (GEO-14)."""
    touches = [("user", str(me.user)), ("fence", str(fence))]
    async with here.pool.acquire() as connection, connection.transaction():
        await visible_fence(connection, me, fence)
        await put_grant(connection, me.user, fence, grant=wanted.grant, auto_join=wanted.auto_join)
        await write_event(
            connection,
            type="fence.granted",
            aggregate=f"fence:{fence}",
            payload={"user": me.user, "grant": wanted.grant, "auto_join": wanted.auto_join},
            touches=touches,
        )
    await here.refresh(touches)
    return wanted
