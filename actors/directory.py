"""The Directory: which shard owns each slot, under which epoch, and where gateways are (ACT-3, ACT-4).

Its state is in a store (storage/slots.py); this process serves views of it over links and can be killed at
any time: the others go on with the view they have and come back to its successor. Changes are made one at
a time, in this Directory's term; once another one has taken office it stops serving. Shards come and go:
slots of one that is gone are given to the others (`grace_s` after its link closed), slots move to one that
has come by hand-off (mover.py).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import asyncpg

from actors import messages as wire
from actors.balance import adopted
from actors.link import Link, Listener, listen
from actors.messages import Message
from actors.metrics import count
from actors.mover import Mover
from actors.protocol import ErrorCode
from actors.pulses import HUNG_AFTER_S, PULSE_S, Pulses
from actors.site import HERE, Site, address_of
from storage.postgres import UNREACHABLE
from storage.slots import (
    Assignment,
    DeposedError,
    Ownership,
    PostgresSlots,
    ReplacedError,
    SlotStore,
    StaleEpochError,
)

__all__ = ["Directory", "DirectoryConfig"]

log = logging.getLogger("hereabouts.directory")

T = TypeVar("T")

_RETRY_S = 0.2
ASSIGN_TIMEOUT_S = 2.0
TERM_CHECK_S = 1.0
"""How soon a Directory that was replaced notices if it has nothing to change."""


@dataclass(frozen=True)
class DirectoryConfig:
    """What the Directory needs: where to listen, its database, and among how many shards the slots of a new
    engine are spread.
    """

    run_dir: str
    database_url: str
    shards: int
    site: Site = HERE
    grace_s: float = 0.3
    """So long after its link closed a shard's slots wait for it."""
    start_grace_s: float = 1.5
    """So long after the first shard came to a new Directory the slots of the others wait for them."""
    hung_after_s: float = HUNG_AFTER_S
    """A shard that is silent for so long has lost its slots, though its link is open."""


