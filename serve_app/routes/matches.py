"""Who would suit me, worked out now (MATCH-1, MATCH-6 to 8, MATCH-15)."""

from fastapi import APIRouter, Response
from pydantic import Field

from serve_app.gate import Caller, ServicesHere
from serve_app.schemas import Answer, Limit, problems
from serve_app.suggesting import Found, Person, Why, people_either

router = APIRouter(prefix="/v1/matches", tags=["matching"], responses=problems(401, 429, 500, 503))

SUGGESTED_DEFAULT = 20


class Reason(Answer):
    """What a feature truly added to the log-odds that I like it; of a group, what it is about."""

    feature: str
    effect: float


class SuggestedPerson(Answer):
    """Somebody who may suit me. `score` is in [0, 1], the harmonic mean of both sides' chances to like; goes
    with `model` and `source` into `POST /v1/decisions`.
    """

    user: str
    score: float
    model: str
    source: str | None
    why: list[Reason]


class Suggestions(Answer):
    """As of when they were worked out; `live`: for this request, else by a batch."""

    next: None = None
    model: str | None = Field(description="The model version that they are by; null where there are none")
    as_of: str | None
    live: bool


class SuggestedPeople(Suggestions):
    """The best first."""

    items: list[SuggestedPerson]


def reasons(why: Why) -> list[Reason]:
    """As they are told."""
    return [Reason(feature=name, effect=round(effect, 4)) for name, effect in why]


def people_page(found: Found[Person] | None, response: Response) -> SuggestedPeople:
    """The page; empty where nothing was found."""
    response.headers["Cache-Control"] = "no-store"
    if found is None:
        return SuggestedPeople(items=[], model=None, as_of=None, live=False)
    items = [
        SuggestedPerson(
            user=each.user,
            score=round(each.score, 4),
            model=each.model,
            source=each.source,
            why=reasons(each.why),
        )
        for each in found.items
    ]
    return SuggestedPeople(items=items, model=found.model, as_of=found.as_of.isoformat(), live=found.is_live)


@router.get("", summary="Who would suit me")
async def get_matches(
    me: Caller, here: ServicesHere, response: Response, limit: Limit = SUGGESTED_DEFAULT
) -> SuggestedPeople:
    """Worked out now, from those near me and others; without the blocked, the decided and the inactive. While
    that can't be done: what the last batch found (`live` is false), else 503.
    """
    return people_page(await people_either(here, me.user, limit, live_first=True), response)
