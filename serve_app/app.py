"""The HTTP application: built once, put on Ray Serve or driven in a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute

from serve_app.body_limit import BodyLimit
from serve_app.errors import HANDLED, answer_exception
from serve_app.matching import Matching, NoMatcher, ServeMatcher
from serve_app.openapi import openapi
from serve_app.routes import (
    auth,
    cells,
    connections,
    decisions,
    fences,
    health,
    matches,
    me,
    messages,
    models,
    own_positions,
    page,
    places,
    positions,
    preferences,
    readings,
    realtime,
    recommendations,
    rooms,
    shares,
    users,
)
from serve_app.services import ApiConfig, Services
from serve_app.tracing import Tracing

__all__ = ["ApiConfig", "build_api", "build_app"]

_ROUTERS = (
    auth, me, users, connections, decisions, preferences, matches, recommendations, rooms, messages, readings,
    fences, shares, places, own_positions, models, positions, cells, realtime, health, page,
)  # fmt: skip


def build_app(config: ApiConfig, matcher: Matching | None = None) -> FastAPI:
    """The application; its lifespan opens and closes what it works with. Without a `matcher`, routes that
    need one answer 503. Raises ValueError for a configuration that must not run.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.services = await Services.open(config, matcher or NoMatcher())
        yield
        await app.state.services.close()

    app = FastAPI(
        version=config.version,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
    )
    for module in _ROUTERS:
        app.include_router(module.router)
    for kind in HANDLED:
        app.add_exception_handler(kind, answer_exception)
    app.add_middleware(BodyLimit)
    if config.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.allowed_origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-Match", "Rt-Stream", "traceparent"],
            expose_headers=["ETag", "Location", "RateLimit", "RateLimit-Policy", "Retry-After"],
            max_age=600,
        )
    app.add_middleware(Tracing)
    app.openapi = lambda: openapi(app)  # type: ignore[method-assign]
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


def build_api(config: ApiConfig) -> Any:
    """The Serve application with the deployment `Api`. Ray is imported here and nowhere above."""
    from ray import serve  # noqa: PLC0415

    config.__post_init__()

    def build() -> FastAPI:
        return build_app(config, ServeMatcher(config.site))

    ingress = serve.ingress(build)()
    deployment = serve.deployment(
        name="Api",
        max_ongoing_requests=1000,
        health_check_period_s=1.0,
        health_check_timeout_s=3.0,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=10.0,
        ray_actor_options={"num_cpus": 0, **config.site.placement},
    )(ingress)
    return deployment.bind()
