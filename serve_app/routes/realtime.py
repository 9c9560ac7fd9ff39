"""Where the WebSocket is (docs/protocol.md §1)."""

import random
from typing import Literal

from fastapi import APIRouter, Depends, Response
from pydantic import ConfigDict

from serve_app.gate import ServicesHere, anybody
from serve_app.schemas import Answer, problems

router = APIRouter(
    prefix="/v1", tags=["real time"], responses=problems(429, 500), dependencies=[Depends(anybody)]
)

_chance = random.SystemRandom()


class RealTime(Answer):
    """`url` is a gateway's own listener, `fallback` the same protocol on this port."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "url": "ws://127.0.0.1:8001/rt",
                    "fallback": "ws://127.0.0.1:8000/rt",
                    "protocols": ["rt.v1.json", "rt.v1.msgpack"],
                }
            ]
        }
    )

    url: str
    fallback: str
    protocols: list[Literal["rt.v1.json", "rt.v1.msgpack"]]


@router.get("/rt", summary="Where the WebSocket is")
async def get_rt(here: ServicesHere, response: Response) -> RealTime:
    """No token needed. Ask again before each reconnection: gateways come and go."""
    gateways = sorted(url for url in here.router.view.gateways.values() if url)
    response.headers["Cache-Control"] = "no-store"
    return RealTime(
        url=_chance.choice(gateways) if gateways else here.config.gateway_url,
        fallback=here.config.fallback_url,
        protocols=["rt.v1.json", "rt.v1.msgpack"],
    )
