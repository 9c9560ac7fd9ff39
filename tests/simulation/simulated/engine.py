"""The processes of a simulated engine: the real Directory, shards, and gateways without sockets."""

import asyncio
from typing import TYPE_CHECKING, Any

from simulated.database import Slots
from simulated.loop import Process

from actors.directory import Directory, DirectoryConfig
from actors.router import Router, RouterConfig
from actors.shard import Shard, ShardConfig
from serve_app.hub import Hub
from serve_app.tick import Tick
from storage.postgres import UNREACHABLE

if TYPE_CHECKING:
    from simulated.client import Socket
    from simulated.world import World


RETRY_S = 0.2


class VirtualShard(Shard):
    """Its clock is the world's."""

    def now_ms(self) -> int:
        loop: Any = asyncio.get_running_loop()
        return int(loop.wall_s() * 1000)


class DirectoryProcess:
    """One life of the Directory."""

    def __init__(self, world: "World") -> None:
        self.process = Process("directory")
        self.directory: Directory = self.process.run(
            Directory,
            DirectoryConfig(world.run_dir, "", world.shards_at_start),
            Slots(world.database),
        )
        self.directory.on_deposed = lambda: world.directory_ended(self)
        self.process.spawn(self._start())

    async def _start(self) -> None:
        """As the Directory's actor does."""
        while True:
            try:
                await self.directory.start()
            except UNREACHABLE:
                await asyncio.sleep(RETRY_S)
            else:
                return


class ShardProcess:
    """One life of a shard."""

    def __init__(self, world: "World", number: int) -> None:
        self.process = Process(f"shard-{number}")
        self.number = number
        self.shard: VirtualShard = self.process.run(VirtualShard, ShardConfig(world.run_dir, "", "", number))
        self.shard.on_replaced = self.process.kill
        self.process.spawn(self._start())

    async def _start(self) -> None:
        """As the shard's actor does."""
        while True:
            try:
                await self.shard.start()
            except UNREACHABLE:
                await asyncio.sleep(RETRY_S)
            else:
                return


class Gateway:
    """One life of a gateway: router and hub, as the gateway's service puts them together."""

    def __init__(self, world: "World", name: str) -> None:
        self.process = Process(name)
        self.sockets: list[Socket] = []
        self.router: Router
        self.hub: Hub
        self.is_ready = False
        self.process.run(self._build, world)
        self.process.spawn(self._start())

    def _build(self, world: "World") -> None:
        self.router = Router(
            RouterConfig(world.run_dir, "gateway", self.process.name, f"ws://{self.process.name}")
        )
        self.hub = Hub(self.router, Tick(world.loop.time))
        self.router.on_push = self.hub.pushed
        self.router.on_slots_moved = self.hub.slots_moved

    async def _start(self) -> None:
        await self.router.start()
        self.is_ready = True
