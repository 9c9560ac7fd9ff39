"""Moves slots between shards that are there, by hand-off: scale-out, scale-in, rebalancing (ACT-5).

One batch at a time: the source seals the slots, finishes what is under way and gives their states to the
target; then the store gives them to the target under their next epochs, and the view says so. Whatever
goes wrong before that, the source goes on with its slots; whatever goes wrong after it, the target loads
them from the stores.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from actors import messages as wire
from actors.balance import balanced
from actors.link import Link
from actors.metrics import count
from actors.protocol import EngineError, ErrorCode
from actors.relief import Relief, Report
from storage.slots import Assignment, Ownership

log = logging.getLogger("hereabouts.directory")

BATCH_SLOTS = 32
"""Slots that are handed over at once: what their actors are sent waits for so long."""

SETTLE_S = 0.3
"""A shard that has come is given slots after this: others have dialled it then."""

SEAL_TIMEOUT_S = 3.0
"""A source that has not given its slots away by then keeps them."""

COMMIT_PATIENCE_S = 1.0
"""And so long after it nothing is given away any more: the source may ask the store then (hand_off.py)."""

RETIRED_AFTER_S = 0.5
"""A shard without slots may go after this: what was on its way to it has been sent on then."""

RETRY_S = 0.5
POSTPONE_S = 1.0
"""A slot that could not be handed over is not tried again for so long: it keeps no others waiting."""

PLAIN_AFTER = 3
"""A shard that is to go and failed so often to hand over has its slots taken: the next owner loads them from
the stores."""


class Moving(Protocol):
    """The Directory, as its mover sees it."""

    ownership: Ownership
    shards: dict[int, Link]

    async def assign(self, assignments: dict[int, Assignment], *, handed: bool, limit_s: float) -> None:
        """Moves slots and publishes the view, if that can be done before loop time `limit_s`."""


class Mover:
    """Hand-offs, one after the other."""

    def __init__(self, directory: Moving) -> None:
        self._directory = directory
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._retiring: dict[int, list[Callable[[str], None]]] = {}
        self._failures: dict[int, int] = {}
        self._settling: set[int] = set()
        self._postponed: set[int] = set()
        self._asked: tuple[int, asyncio.Future[Any]] | None = None
        """The shard that is asked to hand over, and its answer."""
        self._rid = 0
        self.relief = Relief()
        self._weights: dict[int, float] = {}
        """Shards → what they own since load was moved; empty: all the same."""
        self._relieving: dict[int, int] = {}
        """Slot → the shard that takes it from a hot one."""
        self.moved = 0
        """Slots that were handed over."""

    # -- who is there -----------------------------------------------------------------------------

    def arrived(self, shard: int, *, is_new: bool) -> None:
        """A shard announced itself: slots move to it once the others can reach it. A new process of a shard
        that was to go stays.
        """
        if is_new:
            for done in self._retiring.pop(shard, ()):
                done("the shard came back")
        self._failures.pop(shard, None)
        self._weights = {}
        self._settling.add(shard)
        self._loop.call_later(SETTLE_S, self._settled, shard)

    def _settled(self, shard: int) -> None:
        self._settling.discard(shard)
        self._wake.set()

    def left(self, shard: int) -> None:
        """A shard's link closed."""
        if self._asked is not None and self._asked[0] == shard and not self._asked[1].done():
            self._asked[1].set_exception(EngineError(ErrorCode.INTERNAL, "it went away"))
        self._weights = {}
        self.relief.left(shard)
        self._wake.set()

    def reported(self, load: wire.Load) -> None:
        """A shard tells of its load."""
        if load.shard not in self._directory.shards or self._relieving:
            return
        owners = self._directory.ownership.owners
        report = Report(load.cpu, load.slots, load.mailbox)
        relieving = self.relief.reported(load.shard, report, owners, self.takers(), self._loop.time())
        if relieving:
            log.info(
                "%d slots move to shard %s, which has less to do", len(relieving), set(relieving.values())
            )
            self._relieving = relieving
            self._wake.set()

    def changed(self) -> None:
        """Slots have other owners."""
        self._wake.set()

    def takers(self) -> set[int]:
        """The shards that may be given slots: those that are there and are to stay."""
        return self._directory.shards.keys() - self._retiring.keys()

    def retire(self, shard: int, done: Callable[[str], None]) -> None:
        """Hands all slots of a shard away; `done` is called with "" once it has none, else with why."""
        if shard in self._directory.shards and not self.takers() - {shard}:
            done("no other shard could take its slots")
            return
        self._retiring.setdefault(shard, []).append(done)
        self._failures.pop(shard, None)
        self._wake.set()

    # -- moves ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Moves what has to move, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (batch := self._next_batch()) is not None:
                if not await self._hand_over(*batch):
                    await asyncio.sleep(RETRY_S)
                self._keep_what_was_relieved()
            self._relieving = {}
            self._tell_retired()

    def _keep_what_was_relieved(self) -> None:
        """Shards own different numbers of slots from here on, until one comes or goes."""
        if not self._relieving:
            return
        owners = self._directory.ownership.owners
        takers = self.takers()
        left = {
            slot: shard
            for slot, shard in self._relieving.items()
            if owners[slot] != shard and shard in takers and slot not in self._postponed
        }
        self._relieving = left
        counts = Counter(owners)
        self._weights = {shard: float(counts[shard]) for shard in takers}

    def _tell_retired(self) -> None:
        owners = set(self._directory.ownership.owners)
        for shard, told in self._retiring.items():
            if shard not in owners:
                for done in told:
                    self._loop.call_later(RETIRED_AFTER_S, done, "")
                told.clear()  # it stays on the list of those that get no slots, until it leaves for good

    def _next_batch(self) -> tuple[int, int, list[int]] | None:
        """(source, target, slots), those of shards that are to go first; None when all is as it should be."""
        own = self._directory.ownership
        takers = self.takers() - (self._settling - set(own.owners))
        if not takers:
            return None
        wanted = balanced(own.owners, takers, self._weights)
        for slot, shard in self._relieving.items():
            if shard in takers and own.owners[slot] in takers:
                wanted[slot] = shard
        moves: dict[tuple[int, int], list[int]] = {}
        for slot, (shard, target) in enumerate(zip(own.owners, wanted, strict=True)):
            if shard != target and shard in self._directory.shards and slot not in self._postponed:
                moves.setdefault((shard, target), []).append(slot)
        if not moves:
            return None
        source, target = min(moves, key=lambda pair: (pair[0] not in self._retiring, pair))
        return source, target, moves[source, target][:BATCH_SLOTS]

    def _resume(self, slots: list[int]) -> None:
        self._postponed.difference_update(slots)
        self._wake.set()

    async def _hand_over(self, source: int, target: int, slots: list[int]) -> bool:
        epochs = self._directory.ownership.epochs
        wanted = {slot: Assignment(target, epochs[slot]) for slot in slots}
        link = self._directory.shards[source]
        limit_s = self._loop.time() + SEAL_TIMEOUT_S + COMMIT_PATIENCE_S
        handed: set[int] = set()
        try:
            handed = set(await self._ask(source, wire.Seal(0, slots, target))) & wanted.keys()
        except EngineError as error:
            log.warning("shard %d keeps its slots for now: %s", source, error.message)
        if target not in self._directory.shards:
            handed = set()
        is_plain = not handed and self._failures.get(source, 0) >= PLAIN_AFTER and source in self._retiring
        if moving := {slot: each for slot, each in wanted.items() if slot in handed or is_plain}:
            await self._directory.assign(moving, handed=not is_plain, limit_s=limit_s)
        moved = [slot for slot in moving if self._directory.ownership.owners[slot] == target]
        if kept := [slot for slot in slots if slot not in moved]:
            link.send(wire.Unseal(kept))
            self._postponed.update(kept)
            self._loop.call_later(POSTPONE_S, self._resume, kept)
        if not moved:
            self._failures[source] = self._failures.get(source, 0) + 1
            return False
        self._failures.pop(source, None)
        self.moved += len(moved)
        why = "retire" if source in self._retiring else "load" if slots[0] in self._relieving else "balance"
        count("handoffs", len(moved), reason=why)
        return True

    # -- asking shards ----------------------------------------------------------------------------

    async def _ask(self, shard: int, message: wire.Seal) -> Any:
        self._rid += 1
        message.rid = self._rid
        self._asked = shard, self._loop.create_future()
        self._directory.shards[shard].send(message)
        try:
            async with asyncio.timeout(SEAL_TIMEOUT_S):
                return await self._asked[1]
        except TimeoutError:
            raise EngineError(ErrorCode.INTERNAL, "no answer in time") from None
        finally:
            self._asked = None

    def answered(self, message: wire.Reply | wire.Failure) -> None:
        """A shard's answer."""
        if self._asked is None or message.rid != self._rid or self._asked[1].done():
            return
        if isinstance(message, wire.Reply):
            self._asked[1].set_result(message.ok)
        else:
            self._asked[1].set_exception(EngineError(ErrorCode(message.code), message.message))
