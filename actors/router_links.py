"""A process's links to the Directory and to the shards, and the requests that wait on them."""

import asyncio
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, Protocol

from actors import messages as wire
from actors.link import QUEUE_LIMIT, Link, dial_until
from actors.messages import Message, Request
from actors.metrics import count
from actors.position_messages import OK, RECORD_BYTES, fits, is_ok, refusal
from actors.protocol import EngineError, ErrorCode
from actors.site import HERE, Site, address_of

MOVED_RETRY_S = 0.05

POSITIONS_LIMIT_BYTES = QUEUE_LIMIT * RECORD_BYTES
"""Fixes that wait for a peer that does not read, as other messages do (link.py)."""

_OF_NO_PERSON = frozenset({wire.Publish, wire.Ephemeral})
"""Their order among fixes does not matter; that of a person's own messages does (ACT-6)."""

Callback = Callable[[Any, EngineError | None], None]
"""Called once with (reply, None) or (None, error)."""


@dataclass(frozen=True)
class RouterConfig:
    """Who this process is. `address` is what others may dial: a shard's link, a gateway's WebSocket URL."""

    run_dir: str
    role: str
    name: str
    address: str = ""
    site: Site = HERE

    @property
    def directory(self) -> str:
        """Where the Directory listens."""
        return self.site.directory or address_of(self.run_dir, "directory")


class Routing(Protocol):
    """The router, as its links see it."""

    config: RouterConfig
    incarnation: str
    view: wire.View
    on_push: Callable[[wire.Pushed], None]
    on_unrelayed: Callable[[wire.Unrelayed], None]
    on_directory: Callable[[Link, Message], None]
    on_directory_found: Callable[[], None]

    @property
    def moves(self) -> "Moves":
        """What is held for slots that move."""

    def next_rid(self) -> int:
        """A number for a request."""

    def adopt_view(self, view: wire.View) -> None:
        """Takes a newer view."""

    def heard_of(self, version: int) -> None:
        """Somebody knows this version."""

    def announce_moves(self, shard: int) -> None:
        """The shard answers: reports its slots that are new to us."""

    def forget_epochs(self, shard: int) -> None:
        """The link to a shard was cut."""

    def shard_of(self, slot: int) -> int:
        """The owner of a slot."""

    def shard_link(self, shard: int) -> "ShardLink":
        """The link to a shard."""


class Moves(Protocol):
    """What is held for slots that move (router_moves.py), as links see it."""

    def bounced(self, source: int, message: Request) -> None:
        """A shard gave a message back."""

    def refused(self, waiting: "Pending") -> bool:
        """A shard refused a message of a slot that moves; whether it will be sent again with the others."""


@dataclass(slots=True)
class Pending:
    """A request without its answer."""

    message: Request
    slot: int
    done: Callback
    deadline_s: float


class DirectoryLink:
    """The link to the Directory: says who we are, receives views, comes back when it is cut."""

    def __init__(self, router: Routing) -> None:
        self._router = router
        self._link: Link | None = None
        self._lost = asyncio.Event()
        self._is_new = False

    async def run(self) -> None:
        config = self._router.config
        while True:
            self._lost.clear()
            self._is_new = True
            self._link = await dial_until(lambda: self._router.config.directory, self, config.site)
            self._link.send(self.hello())
            await self._lost.wait()

    def hello(self) -> wire.Hello:
        """Who we are, to the Directory."""
        config = self._router.config
        return wire.Hello(
            config.role, config.name, self._router.incarnation, config.address, config.site.node
        )

    def close(self) -> None:
        if self._link is not None:
            self._link.abort()

    def send(self, message: wire.Load | wire.Pulse) -> None:
        """Sends now, or never."""
        if self._link is not None:
            self._link.send(message)

    def say_hello(self) -> None:
        """Tells the Directory once more who we are, if it can be reached; a new link does so anyway."""
        if self._link is not None:
            self._link.send(self.hello())

    def ask(self) -> None:
        """Asks for the newest view, if the Directory can be reached; a new link brings it anyway."""
        if self._link is not None:
            self._link.send(wire.ViewQuery(0))

    def link_opened(self, link: Link) -> None:
        pass

    def link_received(self, link: Link, view_version: int, messages: list[Message]) -> None:  # noqa: ARG002
        for message in messages:
            if isinstance(message, wire.View):
                self._router.adopt_view(message)
                if self._is_new:
                    self._is_new = False
                    self._router.on_directory_found()
            else:
                self._router.on_directory(link, message)

    def link_closed(self, link: Link) -> None:  # noqa: ARG002 - there is one
        self._lost.set()


