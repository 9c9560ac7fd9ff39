"""The gateway: a process with a WebSocket listener of its own (decision D4).

Clients come to `ws://host:port/rt` (picows) or, where one port must do, to `/rt` on Serve's port. Both end
in the same session, hub and router. The first gateway is a Serve replica, which is what Serve's port leads
to; the others are plain Ray actors (docs/decisions/0120). Only `build_gateway` imports Ray.
"""

import asyncio
import logging
import os
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
from fastapi import FastAPI, WebSocket
from starlette.types import ASGIApp, Receive, Scope, Send

from actors import metrics
from actors.collector import spare_the_collector
from actors.metrics_export import Exporter
from actors.router import Router, RouterConfig
from actors.site import Site
from identity.keys import ReloadingVerifier
from serve_app.control import Control
from serve_app.face import Face
from serve_app.hub import Hub
from serve_app.limits import Limits, limits_of
from serve_app.roster import Roster
from serve_app.transports import asgi, picows
from storage.ids import new_id
from storage.postgres import UNREACHABLE, open_pool

if TYPE_CHECKING:
    from ray.serve import Application

log = logging.getLogger("hereabouts.gateway")

DRAIN_LIMIT_S = 20.0
LINGER_S = 2.0
"""How long the last ones have to answer the close frame."""

HEALTH_CHECK_S = 1.0
_RETRY_S = 0.2
_chance = random.SystemRandom()


@dataclass(frozen=True)
class GatewayConfig:
    """What a gateway needs. `host` and `port` are its own listener's; the gateways of a node share them.
    `number` tells these apart.
    """

    run_dir: str
    host: str
    port: int
    database_url: str
    allowed_origins: tuple[str, ...]
    site: Site
    rate_limits: bool = True
    number: int = 0
    redis_url: str = ""
    connections_per_user: int = 64


class GatewayService:
    """One gateway process: router, hub, sessions, listener. All calls on its event loop."""

    def __init__(self, config: GatewayConfig, limits: Limits | None = None) -> None:
        self.config = config
        self.roster: Roster
        self.router: Router
        self.hub: Hub
        self._limits = limits or limits_of(config.connections_per_user, rate_limits=config.rate_limits)
        self._face: Face
        self._pool: Any = None
        self._server: asyncio.AbstractServer
        self._control: Control

    @property
    def url(self) -> str:
        """Where clients connect."""
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"ws://{host}:{self.config.port}{picows.PATH}"

    async def start(self) -> None:
        """Connects to the Directory, then listens."""
        config = self.config
        self._pool = await open_pool(
            config.database_url, application_name="hereabouts-gateway", max_connections=2
        )
        name = f"{config.site.node}-{config.number}-{new_id()[-6:]}"
        link = RouterConfig(config.run_dir, "gateway", name, self.url, config.site)
        verifier = ReloadingVerifier(self._pool)
        self._face = face = Face(link, verifier, self._limits, config.redis_url, verifier.departed)
        self.router, self.hub, self.roster = face.router, face.hub, face.roster
        await face.start()
        self._server = await picows.listen(
            config.host, config.port, allowed_origins=config.allowed_origins, open_session=self.roster.open
        )
        self._control = Control(self)
        await self._control.listen(config.run_dir, config.number)
        metrics.gauge("sockets", lambda: len(self.roster.sessions))
        metrics.gauge("view_version", lambda: self.router.view.version)
        log.info("listening on %s, loop %s", self.url, type(asyncio.get_running_loop()).__module__)

    async def serve(self, websocket: WebSocket) -> None:
        """A WebSocket that came through Serve's port."""
        await asgi.serve(
            websocket, allowed_origins=self.config.allowed_origins, open_session=self.roster.open
        )

    def status(self) -> dict[str, Any]:
        """For `hereabouts status`."""
        return {
            "pid": os.getpid(),
            "node": self.config.site.node,
            "sockets": len(self.roster.sessions),
            "draining": self.roster.is_draining,
            "view": self.router.view.version,
        }

    async def export_metrics(self) -> None:
        """Runs for ever; only inside a process of Ray's."""
        await Exporter("gateway", f"{self.config.site.node}-{self.config.number}").run()

    def check_health(self) -> None:
        """Raises RuntimeError if this gateway can't do its work."""
        self._face.check_health()

    async def drain(self) -> int:
        """Leaves the view, takes no more sockets and sends everybody away (FAN-5): back when they are gone,
        at most DRAIN_LIMIT_S later, with how many there were.
        """
        if self.roster.is_draining:
            return 0
        self.router.announce("")
        self._server.close()
        count = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_LIMIT_S):
                count = await self.roster.drain(self._elsewhere)
        await self._face.settled()
        await picows.all_gone(LINGER_S)
        return count

    def _elsewhere(self) -> str:
        """Another gateway's URL, if there is one."""
        own = self.router.config.name
        others = [url for name, url in self.router.view.gateways.items() if url and name != own]
        return _chance.choice(others) if others else ""

    async def stop(self) -> None:
        """Drains, and lets everything go."""
        await self.drain()
        await self._control.close()
        await self._face.stop()
        await self._pool.close()


