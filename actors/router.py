"""How a process reaches virtual actors: the Directory's view, a link to each shard, requests and replies.

A request waits while its shard is down (bounded, 5 s) and is sent again after the shard is back, in the
order of asking, where a second arrival does no harm. A publication without an idempotency key is not:
its caller gets a temporary error instead.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from actors import messages as wire
from actors.messages import Request
from actors.metrics import count
from actors.placement import SLOTS, slot_of
from actors.protocol import EngineError, ErrorCode
from actors.router_links import Callback, DirectoryLink, Pending, RouterConfig, ShardLink
from storage.ids import new_id

__all__ = ["Callback", "Router", "RouterConfig"]

PENDING_LIMIT = 10_000
"""Requests without an answer per shard; past it callers get 120."""

REQUEST_TIMEOUT_S = 5.0
_SWEEP_S = 0.25

_EMPTY_VIEW = wire.View(version=0, addresses={}, owners=[0] * SLOTS, epochs=[0] * SLOTS, gateways={})


class Router:
    """Requests to virtual actors by (kind, key). One per process; all calls on its event loop."""

    def __init__(self, config: RouterConfig) -> None:
        self.config = config
        self.incarnation = new_id()
        self.view = _EMPTY_VIEW
        self.on_push: Callable[[wire.Pushed], None] = lambda _: None
        """A gateway's: pushes, in the order that the shard sent them."""
        self.on_slots_moved: Callable[[set[int]], None] = lambda _: None
        """These slots have a new activation that answers now: subscribe again, announce again."""
        self.on_view: Callable[[wire.View], None] = lambda _: None
        self.local: tuple[int, Callable[[Request, Callback], None]] | None = None
        """A shard's: (its number, how to hand a request to itself)."""
        self._shards: dict[int, ShardLink] = {}
        self._known_epochs: list[int] = [0] * SLOTS
        self._directory = DirectoryLink(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_rid = 1
        self._asked_for = 0
        self._viewed = asyncio.Event()

    async def start(self) -> None:
        """Connects to the Directory and returns when its first view is here."""
        self._spawn(self._directory.run())
        self._spawn(self._sweep())
        await self._viewed.wait()

    async def stop(self) -> None:
        """Drops the links; whoever still waits for a reply gets a temporary error."""
        for task in self._tasks:
            task.cancel()
        for task in list(self._tasks):
            with suppress(asyncio.CancelledError):
                await task
        self._directory.close()
        for shard in self._shards.values():
            shard.close()

    def listens_at(self, address: str) -> None:
        """What others may dial, once it is known."""
        self.config = replace(self.config, address=address)

    def announce(self, address: str) -> None:
        """Tells the Directory another address of ours; a gateway that takes no more clients has none."""
        self.listens_at(address)
        self._directory.say_hello()

    def shard_of(self, slot: int) -> int:
        """The shard that owns `slot` in the newest view."""
        return self.view.owners[slot]

    def epoch_of(self, slot: int) -> int:
        """The slot's epoch in the newest view."""
        return self.view.epochs[slot]

    def call(self, kind: str, key: str, message: Request, done: Callback) -> None:
        """Sends `message` to the virtual actor; `done` is called once, from the event loop."""
        slot = slot_of(kind, key)
        shard = self.view.owners[slot]
        if self.local is not None and self.local[0] == shard:
            self.local[1](message, done)
            return
        link = self._shards.get(shard)
        if link is None:
            link = self.shard_link(shard)
        if len(link.pending) >= PENDING_LIMIT:
            done(None, EngineError(ErrorCode.OVERLOADED, "too many requests wait for this shard", 500))
            return
        rid = self._next_rid
        self._next_rid = rid + 1
        message.rid = rid
        deadline_s = asyncio.get_running_loop().time() + REQUEST_TIMEOUT_S
        link.pending[rid] = Pending(message, slot, done, deadline_s)
        link.send(message)

    def cast(self, kind: str, key: str, message: Request) -> None:
        """Sends `message` without wanting a reply. Lost while the shard is down."""
        shard = self.view.owners[slot_of(kind, key)]
        if self.local is not None and self.local[0] == shard:
            self.local[1](message, _ignore)
            return
        link = self._shards.get(shard) or self.shard_link(shard)
        message.rid = 0
        link.send(message)

    def tell(self, shard: int, message: wire.Told) -> None:
        """Sends `message` to a shard itself, behind what its actors were sent. Lost while it is down."""
        self.shard_link(shard).send(message)

    async def request(self, kind: str, key: str, message: Request) -> Any:
        """As `call`, awaited. Raises EngineError."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(reply: Any, error: EngineError | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(reply)
            else:
                future.set_exception(error)

        self.call(kind, key, message, done)
        return await future

    async def refresh(self, kind: str, key: str) -> None:
        """Tells an actor that what it caches has changed; back when it has read it. Best effort: an actor
        that can't be reached reads anew when it activates, and is notified by Postgres as well.
        """
        with suppress(EngineError, TimeoutError):
            async with asyncio.timeout(1.0):
                if kind == "fence":
                    shards = sorted(set(self.view.owners))
                    await asyncio.gather(*(self._refresh_shard(shard, kind, key) for shard in shards))
                else:
                    await self.request(kind, key, wire.Refresh(0, kind, key))

    async def _refresh_shard(self, shard: int, kind: str, key: str) -> None:
        """Every shard keeps an index of all fences, so each is told."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        link = self.shard_link(shard)
        rid = self._next_rid
        self._next_rid = rid + 1
        message = wire.Refresh(rid, kind, key)

        def done(_: Any, __: EngineError | None) -> None:
            if not future.done():
                future.set_result(None)

        deadline_s = asyncio.get_running_loop().time() + REQUEST_TIMEOUT_S
        link.pending[rid] = Pending(message, self.view.owners.index(shard), done, deadline_s)
        link.send(message)
        await future

    # -- views -------------------------------------------------------------------------------------

    def adopt_view(self, view: wire.View) -> None:
        """Takes a view of the Directory unless a newer one is known."""
        if view.version <= self.view.version:
            return
        self.view = view
        count("view_changes")
        for shard in view.addresses:
            self.shard_link(shard).view_changed()
        self.on_view(view)
        if self.local is not None:
            self.announce_moves(self.local[0])
        self._viewed.set()

    def heard_of(self, version: int) -> None:
        """A peer's frame carries the version of its view: one that is newer is asked for (ACT-3)."""
        if version > self.view.version and version > self._asked_for:
            self._asked_for = version
            self._directory.ask()

    def announce_moves(self, shard: int) -> None:
        """Reports the slots of `shard` whose epoch is new to us, once the shard can be reached."""
        known, view = self._known_epochs, self.view
        moved = {s for s in range(SLOTS) if view.owners[s] == shard and known[s] != view.epochs[s]}
        if moved:
            for slot in moved:
                known[slot] = view.epochs[slot]
            self.on_slots_moved(moved)

    def forget_epochs(self, shard: int) -> None:
        """A cut link took our subscriptions with it: report the shard's slots again when it is back."""
        for slot in range(SLOTS):
            if self.view.owners[slot] == shard:
                self._known_epochs[slot] = 0

    def shard_link(self, shard: int) -> "ShardLink":
        link = self._shards.get(shard)
        if link is None:
            link = self._shards[shard] = ShardLink(self, shard)
            if self.local is None or self.local[0] != shard:
                self._spawn(link.run())
        return link

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_S)
            now_s = loop.time()
            for link in self._shards.values():
                link.expire(now_s)


def _ignore(_: Any, __: EngineError | None) -> None:
    pass