class ShardLink:
    """The link to one shard, and the requests that wait for it."""

    def __init__(self, router: Routing, shard: int) -> None:
        self._router = router
        self._shard = shard
        self.pending: dict[int, Pending] = {}
        self.link: Link | None = None
        self.ready = False
        self._changed = asyncio.Event()
        self._positions: wire.Positions | None = None
        self._positions_before = 0

    async def run(self) -> None:
        router, config = self._router, self._router.config
        while True:
            self._changed.clear()
            self.link = link = await dial_until(
                lambda: router.view.addresses.get(self._shard), self, config.site
            )
            link.send(wire.Hello(config.role, config.name, router.incarnation, node=config.site.node))
            # A shard that was just killed may still be in the view, and its successor in none yet: what is
            # asked for is sent when the view names the activation that answers, see `link_received`.
            await self._changed.wait()

    def send(self, message: Request | wire.Told | wire.Relayed | wire.RegionNews | wire.Mates) -> None:
        """Sends now if the shard can be reached; a request that waits goes out when it can."""
        if not self.ready or self.link is None:
            return
        if type(message) is wire.Position and fits(message):
            self._add(self.link, message)
            return
        if type(message) not in _OF_NO_PERSON:
            self._positions = None  # what comes behind it must not overtake it
        self.link.send(message)

    def _add(self, link: Link, position: wire.Position) -> None:
        """Puts a fix with the others of this frame (GEO-4)."""
        batch = self._positions
        if batch is None or self._positions_before != link.flushed:
            batch = self._positions = wire.Positions(bytearray())
            self._positions_before = link.flushed
            link.send(batch)
        elif len(batch.records) >= POSITIONS_LIMIT_BYTES:
            count("drops", len(batch.records) // RECORD_BYTES, reason="link not read")
            link.abort()
            return
        batch.add(position)

    def put(self, waiting: Pending) -> None:
        """Sends, or keeps until the shard can be reached; what wants no reply (`rid` 0) no longer."""
        rid = waiting.message.rid
        if rid or not self.ready:
            self.pending[rid or self._router.next_rid()] = waiting
        self.send(waiting.message)

    def query(
        self,
        message: wire.Barrier | wire.HoldsQuery | wire.Take | wire.RelayFence,
        done: Callback,
        deadline_s: float,
    ) -> None:
        """Asks the shard itself, over this very link."""
        message.rid = self._router.next_rid()
        self.pending[message.rid] = Pending(message, -1, done, deadline_s)
        self.send(message)

    def take_pending(self, slots: Container[int]) -> list[Pending]:
        """Takes back what was sent for these slots and not answered, in order."""
        taken = [rid for rid, waiting in self.pending.items() if waiting.slot in slots]
        return [self.pending.pop(rid) for rid in taken]

    def view_changed(self) -> None:
        if self.link is not None:
            self.link.view_version = self._router.view.version

    def close(self) -> None:
        if self.link is not None:
            self.link.abort()
        self._fail_all(lambda _: True, EngineError(ErrorCode.INTERNAL, "this process is stopping"))

    def expire(self, now_s: float) -> None:
        late = [rid for rid, pending in self.pending.items() if pending.deadline_s <= now_s]
        for rid in late:
            self.pending.pop(rid).done(None, EngineError(ErrorCode.INTERNAL, "no answer in time", 1000))

    def _fail_all(self, which: Callable[[Pending], bool], error: EngineError) -> None:
        for rid in [rid for rid, pending in self.pending.items() if which(pending)]:
            self.pending.pop(rid).done(None, error)

    # Endpoint

    def link_opened(self, link: Link) -> None:
        pass

    def link_received(self, link: Link, view_version: int, messages: list[Message]) -> None:
        router, pending = self._router, self.pending
        router.heard_of(view_version)
        for message in messages:
            kind = type(message)
            if kind is wire.Reply:
                waiting = pending.pop(message.rid, None)  # type: ignore[union-attr]
                if waiting is not None:
                    waiting.done(message.ok, None)  # type: ignore[union-attr]
            elif kind is wire.Failure:
                self._failed(message)  # type: ignore[arg-type]
            elif kind is wire.PositionsTaken:
                self._taken(message)  # type: ignore[arg-type]
            elif kind is wire.Bounced:
                router.moves.bounced(self._shard, message.message)  # type: ignore[union-attr,arg-type]
            elif kind is wire.Unrelayed:
                router.on_unrelayed(message)  # type: ignore[arg-type]
            elif kind is wire.Fence:
                link.send(wire.Reply(message.rid))  # type: ignore[union-attr]
            elif kind is wire.View:
                # The shard answers Hello with the view it serves under: from here on it is the owner.
                router.adopt_view(message)  # type: ignore[arg-type]
                self._serve_from_now(link)
            else:
                router.on_push(message)  # type: ignore[arg-type]

    def _taken(self, message: wire.PositionsTaken) -> None:
        for rid, outcome in message.each():
            waiting = self.pending.pop(rid, None)
            if waiting is not None:
                if is_ok(outcome):
                    waiting.done(OK, None)
                else:
                    waiting.done(None, refusal(outcome))

    def _serve_from_now(self, link: Link) -> None:
        self.ready = True
        link.view_version = self._router.view.version
        for rid, waiting in list(self.pending.items()):
            if not waiting.message.rid:
                del self.pending[rid]
            link.send(waiting.message)
        self._router.announce_moves(self._shard)

    def _failed(self, message: wire.Failure) -> None:
        waiting = self.pending.get(message.rid)
        if waiting is None:
            return
        if message.code == ErrorCode.MOVED:
            # The slot has another owner: hand the request to it. Bounded by the request's deadline.
            del self.pending[message.rid]
            if self._router.moves.refused(waiting):
                return
            owner = self._router.shard_of(waiting.slot)
            target = self._router.shard_link(owner)
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
        if waiting is not None:
            self.send(waiting.message)

    def link_closed(self, link: Link) -> None:  # noqa: ARG002 - there is one
        self.ready = False
        self._positions = None
        self._router.forget_epochs(self._shard)
        self._fail_all(
            lambda waiting: isinstance(waiting.message, wire.Publish) and not waiting.message.cid,
            EngineError(ErrorCode.INTERNAL, "the shard went away; whether this was stored is not known", 500),
        )
        self._fail_all(
            lambda waiting: waiting.slot < 0, EngineError(ErrorCode.INTERNAL, "the shard went away")
        )
        self._changed.set()