class Directory:
    """Serves views. All calls on its event loop."""

    def __init__(self, config: DirectoryConfig, store: SlotStore | None = None) -> None:
        self._config = config
        self.store = store
        self.term = 0
        self.ownership: Ownership
        self.shards: dict[int, Link] = {}
        """Shards that are there, by number."""
        self._server: Listener | None = None
        self._links: set[Link] = set()
        self._stopping = False
        self.on_deposed: Callable[[], None] = lambda: None
        """Called when another term has begun. Whoever keeps this process starts it anew: the term may be of
        a Directory that died while it was being written.
        """
        self._peers: dict[Link, wire.Hello] = {}
        self._gateways: dict[str, str] = {}
        """Shard → the newest process that said it is this shard."""
        self._admitted: dict[int, str] = {}
        self._handed: dict[int, int] = {}
        """Slot → the epoch under which it was given by hand-off."""
        self._lost_at_s: dict[int, float] = {}
        self._first_shard_at_s: float | None = None
        self._changes: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()
        self._pulses: Pulses[Link] = Pulses(config.hung_after_s)
        self.mover = Mover(self)

    @property
    def address(self) -> str:
        """Where this Directory is dialled."""
        return self._config.site.directory or address_of(self._config.run_dir, "directory")

    async def start(self) -> None:
        """Takes office, and listens."""
        await self.take_office()
        self._server = await listen(self.address, self, self._config.site)

    async def take_office(self) -> None:
        """Begins a new term: every earlier Directory's changes fail from here on."""
        if self.store is None:
            self.store = await PostgresSlots.open(self._config.database_url)
        self.term, self.ownership = await self.store.take_office(self.address, self._config.shards)
        self._tasks = [
            self._loop.create_task(work)
            for work in (self._apply_changes(), self._check_term(), self._watch_pulses(), self.mover.run())
        ]

    def view(self) -> wire.View:
        """The newest view."""
        own = self.ownership
        addresses = {shard: self._peers[link].address for shard, link in self.shards.items()}
        handed = [slot for slot, epoch in self._handed.items() if own.epochs[slot] == epoch]
        return wire.View(
            own.version, addresses, own.owners, own.epochs, dict(self._gateways), handed,
            own.incarnations,
        )  # fmt: skip

    # -- links ------------------------------------------------------------------------------------

    def link_opened(self, link: Link) -> None:
        self._links.add(link)
        if self._stopping:
            link.abort()

    def link_received(self, link: Link, view_version: int, messages: list[Message]) -> None:  # noqa: ARG002
        for message in messages:
            if isinstance(message, wire.Hello):
                self._soon(partial(self._arrived, link, message))
            elif isinstance(message, wire.ViewQuery):
                link.send(self.view())
            elif isinstance(message, wire.Retire):
                self._soon(partial(self._retire, link, message))
            elif isinstance(message, wire.Reply | wire.Failure):
                self.mover.answered(message)
            elif isinstance(message, wire.Pulse):
                self._pulses.heard(link, self._loop.time())
            elif isinstance(message, wire.Load):
                self.mover.reported(message)

    def link_closed(self, link: Link) -> None:
        self._links.discard(link)
        self._pulses.forget(link)
        self._soon(partial(self._left, link))

    # -- changes, one at a time -------------------------------------------------------------------

    def _soon(self, work: Callable[[], Awaitable[None]]) -> None:
        self._changes.put_nowait(work)

    async def _apply_changes(self) -> None:
        while True:
            work = await self._changes.get()
            is_stale = False
            while True:
                try:
                    if is_stale:
                        self.ownership = await self._known_store.read()
                        self.publish()
                        is_stale = False
                    await work()
                    break
                except DeposedError:
                    log.warning("another Directory is in office; this one, of term %d, ends", self.term)
                    self._resign()
                    self.on_deposed()
                    return
                except StaleEpochError:
                    is_stale = True  # it had been made, and only the answer was cut off: see what is
                except (asyncpg.PostgresError, *UNREACHABLE) as error:
                    is_stale = True
                    log.warning("the database does not answer, trying again: %s", error)
                    await asyncio.sleep(_RETRY_S)

    @property
    def _known_store(self) -> SlotStore:
        assert self.store is not None
        return self.store

    async def _arrived(self, link: Link, hello: wire.Hello) -> None:
        if link not in self._links:
            return
        self._peers[link] = hello
        if hello.role == "shard":
            shard = int(hello.name)
            try:
                self.ownership = await self._known_store.admit_shard(
                    self.term, shard, hello.incarnation, hello.address
                )
            except ReplacedError:
                # The process learns from the view that it is not the shard any more, and ends.
                self.ownership = await self._known_store.read()
                self.publish()
                return
            self.shards[shard] = link
            self._lost_at_s.pop(shard, None)
            is_new = self._admitted.get(shard) != hello.incarnation
            self._admitted[shard] = hello.incarnation
            self.mover.arrived(shard, is_new=is_new)
            if self._first_shard_at_s is None:
                self._first_shard_at_s = self._loop.time()
                self._loop.call_later(self._config.start_grace_s, self._soon, self._adopt_orphans)
            self._soon(self._adopt_orphans)
        elif hello.role == "gateway":
            self._gateways[hello.name] = hello.address
            self.ownership = await self._known_store.raise_version(self.term)
        else:
            link.send(self.view())
            return
        self.publish()

    async def _left(self, link: Link) -> None:
        hello = self._peers.pop(link, None)
        if hello is None:
            return
        if hello.role == "shard" and self.shards.get(int(hello.name)) is link:
            shard = int(hello.name)
            del self.shards[shard]
            self._lost_at_s[shard] = self._loop.time()
            self.mover.left(shard)
            self._loop.call_later(self._config.grace_s, self._soon, self._adopt_orphans)
        elif hello.role == "gateway" and not any(
            each.role == "gateway" and each.name == hello.name for each in self._peers.values()
        ):
            self._gateways.pop(hello.name, None)
        else:
            return
        self._soon(self._renew)

    async def _renew(self) -> None:
        """A change by itself: the one that asks for it is done when the store must be asked again."""
        self.ownership = await self._known_store.raise_version(self.term)
        self.publish()

    async def _adopt_orphans(self) -> None:
        """Gives the slots of shards that are gone to those that are there."""
        takers = self.mover.takers()
        if not takers or self._first_shard_at_s is None:
            return
        now_s = self._loop.time()
        started_s = self._first_shard_at_s + self._config.start_grace_s - self._config.grace_s
        gone = {
            shard
            for shard in set(self.ownership.owners) - self.shards.keys()
            if self._lost_at_s.get(shard, started_s) + self._config.grace_s <= now_s + 0.001
        }
        own = self.ownership
        orphans = {slot for slot, shard in enumerate(own.owners) if shard in gone}
        if not orphans:
            return
        taken = adopted(own.owners, orphans, takers)
        log.warning("%d slots of shards %s are taken over", len(orphans), sorted(gone))
        await self._assign(
            {slot: Assignment(shard, own.epochs[slot]) for slot, shard in taken.items()}, handed=False
        )
        count("takeovers", len(orphans))
        self.mover.changed()

    async def _retire(self, link: Link, message: wire.Retire) -> None:
        def done(error: str) -> None:
            if error:
                link.send(wire.Failure(message.rid, ErrorCode.NOT_AVAILABLE, error))
            else:
                link.send(wire.Reply(message.rid, {}))

        self.mover.retire(message.shard, done)

    async def assign(self, assignments: dict[int, Assignment], *, handed: bool, limit_s: float) -> None:
        """Moves slots and publishes the view, after the changes that wait already, or does nothing: when a
        slot's epoch is another by now, or at loop time `limit_s`. What became of it stands in `ownership`.
        """
        done: asyncio.Future[None] = self._loop.create_future()

        async def work() -> None:
            epochs = self.ownership.epochs
            as_planned = all(epochs[slot] == wanted.epoch for slot, wanted in assignments.items())
            if as_planned and self._loop.time() < limit_s:
                await self._assign(assignments, handed=handed)
            if not done.done():
                done.set_result(None)

        self._soon(work)
        await done

    async def _assign(self, assignments: dict[int, Assignment], *, handed: bool) -> None:
        for slot, wanted in assignments.items():
            if handed:
                self._handed[slot] = wanted.epoch + 1
            else:
                self._handed.pop(slot, None)
        async with asyncio.timeout(ASSIGN_TIMEOUT_S):
            self.ownership = await self._known_store.assign(self.term, assignments)
        self.publish()

    def publish(self) -> None:
        """Sends the newest view to everybody."""
        view = self.view()
        for link in self._peers:
            link.send(view)

    async def _watch_pulses(self) -> None:
        while True:
            await asyncio.sleep(PULSE_S)
            for link in self._pulses.silent(self._loop.time()):
                log.warning("a shard is silent: its slots go to others")
                count("hung_shards")
                self._pulses.forget(link)
                link.abort()

    # -- terms ------------------------------------------------------------------------------------

    async def _check_term(self) -> None:
        while True:
            await asyncio.sleep(TERM_CHECK_S)
            with suppress(asyncpg.PostgresError, *UNREACHABLE):
                if await self._known_store.current_term() != self.term:
                    self._soon(self._depose)

    async def _depose(self) -> None:
        raise DeposedError

    @property
    def is_deposed(self) -> bool:
        """Whether another Directory has taken office, so that this one serves nobody."""
        return self._stopping

    def _resign(self) -> None:
        """Serves nobody from here on: its peers find the Directory that is in office."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.abort()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def stop(self) -> None:
        """Stops listening and lets the store go."""
        self._resign()
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if self.store is not None:
            await self.store.close()
