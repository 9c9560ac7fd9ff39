"""A shard's part in slots that move: it gives their states away, takes those of others, and lets nothing
that was sent to it meanwhile get lost or out of order (ACT-5).

Giving: the Directory asks to seal slots. People are sealed first, because their turns may wait for regions
and rooms; then the others. A sealed activation ends what is under way and begins nothing; messages wait in
its mailbox. When all is quiet the states go to the target. The view that names the new owner ends the
activations here: their mailboxes are bounced to whoever sent, in order.

Taking: states wait until a view says that the slot was handed over under the epoch they were frozen for.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import asyncpg

from actors import messages as wire
from actors.activation import Activation, LinkAsker, LocalAsker, Stage, Waiting
from actors.effects import NOBODY, Asker
from actors.fanout import FanOut
from actors.host import Host
from actors.link import Link
from actors.messages import Message
from actors.online_host import OnlineHost
from actors.placement import SLOTS, addressee, slot_of
from actors.protocol import EngineError, ErrorCode
from actors.router import Router
from actors.snapshot import PART_BYTES, freeze, thaw
from storage.postgres import UNREACHABLE
from storage.slots import read_ownership

log = logging.getLogger("hereabouts.shard")

QUIET_SOON_S = 0.1
"""After this the slots that are quiet do not wait for the others any longer."""

QUIET_LIMIT_S = 1.2
"""What is not quiet by then is served on, and not handed over this time."""

TRANSFER_LIMIT_S = 1.2
FORGOTTEN_S = 8.0
"""A sealed slot that nobody said anything of for so long: the store is asked whose it is. By then the
Directory has given up (mover.py)."""

KEEP_S = 10.0
"""States that no view speaks of are dropped after this."""

EARLY_LIMIT = 10_000
"""Messages that wait for a view; past it they are refused with 120."""

SLOT_MESSAGES = frozenset({wire.Take, wire.Barrier, wire.HoldsQuery})
"""What shards and routers say to a shard about slots, rather than to an actor."""

_POLL_S = 0.002


class Shard(Protocol):
    """The shard, as this sees it."""

    number: int
    pool: Any
    router: Router
    activations: dict[tuple[str, str], Activation]
    fan_out: FanOut
    online: OnlineHost
    hosts: dict[str, Host]

    def deliver(self, message: wire.Request, asker: Asker, gateway: str) -> None:
        """Gives a message to its virtual actor."""

    def begin(self, activation: Activation) -> None:
        """Loads an activation that waits."""

    def proceed(self, activation: Activation) -> None:
        """Works through its mailbox."""

    def deactivate(self, activation: Activation, error: EngineError | None = None) -> None:
        """Forgets an activation."""

    def now_ms(self) -> int:
        """Unix milliseconds."""

    def spawn(self, work: Any) -> None:
        """Runs work in the background."""


class HandOff:
    """The slots of one shard that come and go."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._loop = asyncio.get_running_loop()
        self._sealed: dict[int, float] = {}
        """Slot → when it was sealed (loop time)."""
        self._closed: set[int] = set()
        """Sealed slots whose people are quiet: nothing in them begins."""
        self._incoming: dict[int, list[tuple[float, wire.Take]]] = {}
        """Slot → its states in parts, each with when it came."""
        self._warm: dict[int, int] = {}
        """Slot → epoch under which it was taken whole."""
        self._changed: set[tuple[str, str]] = set()
        """What changed in Postgres while its state was on the way."""
        self._early: list[Waiting] = []
        self._later: list[tuple[int, Callable[[], None]]] = []
        self.handed_out = 0
        self.taken = 0

    # -- messages ---------------------------------------------------------------------------------

    def holds(self, kind: str, slot: int) -> bool:
        """Whether an activation of this slot must not begin now."""
        return slot in self._closed or (kind == "user" and slot in self._sealed)

    def misplaced(self, waiting: Waiting) -> None:
        """A message for a slot that is not this shard's: it waits if a newer view is on its way, which may
        say otherwise; else it goes back.
        """
        if not self._shard.router.is_behind:
            self._bounce(waiting)
        elif len(self._early) >= EARLY_LIMIT:
            waiting.asker.refuse(EngineError(ErrorCode.OVERLOADED, "too many messages wait for a view", 500))
        else:
            self._early.append(waiting)

    def _bounce(self, waiting: Waiting) -> None:
        asker, message = waiting.asker, waiting.message
        if isinstance(asker, LinkAsker):
            asker.bounce(message)
        elif isinstance(asker, LocalAsker):
            self._shard.router.call(*addressee(message), message, asker.done)
        elif not isinstance(message, wire.RowsTold):
            self._shard.router.cast(*addressee(message), message)

    def asked(self, message: Message, asker: Asker, gateway: str) -> None:
        """One of SLOT_MESSAGES."""
        if isinstance(message, wire.Take):
            if message.part == 0:
                self._incoming[message.slot] = []
            self._incoming.setdefault(message.slot, []).append((self._loop.time(), message))
            asker.answer({})
        elif isinstance(message, wire.Barrier):
            self.when_known(message.version, lambda: asker.answer({}))
        elif isinstance(message, wire.HoldsQuery):
            slots = message.slots
            self.when_known(message.version, lambda: asker.answer(self._held(slots, gateway)))

    def when_known(self, version: int, work: Callable[[], None]) -> None:
        """Does it once a view is known that is at least this new, behind what waited for that view."""
        if self._shard.router.view.version >= version:
            work()
        else:
            self._later.append((version, work))

    def _held(self, slots: Iterable[int], gateway: str) -> list[int]:
        epochs, fan_out = self._shard.router.view.epochs, self._shard.fan_out
        warm = [slot for slot in slots if self._warm.get(slot) == epochs[slot]]
        return [slot for slot in warm if not gateway or gateway in fan_out.tellers(slot)]

    # -- giving -----------------------------------------------------------------------------------

    def told(self, link: Link, message: Message) -> None:
        """The Directory says something else than a view."""
        if isinstance(message, wire.Seal):
            self._shard.spawn(self._give(link, message))
        elif isinstance(message, wire.Unseal):
            self._unseal(message.slots)

    async def _give(self, link: Link, seal: wire.Seal) -> None:
        router = self._shard.router
        now_s = self._loop.time()
        slots = [s for s in seal.slots if router.shard_of(s) == self._shard.number and s not in self._sealed]
        epochs = {slot: router.epoch_of(slot) for slot in slots}
        self._sealed |= dict.fromkeys(slots, now_s)
        handed: list[int] = []
        try:
            quiet = await self._quiet(slots, now_s)
            self._unseal(slot for slot in slots if slot not in quiet and self._sealed.get(slot) == now_s)
            async with asyncio.timeout(TRANSFER_LIMIT_S):
                await self._transfer(quiet, epochs, seal.target)
                handed = [slot for slot in sorted(quiet) if self._sealed.get(slot) == now_s]
        except (EngineError, TimeoutError) as error:
            log.warning("a hand-off to shard %d stopped: %s", seal.target, error)
        self._unseal(s for s in slots if s not in handed and self._sealed.get(s) == now_s)
        link.send(wire.Reply(seal.rid, handed))

    async def _quiet(self, slots: list[int], sealed_at_s: float) -> set[int]:
        """Seals, and waits until what is under way has ended. Returns the slots where it has. One that was
        unsealed meanwhile is left alone.
        """
        wanted, people, quiet = set(slots), set[int](), set[int]()
        since_s = self._loop.time()
        while quiet != wanted:
            passed_s = self._loop.time() - since_s
            if passed_s > QUIET_LIMIT_S or (quiet and passed_s > QUIET_SOON_S):
                break
            wanted = {slot for slot in wanted if self._sealed.get(slot) == sealed_at_s}
            quiet &= wanted
            people &= wanted
            busy_people, busy = set[int](), set[int]()
            for activation in list(self._shard.activations.values()):
                slot = activation.slot
                if slot not in wanted or slot in quiet:
                    continue
                if activation.kind != "user" and slot not in people:
                    busy.add(slot)
                elif not self._is_quiet(activation):
                    (busy_people if activation.kind == "user" else busy).add(slot)
            quiet |= people - busy - busy_people
            people = wanted - busy_people
            self._closed |= people
            if quiet != wanted:
                await asyncio.sleep(_POLL_S)
        return quiet

    def _is_quiet(self, activation: Activation) -> bool:
        if activation.stage is Stage.ACTIVE:
            activation.stage, activation.busy = Stage.SEALED, True
        if activation.stage is Stage.WAITING:
            return True
        if activation.stage is not Stage.SEALED or activation.running or activation.turns:
            return False
        return self._shard.hosts[activation.kind].is_quiet(activation)

    async def _transfer(self, slots: set[int], epochs: dict[int, int], target: int) -> None:
        """Gives the states of these slots to their next owner, a few MiB at a time."""
        shard = self._shard
        states: dict[int, list[tuple[str, str, Any]]] = {slot: [] for slot in slots}
        telling: dict[int, set[str]] = {slot: set() for slot in slots}
        for activation in shard.activations.values():
            if activation.slot in slots and activation.stage is Stage.SEALED:
                states[activation.slot].append((activation.kind, activation.key, activation.state))
                # What a gateway has told, and the actor has not heard yet, it must tell the next owner.
                telling[activation.slot] |= {
                    w.gateway for w in activation.mailbox if isinstance(w.message, wire.RowsTold)
                }
        gateways = list(shard.fan_out.gateways)
        under_way: list[asyncio.Future[None]] = []
        size = 0
        for slot in sorted(slots):
            told = [gateway for gateway in shard.fan_out.tellers(slot) if gateway not in telling[slot]]
            people = shard.online.given(slot)
            if people:
                states[slot].append(("online", str(slot), people))
            parts = freeze(states.pop(slot))
            for number, part in enumerate(parts):
                take = wire.Take(0, slot, epochs[slot] + 1, number, len(parts), gateways, told, part)
                under_way.append(self._send(take, target))
                size += len(part)
                if size > PART_BYTES:
                    await asyncio.gather(*under_way)
                    under_way, size = [], 0
        await asyncio.gather(*under_way)

    def _send(self, take: wire.Take, target: int) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = self._loop.create_future()

        def done(_: Any, error: EngineError | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        limit_s = self._loop.time() + TRANSFER_LIMIT_S
        self._shard.router.shard_link(target).query(take, done, limit_s)
        return future

    def _unseal(self, slots: Iterable[int]) -> None:
        """These are served on."""
        slots = {slot for slot in slots if self._sealed.pop(slot, None) is not None}
        self._closed -= slots
        if not slots:
            return
        for activation in list(self._shard.activations.values()):
            if activation.slot not in slots:
                continue
            if activation.stage is Stage.WAITING:
                self._shard.begin(activation)
            elif activation.stage is Stage.SEALED:
                activation.stage, activation.busy = Stage.ACTIVE, activation.running
                self._shard.proceed(activation)

    def directory_found(self) -> None:
        """A new link to the Directory: what it was about to do before is not done any more."""
        self._unseal(list(self._sealed))

    async def look_after(self) -> None:
        """Once a second: what was forgotten."""
        now_s = self._loop.time()
        for slot, parts in list(self._incoming.items()):
            if parts[-1][0] + KEEP_S < now_s:
                del self._incoming[slot]
        if not self._incoming:
            self._changed.clear()
        forgotten = [slot for slot, since_s in self._sealed.items() if since_s + FORGOTTEN_S < now_s]
        if not forgotten:
            return
        router = self._shard.router
        try:
            async with self._shard.pool.acquire() as connection:
                own = await read_ownership(connection)
        except (asyncpg.PostgresError, *UNREACHABLE) as error:
            log.warning("whose some slots are is not known yet: %s", type(error).__name__)
            return
        number = self._shard.number
        self._unseal(s for s in forgotten if own.owners[s] == number and own.epochs[s] == router.epoch_of(s))

    # -- views ------------------------------------------------------------------------------------

    def view_changed(self, before: wire.View, view: wire.View) -> set[int]:
        """Lets go of what is no longer this shard's, takes what was handed to it, then sees to what waited
        for the view. Returns the slots that came without their states.
        """
        came: set[int] = set()
        if before.owners != view.owners or before.epochs != view.epochs:
            came = self._take_over(before, view)
        early, self._early = self._early, []
        for waiting in early:
            self._shard.deliver(waiting.message, waiting.asker, waiting.gateway)
        due = [work for version, work in self._later if version <= view.version]
        self._later = [each for each in self._later if each[0] > view.version]
        for work in due:
            work()
        return came

    def _take_over(self, before: wire.View, view: wire.View) -> set[int]:
        number = self._shard.number
        changed = {
            s
            for s in range(SLOTS)
            if before.epochs[s] != view.epochs[s] or before.owners[s] != view.owners[s]
        }
        for slot in changed:
            self._sealed.pop(slot, None)
            self._closed.discard(slot)
            self._warm.pop(slot, None)
        gone = [each for each in self._shard.activations.values() if each.slot in changed]
        for activation in gone:
            self._let_go(activation)
        self._shard.online.table.drop(changed)
        came = {slot for slot in changed if view.owners[slot] == number}
        handed = came.intersection(view.handed)
        for slot in sorted(handed):
            epoch = view.epochs[slot]
            parts = [take for _, take in self._incoming.pop(slot, ()) if take.epoch == epoch]
            if parts and len(parts) == parts[0].parts:
                self._warm[slot] = epoch
                told = self._shard.fan_out.inherits(slot, parts[0].told)
                for take in parts:
                    self._thaw(take, set(take.gateways) - told)
        warm = came & self._warm.keys()
        self._shard.router.knows(warm)
        self._shard.online.table.begins(came - warm, self._shard.now_ms())
        return came - warm

    def _let_go(self, activation: Activation) -> None:
        mailbox = list(activation.mailbox)
        activation.mailbox.clear()
        self.handed_out += activation.stage is Stage.SEALED
        if activation.is_live:
            self._shard.hosts[activation.kind].leaving(activation)
        self._shard.deactivate(activation)
        for waiting in mailbox:
            self._bounce(waiting)

    def changed(self, kind: str, key: str) -> None:
        """Postgres tells of a change to something that is not active here."""
        if slot_of(kind, key) in self._incoming:
            self._changed.add((kind, key))

    def _thaw(self, take: wire.Take, lost: set[str]) -> None:
        shard = self._shard
        for kind, key, state in thaw(take.states):
            if kind == "online":
                shard.online.taken(take.slot, state, lost)
                continue
            activation = Activation(kind, key, take.slot, Stage.ACTIVE, state, busy=False, running=False)
            activation.used_at_ms = activation.turned_at_ms = shard.now_ms()
            shard.activations[kind, key] = activation
            host = shard.hosts[kind]
            host.arrived(activation)
            for gateway in lost:
                host.gateway_lost(activation, gateway)
            self.taken += 1
            if (kind, key) in self._changed:
                self._changed.discard((kind, key))
                shard.deliver(wire.Refresh(0, kind, key), NOBODY, "")
