"""Other people, as far as they let me see them (USER-3, USER-10)."""

from fastapi import APIRouter
from pydantic import ConfigDict

from identity.accounts import age_years
from identity.audience import visible_fields
from identity.relations import load_relation
from serve_app.errors import not_found
from serve_app.gate import Caller, ServicesHere, UserInPath
from serve_app.schemas import Answer, problems
from storage.accounts import load_account

router = APIRouter(prefix="/v1/users", tags=["people"], responses=problems(401, 404, 429, 500, 503))


class Profile(Answer):
    """What I may know of somebody; a field that is not for me is absent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": "01990b6e-8c1f-7d3a-9c55-0f6f2c1b7a10", "handle": "ada", "age": 35}]
        }
    )

    id: str
    handle: str | None = None
    age: int | None = None


@router.get("/{user}", summary="Somebody's profile", response_model_exclude_none=True)
async def get_user(user: UserInPath, me: Caller, here: ServicesHere) -> Profile:
    """404 also when a block stands between us, whoever set it."""
    async with here.pool.acquire() as connection:
        account = await load_account(connection, user)
        relation = await load_relation(connection, me.user, user)
    if account is None or relation.blocked or (account.status != "active" and not relation.self):
        raise not_found()
    shown = visible_fields(relation)
    return Profile(
        id=user,
        handle=account.handle if "handle" in shown else None,
        age=age_years(account.birth_date, here.now.date()) if "age" in shown else None,
    )
