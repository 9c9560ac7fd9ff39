"""What was recommended to me in batch: people, a daily pick, groups, places; and interests to browse."""

from fastapi import APIRouter, Response

from serve_app.gate import Caller, ServicesHere
from serve_app.routes.fences import visible_fences
from serve_app.routes.matches import (
    SUGGESTED_DEFAULT,
    Reason,
    SuggestedPeople,
    Suggestions,
    people_page,
    reasons,
)
from serve_app.schemas import Answer, Limit, problems
from serve_app.suggested_interest import suggested_interest
from serve_app.suggesting import groups_now, groups_of_batch, people_either, people_of_batch, why_of
from storage.fences import live_fences
from storage.recommendations import rows_of

router = APIRouter(prefix="/v1/recommendations", tags=["matching"], responses=problems(401, 429, 500, 503))


class SuggestedGroup(Answer):
    """A group that I am invited to (`room`, `name`), or people to make one with (`members`)."""

    room: str | None
    name: str | None
    members: list[str]
    score: float
    model: str
    why: list[Reason]


class SuggestedGroups(Suggestions):
    """The best first."""

    items: list[SuggestedGroup]


class SuggestedPlace(Answer):
    """A fence that I belong to the audience of, and may like."""

    fence: str
    name: str
    score: float
    model: str
    why: list[Reason]


class SuggestedPlaces(Suggestions):
    """The best first."""

    items: list[SuggestedPlace]


class InterestTag(Answer):
    """A tag, and how many people have it."""

    tag: str
    people: int


class Interests(Answer):
    """Tags that go together, and how many people have one of them at least. `x`, `y` in [-1, 1] place them on
    a map: what is near has people in common.
    """

    people: int
    tags: list[InterestTag]
    x: float
    y: float


class InterestGroups(Answer):
    """Largest first; of tags and groups that fewer than `k` people have nothing is told. `suggested`: one
    that I do not have and may like, the same all day.
    """

    items: list[Interests]
    next: None = None
    k: int
    suggested: str | None


@router.get("/people", summary="People for me")
async def get_recommended_people(
    me: Caller, here: ServicesHere, response: Response, limit: Limit = SUGGESTED_DEFAULT
) -> SuggestedPeople:
    """What the last batch found and still holds, else worked out now (`live` is true), as `/v1/matches`."""
    return people_page(await people_either(here, me.user, limit, live_first=False), response)


@router.get("/pick", summary="My pick of the day")
async def get_daily_pick(me: Caller, here: ServicesHere, response: Response) -> SuggestedPeople:
    """At most one person, whose pick I am too; nobody until a batch found them."""
    return people_page(await people_of_batch(here, me.user, "pick", 1), response)


@router.get("/groups", summary="Groups for me")
async def get_recommended_groups(
    me: Caller, here: ServicesHere, response: Response, limit: Limit = SUGGESTED_DEFAULT
) -> SuggestedGroups:
    """What the last batch found; else those that I am invited to, by who is in them."""
    response.headers["Cache-Control"] = "no-store"
    found = await groups_of_batch(here, me.user, limit) or await groups_now(here, me.user, limit)
    items = [
        SuggestedGroup(
            room=each.room,
            name=each.name,
            members=list(each.members),
            score=round(each.score, 4),
            model=each.model,
            why=reasons(each.why),
        )
        for each in found.items
    ]
    return SuggestedGroups(items=items, model=found.model, as_of=found.as_of.isoformat(), live=found.is_live)


@router.get("/places", summary="Places for me")
async def get_recommended_places(
    me: Caller, here: ServicesHere, response: Response, limit: Limit = SUGGESTED_DEFAULT
) -> SuggestedPlaces:
    """What the last batch found, of fences that stand and whose audience I belong to; none before."""
    response.headers["Cache-Control"] = "no-store"
    async with here.pool.acquire() as connection:
        rows = await rows_of(connection, me.user, "places", limit=2 * limit)
        standing = await live_fences(connection, [row.subject for row in rows]) if rows else []
        names = {str(fence.fence): fence.name for fence in await visible_fences(connection, me, standing)}
    if not rows:
        return SuggestedPlaces(items=[], model=None, as_of=None, live=False)
    items = [
        SuggestedPlace(
            fence=row.subject,
            name=names[row.subject],
            score=round(row.score, 4),
            model=row.model,
            why=reasons(why_of(row.detail)),
        )
        for row in rows
        if row.subject in names
    ]
    return SuggestedPlaces(items=items[:limit], model=rows[0].model, as_of=rows[0].at.isoformat(), live=False)


@router.get("/interests", summary="Interests to browse")
async def get_interests(me: Caller, here: ServicesHere, response: Response) -> InterestGroups:
    """The map of interests: which there are, and which go together; and one that is suggested to me."""
    response.headers["Cache-Control"] = "no-store"
    found = await here.matcher.interest_map()
    items = [
        Interests(
            people=group.people,
            tags=[InterestTag(tag=tag, people=people) for tag, people in group.tags],
            x=round(group.x, 4),
            y=round(group.y, 4),
        )
        for group in found.groups
    ]
    return InterestGroups(items=items, k=found.k, suggested=await suggested_interest(here, me.user, found))
