"""Gateways that keep sessions in a real Valkey."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from serve_app.roster import Roster
from serve_app.sessions import Sessions
from storage.live_sessions import notices_of
from storage.positions import open_valkey

Open = Callable[..., Awaitable[Any]]


@pytest.fixture
async def opens(open_gateway: Open, valkey_url: str) -> AsyncIterator[Open]:
    """Gateways that keep sessions."""
    running: list[tuple[Any, list[asyncio.Task[None]]]] = []

    async def open_one(url: str = valkey_url, **limits: Any) -> Any:
        gateway = await open_gateway(**limits)
        valkey = open_valkey(url)
        sessions = Sessions(valkey, gateway.router.incarnation, gateway.around.limits, gateway.clock)
        gateway.around = replace(gateway.around, sessions=sessions)
        gateway.roster = Roster(gateway.around)
        sessions.on_notice["taken"] = gateway.roster.noticed
        running.append((valkey, [asyncio.create_task(work) for work in (sessions.run(), sessions.listen())]))
        if url == valkey_url:
            async with asyncio.timeout(5):
                while not dict(await valkey.pubsub_numsub(notices_of(sessions.gateway)))[
                    notices_of(sessions.gateway).encode()
                ]:
                    await asyncio.sleep(0.001)
        return gateway

    yield open_one
    for valkey, tasks in running:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await valkey.aclose()


@pytest.fixture
async def two(opens: Open) -> tuple[Any, Any]:
    return await opens(), await opens()
