"""Where the WebSocket is (docs/protocol.md §1)."""

import random
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response
from pydantic import ConfigDict
from starlette.types import Receive, Scope, Send

from serve_app.errors import not_found
from serve_app.gate import ServicesHere, anybody
from serve_app.origins import origin_allowed
from serve_app.schemas import Answer, problems
from serve_app.transports.picows import FRAME_LIMIT_BYTES
from serve_app.transports.sse import EventStream

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


StreamName = Annotated[
    str,
    Header(
        alias="Rt-Stream",
        min_length=1,
        max_length=128,
        description="The name that the stream's first event gave",
    ),
]


class _Events(Response):
    """An answer that goes on for as long as its session."""

    media_type = "text/event-stream"

    def __init__(self, stream: EventStream) -> None:
        super().__init__()
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._stream(scope, receive, send)


@router.get(
    "/rt/sse",
    summary="The protocol's way down where WebSocket is blocked",
    status_code=200,
    response_class=_Events,
    responses=problems(503),
)
async def get_rt_sse(here: ServicesHere, request: Request) -> Response:
    """Server-sent events. No token needed: `connect` goes the way up. See docs/protocol.md §1."""
    if not origin_allowed(
        request.headers.get("origin"), request.headers.get("host"), here.config.allowed_origins
    ):
        raise not_found()
    return _Events(await here.events.open())


@router.post(
    "/rt/emit",
    summary="Its way up: what a WebSocket message would hold",
    status_code=202,
    response_class=Response,
    responses=problems(404, 413, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
async def post_rt_emit(here: ServicesHere, request: Request, stream: StreamName) -> Response:
    """One or more frames in JSON, separated by newlines. Replies come as events."""
    payload = await request.body()
    if len(payload) > FRAME_LIMIT_BYTES:
        raise HTTPException(413)
    await here.events.emit(stream, payload)
    return Response(status_code=202)


@router.delete(
    "/rt/sse",
    summary="Goodbye",
    status_code=204,
    response_class=Response,
    responses=problems(404, 503),
)
async def delete_rt_sse(here: ServicesHere, stream: StreamName) -> Response:
    """The session ends, as with a WebSocket's close 1000."""
    await here.events.leave(stream)
    return Response(status_code=204)


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
