"""Whom I like and whom I pass: what matching learns from (MATCH-4, ML-1)."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from identity.connections import Action
from identity.pairs import act
from serve_app.gate import Caller, ServicesHere
from serve_app.routes.connections import Connection
from serve_app.schemas import Body, Id, problems
from storage.ids import UserId

router = APIRouter(prefix="/v1/decisions", tags=["matching"], responses=problems(401, 429, 500, 503))

ModelVersion = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


class DecisionWish(Body):
    """`model` is the version whose score was shown, `source` what had brought the two together."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user": "01990b6e-8c1f-7d3a-9c55-0f6f2c1b7a10", "like": True},
                {
                    "user": "01990b6e-8c1f-7d3a-9c55-0f6f2c1b7a10",
                    "like": False,
                    "model": "people-7",
                    "source": "near",
                },
            ]
        }
    )

    user: Id
    like: bool
    model: ModelVersion | None = None
    source: Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,31}$")] | None = None


class Decided(Connection):
    """The connection after it. What the other had decided shows only in a match."""

    match: bool


@router.post("", summary="Like or pass", responses=problems(404, 409))
async def post_decision(wish: DecisionWish, me: Caller, here: ServicesHere) -> Decided:
    """A like is a request, or a match where they had requested me; a pass is told to nobody. Decided the same
    way again changes nothing. 409: my request stands, or we are matched, so there is nothing to pass.
    """
    view, touches = await act(
        here.pool,
        me.user,
        UserId(wish.user),
        Action.REQUEST if wish.like else Action.PASS,
        here.now,
        model=wish.model,
        source=wish.source,
    )
    await here.refresh(touches)
    return Decided(
        user=view.user,
        state=view.state,  # type: ignore[arg-type] # one of identity.connections
        by=view.by,
        version=view.version,
        match=view.state == "matched",
    )
