"""How a process reaches virtual actors: the Directory's view, a link to each shard, requests and replies.

A request waits while its shard is down (bounded, 5 s) and is sent again after the shard is back, in the
order of asking, where a second arrival does no harm. A publication without an idempotency key is not:
its caller gets a temporary error instead.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from actors import messages as wire
from actors.link import Link, address_of, dial, dial_until
from actors.messages import Message, Request
from actors.placement import SLOTS, slot_of
from actors.protocol import EngineError, ErrorCode
from storage.ids import new_id

PENDING_LIMIT = 10_000
"""Requests without an answer per shard; past it callers get 120."""

REQUEST_TIMEOUT_S = 5.0
MOVED_RETRY_S = 0.05
_SWEEP_S = 0.25

Callback = Callable[[Any, EngineError | None], None]
"""Called once with (reply, None) or (None, error)."""

_EMPTY_VIEW = wire.View(version=0, addresses={}, owners=[0] * SLOTS, epochs=[0] * SLOTS, gateways={})


@dataclass(frozen=True)
class RouterConfig:
    """Who this process is. `address` is what others may dial: a shard's link, a gateway's WebSocket URL."""

    run_dir: str
    role: str
    name: str
    address: str = ""


@dataclass(slots=True)
class _Pending:
    message: Request
    slot: int
    done: Callback
    deadline_s: float


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
        self._shards: dict[int, _ShardLink] = {}
        self._known_epochs: list[int] = [0] * SLOTS
        self._directory = _DirectoryLink(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_rid = 1
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
            link = self._shard_link(shard)
        if len(link.pending) >= PENDING_LIMIT:
            done(None, EngineError(ErrorCode.OVERLOADED, "too many requests wait for this shard", 500))
            return
        rid = self._next_rid
        self._next_rid = rid + 1
        message.rid = rid
        deadline_s = asyncio.get_running_loop().time() + REQUEST_TIMEOUT_S
        link.pending[rid] = _Pending(message, slot, done, deadline_s)
        if link.ready:
            link.link.send(message)

    def cast(self, kind: str, key: str, message: Request) -> None:
        """Sends `message` without wanting a reply. Lost while the shard is down."""
        shard = self.view.owners[slot_of(kind, key)]
        if self.local is not None and self.local[0] == shard:
            self.local[1](message, _ignore)
            return
        link = self._shards.get(shard) or self._shard_link(shard)
        message.rid = 0
        if link.ready:
            link.link.send(message)

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
        link = self._shard_link(shard)
        rid = self._next_rid
        self._next_rid = rid + 1
        message = wire.Refresh(rid, kind, key)

        def done(_: Any, __: EngineError | None) -> None:
            if not future.done():
                future.set_result(None)

        deadline_s = asyncio.get_running_loop().time() + REQUEST_TIMEOUT_S
        link.pending[rid] = _Pending(message, self.view.owners.index(shard), done, deadline_s)
        if link.ready:
            link.link.send(message)
        await future

    # -- views -------------------------------------------------------------------------------------

    def adopt_view(self, view: wire.View) -> None:
        """Takes a view of the Directory unless a newer one is known."""
        if view.version <= self.view.version:
            return
        self.view = view
        for shard in view.addresses:
            self._shard_link(shard).view_changed()
        self.on_view(view)
        if self.local is not None:
            self.announce_moves(self.local[0])
        self._viewed.set()

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

    def _shard_link(self, shard: int) -> "_ShardLink":
        link = self._shards.get(shard)
        if link is None:
            link = self._shards[shard] = _ShardLink(self, shard)
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


class _DirectoryLink:
    """The link to the Directory: says who we are, receives views, comes back when it is cut."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._link: Link | None = None
        self._lost = asyncio.Event()

    async def run(self) -> None:
        config = self._router.config
        while True:
            self._lost.clear()
            self._link = await dial_until(lambda: address_of(config.run_dir, "directory"), self)
            self._link.send(wire.Hello(config.role, config.name, self._router.incarnation, config.address))
            await self._lost.wait()

    def close(self) -> None:
        if self._link is not None:
            self._link.abort()

    def link_opened(self, link: Link) -> None:
        pass

    def link_received(self, link: Link, view_version: int, messages: list[Message]) -> None:  # noqa: ARG002
        for message in messages:
            if isinstance(message, wire.View):
                self._router.adopt_view(message)

    def link_closed(self, link: Link) -> None:  # noqa: ARG002 - there is one
        self._lost.set()


