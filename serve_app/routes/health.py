"""Alive, and ready (docs/protocol.md §6)."""

import asyncio
from collections.abc import Awaitable
from typing import Literal

from fastapi import APIRouter, Response

from actors.protocol import ErrorCode
from serve_app.errors import Refusal
from serve_app.gate import ServicesHere
from serve_app.schemas import Answer, problems
from serve_app.services import Services

router = APIRouter(tags=["operations"])

CHECK_S = 2.0


class Alive(Answer):
    """The process answers."""

    status: Literal["alive"] = "alive"
    version: str


class Ready(Answer):
    """Everything that requests need is there."""

    status: Literal["ready"] = "ready"
    checks: dict[str, bool]


@router.get("/healthz", summary="Is the process alive")
async def get_healthz(here: ServicesHere, response: Response) -> Alive:
    """Says nothing of what it depends on."""
    response.headers["Cache-Control"] = "no-store"
    return Alive(version=here.config.version)


@router.get("/readyz", summary="Can it serve", responses=problems(503))
async def get_readyz(here: ServicesHere, response: Response) -> Ready:
    """503 while draining, or while something that requests need is away; `checks` says what."""
    checks = await check(here)
    if not all(checks.values()):
        raise Refusal(ErrorCode.INTERNAL, "Not ready.", retry_ms=1000, more={"checks": checks})
    response.headers["Cache-Control"] = "no-store"
    return Ready(checks=checks)


async def check(here: Services) -> dict[str, bool]:
    """Each dependency and whether it is there."""
    database, valkey = await asyncio.gather(
        _answers(here.pool.fetchval("SELECT 1")), _answers(here.valkey.ping())
    )
    view = here.router.view
    return {
        "serving": not here.draining,
        "database": database,
        "valkey": valkey,
        "sign_in": here.can_sign_in,
        "shards": bool(view.version) and set(view.owners) <= set(view.addresses),
        "gateway": any(view.gateways.values()),
    }


async def _answers(question: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(CHECK_S):
            await question
    except Exception:  # noqa: BLE001 - whatever it is, it is not there
        return False
    return True
