"""The Directory: which shard owns each slot, under which epoch, and where gateways are (ACT-3, ACT-4).

Its state is in Postgres; this process serves views of it over links and can be killed at any time: the
others go on with the view they have and come back to its successor.
"""

import asyncio
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from actors import messages as wire
from actors.link import Link, Listener, listen
from actors.messages import Message
from actors.metrics import gauge
from actors.metrics_export import Exporter
from actors.site import HERE, Site, address_of
from storage import slots
from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.directory")

_RETRY_S = 0.2


@dataclass(frozen=True)
class DirectoryConfig:
    """What the Directory needs: where to listen, its database, and how many shards there are to be."""

    run_dir: str
    database_url: str
    shards: int
    site: Site = HERE


@dataclass(slots=True)
class _Peer:
    hello: wire.Hello


class Directory:
    """Serves views. Changes are applied one at a time, in the order they were heard of."""

    def __init__(self, config: DirectoryConfig) -> None:
        self._config = config
        self._pool: asyncpg.Pool
        self._server: Listener
        self._links: set[Link] = set()
        self._stopping = False
        self._peers: dict[Link, _Peer] = {}
        self._ownership: slots.Ownership
        self._addresses: dict[int, str] = {}
        self._gateways: dict[str, str] = {}
        self._changes: asyncio.Queue[tuple[Link, wire.Hello | None]] = asyncio.Queue()
        self._worker: asyncio.Task[None]

    async def start(self) -> None:
        """Reads the map, spreads the slots over the shards, and listens."""
        self._pool = await asyncpg.create_pool(self._config.database_url, min_size=1, max_size=2)
        async with self._pool.acquire() as connection:
            self._ownership = await slots.spread_slots(connection, self._config.shards)
        self._worker = asyncio.get_running_loop().create_task(self._apply_changes())
        config = self._config
        address = config.site.directory or address_of(config.run_dir, "directory")
        self._server = await listen(address, self, config.site)

    def view(self) -> wire.View:
        """The newest view."""
        own = self._ownership
        return wire.View(own.version, dict(self._addresses), own.owners, own.epochs, dict(self._gateways))

    # Endpoint

    def link_opened(self, link: Link) -> None:
        self._links.add(link)
        if self._stopping:
            link.abort()

    def link_received(self, link: Link, view_version: int, messages: list[Message]) -> None:  # noqa: ARG002
        for message in messages:
            if isinstance(message, wire.Hello):
                self._changes.put_nowait((link, message))
            elif isinstance(message, wire.ViewQuery):
                link.send(self.view())

    def link_closed(self, link: Link) -> None:
        self._links.discard(link)
        self._changes.put_nowait((link, None))

    async def _apply_changes(self) -> None:
        while True:
            link, hello = await self._changes.get()
            while True:
                try:
                    await self._apply(link, hello)
                    break
                except (asyncpg.PostgresError, *UNREACHABLE) as error:
                    log.warning("the database does not answer, trying again: %s", error)
                    await asyncio.sleep(_RETRY_S)

    async def _apply(self, link: Link, hello: wire.Hello | None) -> None:
        if hello is None:
            peer = self._peers.pop(link, None)
            if peer is None or not self._forget(peer.hello):
                return
        else:
            if not link.is_open:
                return
            self._peers[link] = _Peer(hello)
            if hello.role not in ("shard", "gateway"):
                link.send(self.view())
                return
        async with self._pool.acquire() as connection:
            if hello is not None and hello.role == "shard":
                shard = int(hello.name)
                self._ownership = await slots.admit_shard(connection, shard, hello.incarnation, hello.address)
                self._addresses[shard] = hello.address
            else:
                if hello is not None:
                    self._gateways[hello.name] = hello.address
                version = await slots.raise_version(connection)
                own = self._ownership
                self._ownership = slots.Ownership(version, own.owners, own.epochs)
        view = self.view()
        for peer_link in self._peers:
            peer_link.send(view)

    def _forget(self, hello: wire.Hello) -> bool:
        """Whether the view changes with this peer gone: a successor may have announced itself already."""
        if any(p.hello.role == hello.role and p.hello.name == hello.name for p in self._peers.values()):
            return False
        if hello.role == "shard":
            return self._addresses.pop(int(hello.name), None) is not None
        if hello.role == "gateway":
            return self._gateways.pop(hello.name, None) is not None
        return False

    async def stop(self) -> None:
        """Stops listening and lets the database go."""
        self._stopping = True
        self._server.close()
        for link in list(self._links):
            link.abort()
        self._worker.cancel()
        with suppress(asyncio.CancelledError):
            await self._worker
        await self._pool.close()


class DirectoryActor:
    """The Ray actor around a Directory. Ray restarts it; state is in Postgres."""

    def __init__(self, config: DirectoryConfig) -> None:
        self._directory = Directory(config)
        self._started = asyncio.get_running_loop().create_task(self._start())
        self._exporting = asyncio.get_running_loop().create_task(Exporter("directory", "0").run())

    async def _start(self) -> None:
        while True:
            try:
                await self._directory.start()
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("the Directory can't start yet, trying again: %s", error)
                await asyncio.sleep(_RETRY_S)
            else:
                gauge("view_version", lambda: self._directory.view().version)
                return

    async def ready(self) -> dict[str, Any]:
        """Back when views are served."""
        await asyncio.shield(self._started)
        return {"pid": os.getpid(), "view": self._directory.view().version}