class GatewayActor:
    """The Ray actor around a gateway that is no Serve replica. A failed one ends, and Ray starts it anew."""

    def __init__(self, config: GatewayConfig) -> None:
        spare_the_collector()
        self._service = GatewayService(config)
        self._started = asyncio.get_running_loop().create_task(self._start())
        self._watch = asyncio.get_running_loop().create_task(self._check())
        self._exporting = asyncio.get_running_loop().create_task(self._service.export_metrics())

    async def _start(self) -> None:
        while True:
            try:
                await self._service.start()
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("the gateway can't start yet, trying again: %s", error)
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _check(self) -> None:
        """What Serve does for its replicas."""
        await asyncio.shield(self._started)
        while True:
            await asyncio.sleep(HEALTH_CHECK_S)
            try:
                self._service.check_health()
            except RuntimeError:
                log.exception("this gateway ends, to be started anew")
                os._exit(1)

    async def drain(self) -> int:
        """Sends everybody away: see GatewayService."""
        await asyncio.shield(self._started)
        return await self._service.drain()

    async def ready(self) -> dict[str, Any]:
        """Back when the gateway listens."""
        await asyncio.shield(self._started)
        return {"pid": os.getpid()}


class _RootedAtPrefix:
    """Lets the bare prefix `/rt` reach the route `/`: Serve strips the prefix and leaves an empty path, which
    no route of FastAPI can have.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"] == scope.get("root_path"):
            scope = {**scope, "path": scope["path"] + "/"}
        await self._app(scope, receive, send)


def build_gateway(config: GatewayConfig) -> "Application":
    """The Serve application `hereabouts-gateway`, for route prefix `/rt`."""
    from ray import serve  # noqa: PLC0415 - importing Ray takes a second, and tests do without it

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(_RootedAtPrefix)

    @serve.deployment(
        name="Gateway",
        max_ongoing_requests=100_000,
        ray_actor_options={"num_cpus": 0, **config.site.placement},
        health_check_period_s=HEALTH_CHECK_S,  # how soon a killed one is missed
        health_check_timeout_s=5.0,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=DRAIN_LIMIT_S + 5,
    )
    @serve.ingress(app)
    class Gateway:
        def __init__(self, config: GatewayConfig) -> None:
            spare_the_collector()
            self._service = GatewayService(config)
            self._started = asyncio.get_running_loop().create_task(self._service.start())
            self._exporting = asyncio.get_running_loop().create_task(self._service.export_metrics())

        async def check_health(self) -> None:
            await asyncio.shield(self._started)
            self._service.check_health()

        @app.websocket("/")
        async def rt(self, websocket: WebSocket) -> None:
            await asyncio.shield(self._started)
            await self._service.serve(websocket)

        async def __del__(self) -> None:
            await self._service.stop()

    return Gateway.bind(config)  # type: ignore[attr-defined,no-any-return]
