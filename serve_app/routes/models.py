"""The registry of models, for those who look after them (ML-5, ML-6, ML-11)."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict, Field

from actors.protocol import ErrorCode
from serve_app.errors import Fault, Refusal, not_found
from serve_app.gate import Caller, Me, ServicesHere
from serve_app.schemas import LIMIT_DEFAULT, Answer, Body, Limit, Page, problems
from storage import registry
from storage.accounts import roles_of
from storage.registry import BASELINE, ModelRow, RegistryError

router = APIRouter(prefix="/v1/models", tags=["models"], responses=problems(401, 404, 429, 500, 503))

READERS = frozenset({"analyst", "admin", "app"})
MOVERS = frozenset({"analyst", "admin"})
_NAME = r"^[a-z][a-z0-9_-]{0,63}$"

Name = Annotated[str, Path(description="A model's name", pattern=_NAME, examples=["people"])]
Version = Annotated[str, Field(pattern=_NAME)]


class ModelVersion(Answer):
    """A version, which never changes. `verdict` is the gate's, if it was asked; `erased_at`: since then
    somebody whom it was trained on is erased; `pruned_at`: since then its bytes are gone. Either way no alias
    moves to it any more.
    """

    name: str
    version: str
    aliases: list[str]
    created_at: str
    erased_at: str | None
    pruned_at: str | None
    data_sha256: str | None
    model_sha256: str
    metrics: dict[str, Any]
    verdict: dict[str, Any] | None
    lineage: dict[str, Any]
    card: dict[str, Any]


class Models(Page[ModelVersion]):
    """By name, the newest first. `serving`: of each name the version that serves, or `baseline`; `attention`:
    what is to be done about it, in words, where something is.
    """

    serving: dict[str, str]
    attention: dict[str, str]


class Promotion(Body):
    """Which version is to serve."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": "people-7"}]})

    version: Version


class Serving(Answer):
    """What serves from now on."""

    name: str
    version: str


async def _admit(connection: Any, me: Me, roles: frozenset[str]) -> None:
    if not roles & set(await roles_of(connection, me.user)):
        raise not_found()


def _version(row: ModelRow) -> ModelVersion:
    return ModelVersion(
        name=row.name,
        version=row.version,
        aliases=list(row.aliases),
        created_at=row.created_at.isoformat(),
        erased_at=None if row.erased_at is None else row.erased_at.isoformat(),
        pruned_at=None if row.pruned_at is None else row.pruned_at.isoformat(),
        data_sha256=row.dataset_sha256,
        model_sha256=row.blob_sha256,
        metrics={name: value for name, value in row.metrics.items() if name != "verdict"},
        verdict=row.metrics.get("verdict"),
        lineage=row.lineage,
        card=row.card,
    )


@router.get("", summary="Models and what serves")
async def get_models(
    me: Caller,
    here: ServicesHere,
    name: Annotated[str | None, Query(description="Only of this name", pattern=_NAME)] = None,
    cursor: Annotated[str | None, Query(description="`next` of the page before", pattern=_NAME)] = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Models:
    """All versions. With the role `analyst`, `admin` or `app`; otherwise 404."""
    async with here.pool.acquire() as connection:
        await _admit(connection, me, READERS)
        names = await registry.names(connection)
        rows = [
            row for each in names if name in (None, each) for row in await registry.versions(connection, each)
        ]
    serving = dict.fromkeys(names, BASELINE) | {
        row.name: row.version for row in rows if "champion" in row.aliases
    }
    if name is not None:
        serving = {each: version for each, version in serving.items() if each == name}
    attention = {
        row.name: said
        for row in rows
        if "champion" in row.aliases and (said := registry.attention(row)) is not None
    }
    begin = next((place for place, row in enumerate(rows, 1) if row.version == cursor), 0)
    page = rows[begin : begin + limit]
    more = len(rows) > begin + limit
    return Models(
        items=[_version(row) for row in page],
        next=page[-1].version if more else None,
        serving=serving,
        attention=attention,
    )


@router.post("/{name}/promote", summary="Let a version serve", responses=problems(409))
async def post_promotion(name: Name, wish: Promotion, me: Caller, here: ServicesHere) -> Serving:
    """Only one that the gate has let pass, against what serves now; otherwise 409, with its objections. With
    the role `analyst` or `admin`; otherwise 404. The Matcher swaps with no request dropped.
    """
    async with here.pool.acquire() as connection, connection.transaction():
        await _admit(connection, me, MOVERS)
        row = await registry.find(connection, name, wish.version)
        if row is None:
            raise not_found()
        now = await registry.champion(connection, name)
        verdict = row.metrics.get("verdict")
        if verdict is None:
            raise _objecting("The gate has not judged this version: evaluate it first.", ["no verdict"])
        serving = BASELINE if now is None else now.version
        against = verdict.get("against", serving)
        if serving not in (against, wish.version):
            raise _objecting(
                "The gate judged this version against another than serves now: evaluate it again.",
                [f"judged against {against}, {serving} serves"],
            )
        if not verdict.get("promote"):
            raise _objecting(
                "The gate does not let this version pass.",
                verdict.get("objections") or ["it is not better than what serves"],
            )
        try:
            await registry.promote(connection, name, wish.version, verdict, moved_by=me.user)
        except RegistryError as error:
            raise _objecting("This version can't serve.", [str(error)]) from None
        if serving != wish.version:
            before = (await registry.moves(connection, name))[-1].from_version or BASELINE
            if before != against:  # somebody was quicker; raising takes this move back
                raise _objecting("Another version serves by now: evaluate again.", [f"{before} served"])
    return Serving(name=name, version=wish.version)


@router.post("/{name}/rollback", summary="Back to what served before", responses=problems(409))
async def post_rollback(name: Name, me: Caller, here: ServicesHere) -> Serving:
    """Asked twice it goes back twice, at last to the baseline; then 409. With the role `analyst` or `admin`;
    otherwise 404.
    """
    async with here.pool.acquire() as connection, connection.transaction():
        await _admit(connection, me, MOVERS)
        if name not in await registry.names(connection):
            raise not_found()
        try:
            version = await registry.rollback(connection, name, moved_by=me.user)
        except RegistryError as error:
            raise _objecting("There is no way back.", [str(error)]) from None
    return Serving(name=name, version=version)


def _objecting(detail: str, objections: list[str]) -> Refusal:
    faults = [Fault("gate", str(each)[:200]) for each in objections[:20]]
    return Refusal(ErrorCode.NOT_AVAILABLE, detail, faults=faults)
