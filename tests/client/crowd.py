"""People on several real gateways of a small engine, over real sockets; time that a test moves."""

import socket
import time
from typing import Any

from rt_client.connection import Connection

from actors.shard import Shard, ShardConfig
from actors.site import Site
from identity.keys import ensure_signing_key
from identity.tokens import issue_access_token
from serve_app.gateway import GatewayConfig, GatewayService

Meta = dict[str, Any]


class LaterShard(Shard):
    """A shard whose clock a test moves forward."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + LaterShard.ahead_ms


class Watcher:
    """Follows presence of a room, or of matches, strictly: what a diff says must fit what was said before."""

    def __init__(self, connection: Connection, room: str = "") -> None:
        self.connection = connection
        self.ch = f"presence:room:{room}" if room else "presence:matches"
        self.metas: dict[str, Meta] = {}
        self.history: list[tuple[str, str]] = []
        self._n = 0

    async def begin(self) -> "Watcher":
        self.connection.on_frame = self._took
        reply = await self.connection.sub(self.ch)
        assert self._n == reply["n"]
        return self

    def _took(self, frame: dict[str, Any]) -> None:
        sub = frame.get("sub")
        if isinstance(sub, dict) and sub.get("ch") == self.ch:
            self._n = sub["n"]
            self.metas |= {meta["ref"]: meta for meta in sub.get("state", [])}
        if sub is None and frame.get("p") != self._n:
            return
        diff = frame if sub is None else sub
        for meta in diff.get("l", []):
            assert meta["ref"] in self.metas, "who leaves was there"
            del self.metas[meta["ref"]]
            self.history.append(("l", meta["ref"]))
        for meta in diff.get("j", []):
            assert meta["ref"] not in self.metas, "who joins was not there"
            self.metas[meta["ref"]] = meta
            self.history.append(("j", meta["ref"]))

    @property
    def refs(self) -> set[str]:
        return set(self.metas)


class Crowd:
    """A room's people, and the gateways that they come through."""

    def __init__(self, small: Any) -> None:
        self.small = small
        self.gateways: list[GatewayService] = []
        self.here: dict[str, tuple[Connection, GatewayService]] = {}
        """Who is in the room: sid → socket and gateway."""
        self.shard_settings: dict[str, Any] = {}
        self._key: Any = None

    async def restart_shards(self) -> None:
        for number, shard in list(self.small.shards.items()):
            await shard.stop()
            await self.start_shard(number)

    async def start_shard(self, number: int) -> None:
        small = self.small
        config = ShardConfig(
            small.run_dir, small.database_url, small.valkey_url, number, **self.shard_settings
        )
        shard = LaterShard(config)
        await shard.start()
        small.shards[number] = shard

    async def open_gateway(self) -> GatewayService:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        small = self.small
        config = GatewayConfig(
            small.run_dir, "127.0.0.1", port, small.database_url, (), Site("n1"), rate_limits=False,
            number=len(self.gateways), redis_url=small.valkey_url, connections_per_user=10_000,
        )  # fmt: skip
        gateway = GatewayService(config)
        await gateway.start()
        self.gateways.append(gateway)
        return gateway

    async def kill(self, gateway: GatewayService) -> None:
        """As SIGKILL: nobody is told anything; sockets and links are gone."""
        gateway._server.close()
        await gateway.router.stop()
        for session in list(gateway.roster.sessions):
            session.connection.transport.abort()
        self.gateways.remove(gateway)
        self.here = {sid: row for sid, row in self.here.items() if row[1] is not gateway}
        await gateway.stop()

    async def connected(
        self, gateway: GatewayService, user: str, device: str = "", **body: Any
    ) -> Connection:
        if self._key is None:
            self._key = await ensure_signing_key(self.small.pool, "secret" * 10)
        connection = await Connection.open(gateway.url)
        token = issue_access_token(self._key, user=user, now_s=time.time())
        if device:
            body["device"] = device
        self.greeting = await connection.connect(token, **body)
        return connection

    async def comes(self, gateway: GatewayService, user: str, room: str) -> str:
        """Somebody is in the room from now on; their sid."""
        connection = await self.connected(gateway, user)
        sid: str = self.greeting["sid"]
        await connection.sub(f"room:{room}")
        self.here[sid] = (connection, gateway)
        return sid

    async def goes(self, sid: str) -> None:
        connection, _ = self.here.pop(sid)
        await connection.close()

    async def watches(self, gateway: GatewayService, user: str, room: str) -> Watcher:
        return await Watcher(await self.connected(gateway, user), room).begin()

    async def stop(self) -> None:
        for connection, _ in self.here.values():
            await connection.close()
        for gateway in list(self.gateways):
            await gateway.stop()
        LaterShard.ahead_ms = 0
