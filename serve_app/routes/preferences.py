"""What I am, want and answer, for matching (MATCH-6, MATCH-11)."""

import unicodedata
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Header, Response
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from serve_app.gate import Caller, ServicesHere
from serve_app.routes.me import account_gone, another_version, version_of
from serve_app.schemas import Body, Line, problems
from storage import content
from storage.accounts import load_account
from storage.outbox import write_event
from storage.preferences import Preferences, load_preferences, save_preferences

router = APIRouter(prefix="/v1/me/preferences", tags=["matching"], responses=problems(401, 429, 500, 503))

TAG_LENGTH = 40
INTERESTS_LIMIT, GOALS_LIMIT, QUESTIONS_LIMIT, CHOICES_LIMIT = 50, 10, 300, 20
FARTHEST_M = 20_100_000
"""Half the way round the earth."""

Gender = Literal["woman", "man", "other"]


def _tag(text: str) -> str:
    tag = " ".join(unicodedata.normalize("NFKC", text).lower().split())
    if not 0 < len(tag) <= TAG_LENGTH:
        raise ValueError(f"a tag has 1 to {TAG_LENGTH} characters")
    return tag


def _unique(items: list[str]) -> list[str]:
    return list(dict.fromkeys(items))


Tag = Annotated[Line, Field(min_length=1, max_length=TAG_LENGTH), AfterValidator(_tag)]
Choice = Annotated[int, Field(ge=0, lt=CHOICES_LIMIT)]
Rating = Annotated[float, Field(ge=-1, le=7), AfterValidator(lambda rating: round(rating, 3))]


class AnswerGiven(Body):
    """My answer to a question, those I accept from others, and how much it matters to me, in points."""

    answer: Choice
    accepts: Annotated[list[Choice], Field(max_length=CHOICES_LIMIT)]
    weight: Literal[0, 1, 10, 50, 250]


class MyPreferences(Body):
    """All of them: what is left out is as if never said.

    `listed`: may be recommended. `seeks`, `goals`: empty is any. `within_m`: null is any distance.
    `interests` and `goals` are tags, kept in lower case. `values_21`: the 21 (or 10) answers of Schwartz's
    questionnaire.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "listed": True,
                    "gender": "woman",
                    "seeks": ["man"],
                    "goals": ["dating"],
                    "age_from": 25,
                    "age_to": 40,
                    "within_m": 20000,
                    "interests": ["climbing", "jazz"],
                    "answers": {"smoking": {"answer": 0, "accepts": [0, 1], "weight": 50}},
                }
            ]
        }
    )

    listed: bool = True
    gender: Gender | None = None
    seeks: Annotated[list[Gender], Field(max_length=3), AfterValidator(_unique)] = Field(default=[])
    goals: Annotated[list[Tag], Field(max_length=GOALS_LIMIT), AfterValidator(_unique)] = Field(default=[])
    age_from: Annotated[int, Field(ge=18, le=150)] = 18
    age_to: Annotated[int, Field(ge=18, le=150)] = 150
    within_m: Annotated[int, Field(ge=100, le=FARTHEST_M)] | None = None
    interests: Annotated[list[Tag], Field(max_length=INTERESTS_LIMIT), AfterValidator(_unique)] = Field(
        default=[]
    )
    answers: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")], AnswerGiven],
        Field(max_length=QUESTIONS_LIMIT),
    ] = Field(default={})
    values_21: Annotated[list[Rating], Field(min_length=10, max_length=21)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.age_from > self.age_to:
            raise ValueError("age_from is above age_to")
        if self.values_21 is not None and len(self.values_21) not in (10, 21):
            raise ValueError("values_21 has 10 or 21 ratings")
        return self


def _stored(wish: MyPreferences) -> Preferences:
    return Preferences(
        wish.listed,
        wish.gender,
        tuple(wish.seeks),
        tuple(wish.goals),
        wish.age_from,
        wish.age_to,
        wish.within_m,
        tuple(wish.interests),
        {question: given.model_dump() for question, given in wish.answers.items()},
        None if wish.values_21 is None else tuple(wish.values_21),
    )


def _shown(found: Preferences) -> MyPreferences:
    return MyPreferences(
        listed=found.is_listed,
        gender=found.gender,  # type: ignore[arg-type] # the table's CHECK says so
        seeks=list(found.seeks),  # type: ignore[arg-type]
        goals=list(found.goals),
        age_from=found.age_from,
        age_to=found.age_to,
        within_m=found.within_m,
        interests=list(found.interests),
        answers={question: AnswerGiven.model_validate(given) for question, given in found.answers.items()},
        values_21=None if found.values_21 is None else list(found.values_21),
    )


def _head(response: Response, version: int) -> None:
    response.headers["ETag"] = f'"{version}"'
    response.headers["Cache-Control"] = "no-store"


@router.get("", summary="My preferences")
async def get_preferences(me: Caller, here: ServicesHere, response: Response) -> MyPreferences:
    """For me alone; `ETag` is their version. Who never said anything has the defaults, of version 0."""
    async with here.pool.acquire() as connection:
        found = await load_preferences(connection, me.user)
    _head(response, found.version)
    return _shown(found)


@router.put("", summary="Say what I am and want", responses=problems(412))
async def put_preferences(
    wish: MyPreferences,
    me: Caller,
    here: ServicesHere,
    response: Response,
    if_match: Annotated[str, Header(description="The `ETag` that was read, or `*`", max_length=64)] = "",
) -> MyPreferences:
    """Replaces all of them. 412 without `If-Match`, or when they have another version by now."""
    expected = version_of(if_match)
    async with here.pool.acquire() as connection, connection.transaction():
        version = await save_preferences(connection, me.user, _stored(wish), expected)
        if version is None:
            account = await load_account(connection, me.user)
            if account is None or account.status not in ("active", "paused"):
                raise account_gone()
            raise another_version()
        await content.take(connection, me.user, wish.interests, here.now)
        await write_event(
            connection,
            type="preferences.changed",
            aggregate=f"user:{me.user}",
            payload={"version": version},
            touches=[
                ("user", me.user),
                ("preferences", me.user),
                *([] if wish.listed else [("withdrawn", me.user)]),
            ],
        )
    await here.refresh([("user", me.user)])
    _head(response, version)
    return wish
