"""What the routes of one Api process work with, opened and closed with it."""

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import redis.asyncio as redis
from fastapi import Request

from actors.router import Router, RouterConfig
from actors.site import HERE, Site
from identity.accounts import Accounts
from identity.keys import ReloadingVerifier, SealBrokenError, ensure_signing_key
from identity.passwords import Passwords
from identity.places import PlaceBook
from identity.seals import Seal
from identity.secrets import derive
from identity.trails import TrailBook
from serve_app.errors import unavailable
from serve_app.events import Events
from serve_app.limits import limits_of
from serve_app.matching import Matching
from serve_app.throttle import Throttle
from storage.outbox import Touch
from storage.positions import open_valkey
from storage.postgres import UNREACHABLE, open_pool

_RETRY_S = 0.5

log = logging.getLogger("hereabouts.api")


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """What an Api process is told by whoever starts it.

    `secret_key` seals the signing keys and derives the refresh tokens. `gateway_url` is the WebSocket URL
    that clients are given while the Directory names no gateway; `fallback_url` the one on Serve's port.
    """

    run_dir: str
    database_url: str
    redis_url: str
    secret_key: str
    mode: str = "development"
    gateway_url: str = ""
    fallback_url: str = ""
    access_token_s: float = 600.0
    privacy_k: int = 1
    erase_grace_s: float = 1_209_600.0
    allowed_origins: tuple[str, ...] = ()
    rate_limits: bool = True
    version: str = "0"
    connections_per_user: int = 64
    site: Site = HERE

    def __post_init__(self) -> None:
        if self.mode == "production" and not self.rate_limits:
            raise ValueError("production mode does not run without rate limits")


@dataclass(slots=True)
class Services:
    """Opened by `open`; whatever is away then is tried again until it is there."""

    config: ApiConfig
    pool: Any
    valkey: redis.Redis
    router: Router
    passwords: Passwords
    verifier: ReloadingVerifier
    throttle: Throttle
    events: Events
    places: PlaceBook
    trails: TrailBook
    matcher: Matching
    draining: bool = False
    _accounts: Accounts | None = None
    _starting: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def open(cls, config: ApiConfig, matcher: Matching) -> "Services":
        """Begins to work at once; the Directory and the signing key are waited for beside it."""
        pool = await open_pool(config.database_url, application_name="hereabouts-api")
        verifier = ReloadingVerifier(pool)
        limits = limits_of(config.connections_per_user, rate_limits=config.rate_limits)
        services = cls(
            config,
            pool,
            open_valkey(config.redis_url),
            Router(RouterConfig(run_dir=config.run_dir, role="api", name="api", site=config.site)),
            Passwords(),
            verifier,
            Throttle(off=not config.rate_limits),
            Events(config.run_dir, config.site, verifier, limits, config.redis_url),
            PlaceBook(Seal(derive(config.secret_key, "places"))),
            TrailBook(Seal(derive(config.secret_key, "places"))),
            matcher,
        )
        services._starting = [
            asyncio.create_task(services.router.start()),
            asyncio.create_task(services._prepare_accounts()),
            asyncio.create_task(matcher.run()),
        ]
        return services

    async def close(self) -> None:
        """Stops taking part; requests under way have ended by now."""
        self.draining = True
        for task in self._starting:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.events.stop()
        await self.router.stop()
        self.passwords.close()
        await self.valkey.aclose()
        try:
            async with asyncio.timeout(5.0):
                await self.pool.close()
        except TimeoutError:
            self.pool.terminate()

    @property
    def accounts(self) -> Accounts:
        """Raises a temporary Refusal until the signing key could be read."""
        if self._accounts is None:
            raise unavailable()
        return self._accounts

    @property
    def can_sign_in(self) -> bool:
        """The signing key is here."""
        return self._accounts is not None

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time(), UTC)

    async def refresh(self, touches: Iterable[Touch]) -> None:
        """After a commit: the touched actors read anew before the answer goes out, so that who wrote reads
        it. Best effort and at most a second; the transaction's NOTIFY is what they can count on.
        """
        if self.router.view.version == 0:
            return  # no Directory, so no actor that could hold anything
        await asyncio.gather(*(self.router.refresh(kind, key) for kind, key in sorted(set(touches))))

    async def _prepare_accounts(self) -> None:
        while self._accounts is None:
            try:
                key = await ensure_signing_key(self.pool, self.config.secret_key)
                self._accounts = Accounts(
                    self.pool,
                    self.passwords,
                    key,
                    self.config.secret_key,
                    access_token_s=self.config.access_token_s,
                )
            except SealBrokenError as error:
                log.error("nobody can sign in: %s", error)  # noqa: TRY400 - where it came from is no news
                await asyncio.sleep(10 * _RETRY_S)
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("can't read the signing key yet: %s", type(error).__name__)
                await asyncio.sleep(_RETRY_S)


async def services(request: Request) -> Services:
    """The process's services, as a dependency of routes: async, or FastAPI takes it to a thread."""
    found: Services = request.app.state.services
    return found
