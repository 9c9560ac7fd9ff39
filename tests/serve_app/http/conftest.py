"""The HTTP application in this process, over a real Postgres, a real Valkey and real shards."""

import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI

from actors.directory import Directory, DirectoryConfig
from actors.router import Router, RouterConfig
from actors.shard import Shard, ShardConfig
from identity.accounts import create_ready_users
from identity.keys import ensure_signing_key
from identity.secrets import derive
from identity.tokens import SigningKey, issue_access_token
from serve_app.app import ApiConfig, build_app
from serve_app.matcher import MatcherConfig, MatcherService
from storage.ids import UserId

SECRET = "s" * 43
_numbers = count(1)


@dataclass
class Person:
    """Somebody with a token."""

    user: UserId
    handle: str
    client: httpx.AsyncClient

    async def ask(self, method: str, path: str, json: Any = None, **more: Any) -> httpx.Response:
        if json is not None:
            more["json"] = json
        return await self.client.request(method, path, **more)

    async def get(self, path: str, status: int = 200) -> Any:
        return await self.expect("GET", path, None, status)

    async def post(self, path: str, json: Any, status: int = 201) -> Any:
        return await self.expect("POST", path, json, status)

    async def put(self, path: str, json: Any = None, status: int = 200) -> Any:
        return await self.expect("PUT", path, json, status)

    async def delete(self, path: str, status: int = 204) -> Any:
        return await self.expect("DELETE", path, None, status)

    async def expect(self, method: str, path: str, json: Any, status: int) -> Any:
        answer = await self.ask(method, path, json)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        if status >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
        return answer.json() if answer.content else None

    async def me_stream(self, pool: Any) -> list[str]:
        rows = await pool.fetch(
            "SELECT body::jsonb->>'type' AS type FROM user_events WHERE user_id = $1 AND stream = 'me' "
            'ORDER BY "offset"',
            self.user,
        )
        return [row["type"] for row in rows]


@dataclass
class Town:
    """The application and the people who use it."""

    app: FastAPI
    pool: Any
    key: SigningKey
    stack: AsyncExitStack

    async def person(self, *, audience: str = "everyone", add: str = "everyone") -> Person:
        [(user, handle)] = await create_ready_users(self.pool, 1, f"t{next(_numbers)}")
        await self.pool.execute(
            "UPDATE users SET visibility_audience = $2, who_can_add_me = $3 WHERE id = $1",
            user,
            audience,
            add,
        )
        token = issue_access_token(self.key, user=user, now_s=time.time())
        return Person(user, handle, await self.client(token))

    async def people(self, number: int) -> list[Person]:
        return [await self.person() for _ in range(number)]

    async def client(self, token: str | None = None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(app=self.app)
        return await self.stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)
        )

    async def anybody(self) -> Person:
        return Person(UserId(""), "", await self.client())


@asynccontextmanager
async def opened(config: ApiConfig, pool: Any) -> AsyncIterator[Town]:
    app = build_app(config)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        key = await ensure_signing_key(pool, SECRET)
        yield Town(app, pool, key, stack)


def configured(
    database_url: str, valkey_url: str, run_dir: str = "/tmp/hb-nowhere", **more: Any
) -> ApiConfig:
    given = {"rate_limits": False, "gateway_url": "ws://gateway/rt", "fallback_url": "ws://serve/rt", **more}
    return ApiConfig(
        run_dir=run_dir, database_url=database_url, redis_url=valkey_url, secret_key=SECRET, **given
    )


@pytest.fixture
def open_town(
    database_url: str, valkey_url: str, pool: Any
) -> Callable[..., AbstractAsyncContextManager[Town]]:
    """Opens another application over the same servers, with other settings."""

    def another(**settings: Any) -> AbstractAsyncContextManager[Town]:
        given = {"database_url": database_url, "valkey_url": valkey_url, **settings}
        return opened(configured(**given), pool)

    return another


@pytest.fixture
async def town(database_url: str, valkey_url: str, pool: Any) -> AsyncIterator[Town]:
    """The application without shards: whatever needs none."""
    async with opened(configured(database_url, valkey_url), pool) as made:
        while not made.app.state.services.can_sign_in:
            await made.app.state.services._starting[1]
        yield made


@pytest.fixture
async def engine(database_url: str, valkey_url: str, pool: Any) -> AsyncIterator[Town]:
    """The application with a Directory, a shard and a gateway's announcement."""
    run_dir = tempfile.mkdtemp(prefix="hb-run-")
    directory = Directory(DirectoryConfig(run_dir, database_url, 1))
    await directory.start()
    shard = Shard(
        ShardConfig(run_dir, database_url, valkey_url, 0, places_key=derive(SECRET, "places").hex())
    )
    await shard.start()
    gateway = Router(RouterConfig(run_dir, "gateway", "g1", "ws://127.0.0.1:9/rt"))
    await gateway.start()
    async with opened(configured(database_url, valkey_url, run_dir), pool) as made:
        for task in made.app.state.services._starting:
            await task
        yield made
    await gateway.stop()
    await shard.stop()
    await directory.stop()
    shutil.rmtree(run_dir)


class Beside:
    """The real Matcher, in this process and not yet started."""

    is_full = False

    def __init__(self, database_url: str) -> None:
        self.now_s = 0.0
        self.service = MatcherService(MatcherConfig(database_url), clock_s=lambda: self.now_s)

    async def recommend(
        self, viewer: str, near: list[tuple[str, float]], limit: int, alias: str = "champion"
    ) -> Any:
        return await self.service.recommend(viewer, near, limit, alias)

    async def interest_map(self) -> Any:
        return await self.service.interest_map()


@pytest.fixture
async def beside(database_url: str) -> AsyncIterator[Beside]:
    """For `services.matcher` of an application."""
    matcher = Beside(database_url)
    yield matcher
    await matcher.service.stop()
