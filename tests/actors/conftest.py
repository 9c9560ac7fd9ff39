"""A small engine in one process: Directory and shards over real links, real Postgres and Valkey."""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
from crowd import Crowd

from actors import messages as wire
from actors import probe
from actors.directory import Directory, DirectoryConfig
from actors.router import Router, RouterConfig
from actors.shard import Shard, ShardConfig
from serve_app import takeover
from storage.ids import new_id
from storage.positions import open_valkey

PLACES_KEY = "5a" * 32


@dataclass
class SmallEngine:
    """Two shards, a Directory and a gateway's router; `pushes` is what the gateway was sent."""

    run_dir: str
    database_url: str
    valkey_url: str
    pool: Any
    directory: Directory
    shards: dict[int, Shard]
    router: Router
    pushes: list[Any] = field(default_factory=list)

    async def person(self, audience: str = "everyone") -> str:
        user = new_id()
        await self.pool.execute(
            "INSERT INTO users (id, handle, birth_date, visibility_audience) VALUES ($1, $2, $3, $4)",
            user, f"u{user[-12:]}", date(1990, 1, 1), audience,
        )  # fmt: skip
        return user

    async def room(self, *members: str, durability: str = "durable") -> str:
        room = new_id()
        await self.pool.execute(
            "INSERT INTO rooms (id, name, kind, durability, owner_id, epoch)"
            " VALUES ($1, 'r', 'group', $2, $3, $4)",
            room, durability, members[0], secrets.token_hex(8),
        )  # fmt: skip
        for member in members:
            await self.pool.execute(
                "INSERT INTO room_members (room_id, user_id) VALUES ($1, $2)", room, member
            )
        return room

    async def subscribe(self, ch: str, user: str, conn: str | None = None, **given: Any) -> dict[str, Any]:
        mode = "map" if ch.startswith(("near", "presence", "share")) else "stream"
        message = wire.Subscribe(0, ch, user, conn or new_id(), "phone", 1, mode=mode)
        for name, value in given.items():
            setattr(message, name, value)
        return await self.ask(message)

    async def publish(self, room: str, user: str, text: str, cid: str = "", ack: str = "durable") -> Any:
        d = b'{"text":"%s"}' % text.encode()
        return await self.ask(wire.Publish(0, f"room:{room}", user, "c", d, cid, ack))

    async def ask(self, message: Any) -> Any:
        from actors.placement import addressee  # noqa: PLC0415

        return await self.router.request(*addressee(message), message)

    def tell(self, slots: set[int]) -> None:
        """As a gateway does that holds nothing else: its rows are complete."""
        view = self.router.view
        for shard in {view.owners[slot] for slot in slots}:
            own = [slot for slot in slots if view.owners[slot] == shard]
            self.router.tell(shard, wire.Told(own, [view.epochs[slot] for slot in own], 0))

    async def start_shard(self, number: int) -> None:
        shard = Shard(
            ShardConfig(self.run_dir, self.database_url, self.valkey_url, number, places_key=PLACES_KEY)
        )
        await shard.start()
        self.shards[number] = shard

    async def retire_shard(self, number: int) -> None:
        """All its slots are handed to others, then it stops."""
        await probe.ask(self.directory.address, wire.Retire(0, number), timeout_s=20.0)
        await self.shards.pop(number).stop()

    async def sweep(self) -> None:
        """What is done once a second, and what comes of it."""
        for shard in self.shards.values():
            shard._tick()
            await shard.housekeeping.sweep()
        await asyncio.sleep(0.1)

    async def until_quiet(self, count: Any, timeout_s: float = 10.0) -> None:
        """Until what is awaited is nothing."""
        async with asyncio.timeout(timeout_s):
            while await count():
                await asyncio.sleep(0.05)

    async def until_next(self) -> None:
        """A moment."""
        await asyncio.sleep(0.01)

    async def until(self, fact: Any, timeout_s: float = 30.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not fact():
                await asyncio.sleep(0.01)


@pytest.fixture
async def small(database_url: str, pool: Any, valkey_url: str) -> AsyncIterator[SmallEngine]:
    run_dir = tempfile.mkdtemp(prefix="hb-run-")
    directory = Directory(DirectoryConfig(run_dir, database_url, 2))
    await directory.start()
    router = Router(RouterConfig(run_dir, "gateway", "g1", "ws://test"))
    engine = SmallEngine(run_dir, database_url, valkey_url, pool, directory, {}, router)
    router.on_push = engine.pushes.append
    router.on_slots_moved = engine.tell
    await engine.start_shard(0)
    await engine.start_shard(1)
    await router.start()
    yield engine
    await router.stop()
    for shard in engine.shards.values():
        await shard.stop()
    await directory.stop()
    shutil.rmtree(run_dir)


@pytest.fixture
async def valkey(valkey_url: str) -> Any:
    """Emptied: an epoch of another test's database means nothing in this one's."""
    client = open_valkey(valkey_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def crowd(small: SmallEngine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Crowd]:
    """People on real gateways of the small engine, with shards whose clock a test moves."""
    monkeypatch.setattr(takeover, "PRESENCE_SETTLES_S", 1.0)
    gathered = Crowd(small)
    await gathered.restart_shards()
    yield gathered
    await gathered.stop()
