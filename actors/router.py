"""How a process reaches virtual actors: the Directory's view, a link to each shard, requests and replies.

A request waits while its shard is down (bounded, 5 s) and is sent again after the shard is back, in the
order of asking, where a second arrival does no harm. A publication without an idempotency key is not:
its caller gets a temporary error instead.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from actors import messages as wire
from actors.link import Link
from actors.messages import Message, Request
from actors.metrics import count
from actors.placement import SLOTS, slot_of
from actors.protocol import EngineError, ErrorCode
from actors.router_links import Callback, DirectoryLink, Pending, RouterConfig, ShardLink
from actors.router_moves import REQUEST_TIMEOUT_S, SlotMoves, ignore
from storage.ids import new_id

__all__ = ["Callback", "Router", "RouterConfig"]

PENDING_LIMIT = 10_000
"""Requests without an answer per shard; past it callers get 120."""

HOLDS_TIMEOUT_S = 1.0
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
        self.on_unrelayed: Callable[[wire.Unrelayed], None] = lambda _: None
        """A shard's: another one could not pass on what it was to."""
        self.on_slots_moved: Callable[[set[int]], None] = lambda _: None
        """These slots have a new activation that answers now: subscribe again, announce again."""
        self.on_view: Callable[[wire.View, wire.View], None] = lambda _, __: None
        """(The view before, the new one.)"""
        self.on_directory: Callable[[Link, Message], None] = lambda _, __: None
        """A shard's: what else the Directory says, and the link to answer on."""
        self.on_directory_found: Callable[[], None] = lambda: None
        """A new link to the Directory brought its first view."""
        self.moves = SlotMoves(self)
        self.accepts: Callable[[wire.View], bool] = lambda _: True
        """A shard's: whether a view knows of this process; one from before says nothing of its slots."""
        self.local: tuple[int, Callable[[Request, Callback], None]] | None = None
        """A shard's: (its number, how to hand a request to itself)."""
        self._shards: dict[int, ShardLink] = {}
        self._known_epochs: list[int] = [0] * SLOTS
        self._directory = DirectoryLink(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_rid = 1
        self._loop_s: Callable[[], float] = time.monotonic
        self._heard_of = 0
        self._viewed = asyncio.Event()

    async def start(self) -> None:
        """Connects to the Directory and returns when its first view is here."""
        self._loop_s = asyncio.get_running_loop().time
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
        self.call_at(slot_of(kind, key), message, done)

    def call_at(self, slot: int, message: Request, done: Callback) -> None:
        """As `call`, where the actor's slot is known."""
        if slot in self.moves.holds:
            message.rid = self.next_rid()
            self.moves.hold(message, slot, done)
            return
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
        deadline_s = self._loop_s() + REQUEST_TIMEOUT_S
        link.pending[rid] = Pending(message, slot, done, deadline_s)
        link.send(message)

    def cast(self, kind: str, key: str, message: Request) -> None:
        """Sends `message` without wanting a reply. Lost if the shard goes away; waits for one that is not
        there yet.
        """
        self.cast_at(slot_of(kind, key), message)

    def cast_at(self, slot: int, message: Request) -> None:
        """As `cast`, where the actor's slot is known."""
        message.rid = 0
        if slot in self.moves.holds:
            self.moves.hold(message, slot, ignore)
            return
        shard = self.view.owners[slot]
        if self.local is not None and self.local[0] == shard:
            self.local[1](message, ignore)
            return
        link = self._shards.get(shard) or self.shard_link(shard)
        if link.ready:
            link.send(message)
        elif len(link.pending) < PENDING_LIMIT:
            link.put(Pending(message, slot, ignore, asyncio.get_running_loop().time() + REQUEST_TIMEOUT_S))

    def put(self, waiting: Pending) -> None:
        """Sends to the slot's owner what was sent before, to another."""
        shard = self.view.owners[waiting.slot]
        if self.local is not None and self.local[0] == shard:
            self.local[1](waiting.message, waiting.done)
        else:
            self.shard_link(shard).put(waiting)

    def next_rid(self) -> int:
        """A number for a request."""
        rid = self._next_rid
        self._next_rid = rid + 1
        return rid

    def now_s(self) -> float:
        """The event loop's time."""
        return asyncio.get_running_loop().time()

    def tell_directory(self, message: wire.Load | wire.Pulse) -> None:
        """Sends `message` to the Directory. Lost while it is away."""
        self._directory.send(message)

    def tell(self, shard: int, message: wire.Told | wire.RegionNews | wire.Mates) -> None:
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
                if kind == "fences":
                    shards = sorted(self.view.addresses)
                    await asyncio.gather(*(self._refresh_shard(shard, kind, key) for shard in shards))
                else:
                    await self.request(kind, key, wire.Refresh(0, kind, key))

    async def _refresh_shard(self, shard: int, kind: str, key: str) -> None:
        """Every shard keeps an index of all fences, so each is told."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        link = self.shard_link(shard)
        rid = self.next_rid()
        message = wire.Refresh(rid, kind, key)

        def done(_: Any, __: EngineError | None) -> None:
            if not future.done():
                future.set_result(None)

        link.pending[rid] = Pending(message, -1, done, asyncio.get_running_loop().time() + REQUEST_TIMEOUT_S)
        link.send(message)
        await future

    # -- views -------------------------------------------------------------------------------------

    def adopt_view(self, view: wire.View) -> None:
        """Takes a view of the Directory unless a newer one is known."""
        if view.version <= self.view.version or not self.accepts(view):
            return
        before, self.view = self.view, view
        count("view_changes")
        for shard in view.addresses:
            self.shard_link(shard).view_changed()
        self.moves.view_changed(before, -1 if self.local is None else self.local[0])
        self.on_view(before, view)
        if before.owners != view.owners or before.epochs != view.epochs:
            self.report(range(SLOTS))
        self._viewed.set()

    def heard_of(self, version: int) -> None:
        """A peer's frame carries the version of its view: one that is newer is asked for (ACT-3)."""
        if version > self.view.version and version > self._heard_of:
            self._heard_of = version
            self._directory.ask()

    @property
    def is_behind(self) -> bool:
        """Whether somebody knows a newer view."""
        return self._heard_of > self.view.version

    def announce_moves(self, shard: int) -> None:
        """A shard answers from now on: reports its slots that are new to us."""
        owners = self.view.owners
        self.report(slot for slot in range(SLOTS) if owners[slot] == shard)

    def report(self, slots: Iterable[int]) -> None:
        """Reports those of `slots` whose epoch is new to us and whose shard answers. Where a slot was handed
        over, its new owner may hold our subscriptions already: it is asked first. Not where it had an owner
        between that we did not hear of: what that one pushed may not have come.
        """
        known, view = self._known_epochs, self.view
        handed = set(view.handed)
        moved: set[int] = set()
        ask: dict[int, set[int]] = {}
        for slot in slots:
            epoch, shard = view.epochs[slot], view.owners[slot]
            if known[slot] == epoch or slot in self.moves.holds or not self._answers(shard):
                continue
            if known[slot] + 1 == epoch and slot in handed and (self.local is None or shard != self.local[0]):
                ask.setdefault(shard, set()).add(slot)
            else:
                moved.add(slot)
            known[slot] = epoch
        if moved:
            self.on_slots_moved(moved)
        for shard, some in ask.items():
            self._ask_what_it_holds(shard, some)

    def distrust(self, slots: Iterable[int]) -> None:
        """Something that was sent may be lost: these are reported, whatever the new owner holds."""
        for slot in slots:
            self._known_epochs[slot] = 0

    def knows(self, slots: Iterable[int]) -> None:
        """The shard here was handed these slots whole: nothing of them begins anew."""
        for slot in slots:
            self._known_epochs[slot] = self.view.epochs[slot]

    def _answers(self, shard: int) -> bool:
        if self.local is not None and self.local[0] == shard:
            return True
        link = self._shards.get(shard)
        return link is not None and link.ready

    def _ask_what_it_holds(self, shard: int, slots: set[int]) -> None:
        def told(held: Any, error: EngineError | None) -> None:
            missing = slots - set(held) if error is None else slots
            if missing:
                self.on_slots_moved(missing)

        query = wire.HoldsQuery(0, self.view.version, sorted(slots))
        self._shards[shard].query(query, told, self.now_s() + HOLDS_TIMEOUT_S)

    def known_link(self, shard: int) -> ShardLink | None:
        """The link to another shard, if there ever was one."""
        return self._shards.get(shard)

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
            self.moves.expire(now_s)
            for link in self._shards.values():
                link.expire(now_s)