class _ShardLink:
    """The link to one shard, and the requests that wait for it."""

    def __init__(self, router: Router, shard: int) -> None:
        self._router = router
        self._shard = shard
        self.pending: dict[int, _Pending] = {}
        self.link: Link
        self.ready = False
        self._changed = asyncio.Event()

    async def run(self) -> None:
        router, config = self._router, self._router.config
        while True:
            self._changed.clear()
            self.link = await dial_until(lambda: router.view.addresses.get(self._shard), self)
            self.link.send(wire.Hello(config.role, config.name, router.incarnation))
            # A shard that was just killed may still be in the view, and its successor in none yet: what is
            # asked for is sent when the view names the activation that answers, see `link_received`.
            await self._changed.wait()

    def view_changed(self) -> None:
        if self.ready:
            self.link.view_version = self._router.view.version

    def close(self) -> None:
        if self.ready:
            self.link.abort()
        self._fail_all(lambda _: True, EngineError(ErrorCode.INTERNAL, "this process is stopping"))

    def expire(self, now_s: float) -> None:
        late = [rid for rid, pending in self.pending.items() if pending.deadline_s <= now_s]
        for rid in late:
            self.pending.pop(rid).done(None, EngineError(ErrorCode.INTERNAL, "no answer in time", 1000))

    def _fail_all(self, which: Callable[[_Pending], bool], error: EngineError) -> None:
        for rid in [rid for rid, pending in self.pending.items() if which(pending)]:
            self.pending.pop(rid).done(None, error)

    # Endpoint

    def link_opened(self, link: Link) -> None:
        pass

    def link_received(self, link: Link, view_version: int, messages: list[Message]) -> None:  # noqa: ARG002
        router, pending = self._router, self.pending
        for message in messages:
            kind = type(message)
            if kind is wire.Reply:
                waiting = pending.pop(message.rid, None)  # type: ignore[union-attr]
                if waiting is not None:
                    waiting.done(message.ok, None)  # type: ignore[union-attr]
            elif kind is wire.Failure:
                self._failed(message)  # type: ignore[arg-type]
            elif kind is wire.View:
                # The shard answers Hello with the view it serves under: from here on it is the owner.
                router.adopt_view(message)  # type: ignore[arg-type]
                self._serve_from_now(link)
            else:
                router.on_push(message)  # type: ignore[arg-type]

    def _serve_from_now(self, link: Link) -> None:
        self.ready = True
        link.view_version = self._router.view.version
        self._router.announce_moves(self._shard)
        for waiting in list(self.pending.values()):
            link.send(waiting.message)

    def _failed(self, message: wire.Failure) -> None:
        waiting = self.pending.get(message.rid)
        if waiting is None:
            return
        if message.code == ErrorCode.MOVED:
            # The slot has another owner: hand the request to it. Bounded by the request's deadline.
            del self.pending[message.rid]
            owner = self._router.shard_of(waiting.slot)
            target = self._router._shard_link(owner)  # noqa: SLF001 - the same module's
            target.pending[message.rid] = waiting
            if target is not self:
                target.send_again(message.rid)
            else:
                asyncio.get_running_loop().call_later(MOVED_RETRY_S, self.send_again, message.rid)
            return
        del self.pending[message.rid]
        waiting.done(None, EngineError(ErrorCode(message.code), message.message, message.retry_ms))

    def send_again(self, rid: int) -> None:
        """Sends a request that still waits, if its shard can be reached; else it goes out when it can."""
        waiting = self.pending.get(rid)
        if waiting is not None and self.ready:
            self.link.send(waiting.message)

    def link_closed(self, link: Link) -> None:  # noqa: ARG002 - there is one
        self.ready = False
        self._router.forget_epochs(self._shard)
        self._fail_all(
            lambda waiting: isinstance(waiting.message, wire.Publish) and not waiting.message.cid,
            EngineError(ErrorCode.INTERNAL, "the shard went away; whether this was stored is not known", 500),
        )
        self._changed.set()


async def fetch_status(run_dir: str, timeout_s: float = 3.0) -> dict[str, Any]:
    """Slots, epochs and message counts per shard, asked of the running processes.

    Returns {"view": int, "gateways": {name: url}, "shards": {number: {...}}}; a shard that does not answer
    has {"up": false}. Raises OSError if no Directory listens.
    """
    probe = _Probe()
    link = await dial(address_of(run_dir, "directory"), probe)
    link.send(wire.Hello("probe", "status", new_id()))
    async with asyncio.timeout(timeout_s):
        view = await probe.first(wire.View)
    link.abort()
    shards: dict[str, Any] = {}
    for shard in sorted(set(view.owners)):
        slots = sum(1 for owner in view.owners if owner == shard)
        shards[str(shard)] = {"up": False, "slots": slots}
        address = view.addresses.get(shard)
        if address is None:
            continue
        with suppress(OSError, TimeoutError):
            probe = _Probe()
            link = await dial(address, probe)
            link.send(wire.Hello("probe", "status", new_id()))
            link.send(wire.StatusQuery(1))
            async with asyncio.timeout(timeout_s):
                reply = await probe.first(wire.Reply)
            shards[str(shard)] |= {"up": True, **reply.ok}
            link.abort()
    return {"view": view.version, "gateways": view.gateways, "shards": shards}


class _Probe:
    """An endpoint that waits for the first message of a type."""

    def __init__(self) -> None:
        self._received: asyncio.Queue[Message] = asyncio.Queue()

    async def first(self, kind: type[Any]) -> Any:
        while True:
            message = await self._received.get()
            if isinstance(message, kind):
                return message

    def link_opened(self, link: Link) -> None:
        pass

    def link_received(self, link: Link, view_version: int, messages: list[Message]) -> None:  # noqa: ARG002
        for message in messages:
            self._received.put_nowait(message)

    def link_closed(self, link: Link) -> None:
        pass


def internal_channels(subscribed: Iterable[str], slots: set[int]) -> list[str]:
    """Those of the channels whose actor lives in one of `slots`."""
    return [channel for channel in subscribed if slot_of(*owner_of(channel)) in slots]


def owner_of(channel: str) -> tuple[str, str]:
    """The (kind, key) of the virtual actor that owns an internal channel."""
    if channel.startswith("presence:"):
        channel = channel.removeprefix("presence:")
    if channel.startswith("room:"):
        return "room", channel.removeprefix("room:")
    _, _, user = channel.partition("@")
    return "user", user.partition("#")[0]
