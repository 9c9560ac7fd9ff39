"""Slots that move between shards that are there: nothing that was sent to the old owner is lost, doubled or
overtaken by what is sent to the new one (ACT-5).

When a view gives a slot to another shard, the old owner is sent a barrier behind all that it was sent
before, and what is sent from then on is held. The old owner bounces, in order, what it did not do, then
lets the barrier pass; bounced and held go to the new owner, in this order. If the old owner goes away or
does not answer in time, what it has not answered is sent to the new one, as after any death.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors import messages as wire
from actors.messages import Request
from actors.placement import addressee, slot_of
from actors.protocol import EngineError, ErrorCode
from actors.router_links import Pending, ShardLink

HELD_LIMIT = 10_000
"""Messages that wait for slots under way; past it callers get 120."""

BARRIER_S = 2.0
"""An old owner that has not answered by then is passed over."""

REQUEST_TIMEOUT_S = 5.0


class Routing(Protocol):
    """The router, as this sees it."""

    view: wire.View

    def heard_of(self, version: int) -> None:
        """Somebody knows this version."""

    def now_s(self) -> float:
        """The event loop's time."""

    def known_link(self, shard: int) -> ShardLink | None:
        """The link to another shard, if there ever was one."""

    def put(self, waiting: Pending) -> None:
        """Sends to the slot's owner."""

    def distrust(self, slots: Iterable[int]) -> None:
        """Something that was sent may be lost: what the new owner holds does not count."""

    def report(self, slots: Iterable[int]) -> None:
        """These slots are with their new owners."""


def ignore(_: Any, __: EngineError | None) -> None:
    """Whoever casts wants no reply."""


@dataclass(slots=True)
class _Hold:
    """One slot under way."""

    source: int
    since_s: float
    asked: bool = False
    """The barrier is on its way."""
    bounced: deque[Pending] = field(default_factory=deque)
    held: deque[Pending] = field(default_factory=deque)


class SlotMoves:
    """The slots under way, as one process sees them."""

    def __init__(self, router: Routing) -> None:
        self._router = router
        self.holds: dict[int, _Hold] = {}
        self._count = 0

    def hold(self, message: Request, slot: int, done: Any) -> None:
        """Keeps a message for a slot of `holds`."""
        if self._count >= HELD_LIMIT:
            done(None, EngineError(ErrorCode.OVERLOADED, "too many requests wait for a slot", 500))
            return
        self._count += 1
        deadline_s = self._router.now_s() + REQUEST_TIMEOUT_S
        self.holds[slot].held.append(Pending(message, slot, done, deadline_s))

    def bounced(self, source: int, message: Request) -> None:
        """Shard `source` gave a message back: it goes on once all that it was sent before has come back."""
        router = self._router
        slot = slot_of(*addressee(message))
        if message.rid:
            link = router.known_link(source)
            waiting = link.pending.pop(message.rid, None) if link is not None else None
            if waiting is None:
                return  # whoever asked has been told that there was no answer
        else:
            waiting = Pending(message, slot, ignore, router.now_s() + REQUEST_TIMEOUT_S)
        hold = self.holds.get(slot)
        if hold is None:
            if router.view.owners[slot] != source:
                router.put(waiting)
                return
            # The shard knows of a view that has not come here yet.
            hold = self.holds[slot] = _Hold(source, router.now_s())
        self._count += 1
        hold.bounced.append(waiting)

    def refused(self, waiting: Pending) -> bool:
        """The old owner did not do it: it belongs to what was bounced."""
        hold = self.holds.get(waiting.slot)
        if hold is None:
            return False
        self._count += 1
        hold.bounced.append(waiting)
        return True

    def view_changed(self, before: wire.View, own: int) -> None:
        """Another view is the router's: begins with the slots that left a shard that is there. `own` is this
        process's shard, or -1: what it held it bounces itself.
        """
        after = self._router.view
        left: dict[int, list[int]] = {}
        if before.version and before.owners != after.owners:
            for slot, (old, new) in enumerate(zip(before.owners, after.owners, strict=True)):
                if old not in (new, own) and slot not in self.holds:
                    left.setdefault(old, []).append(slot)
        for slot, hold in self.holds.items():
            if not hold.asked:
                left.setdefault(hold.source, []).append(slot)
        for source, slots in left.items():
            self._leave(source, slots)

    def _leave(self, source: int, slots: list[int]) -> None:
        router = self._router
        link = router.known_link(source)
        now_s = router.now_s()
        if link is None or not link.ready or source not in router.view.addresses:
            if link is not None:
                self._send_again(link, slots)
            self._release(slots)
            return
        for slot in slots:
            hold = self.holds.setdefault(slot, _Hold(source, now_s))
            hold.asked, hold.since_s = True, now_s

        def passed(_: Any, error: EngineError | None) -> None:
            if error is not None:
                self._send_again(link, slots)
                router.distrust(slots)
            self._release(slots)
            router.report(slots)

        link.query(wire.Barrier(0, router.view.version, slots), passed, now_s + BARRIER_S)

    def _send_again(self, link: ShardLink, slots: list[int]) -> None:
        """What the old owner has not answered goes to the new one, but for what might then be done twice."""
        for waiting in link.take_pending(set(slots)):
            message = waiting.message
            if link.ready and isinstance(message, wire.Publish) and not message.cid:
                waiting.done(
                    None, EngineError(ErrorCode.INTERNAL, "whether this was stored is not known", 500)
                )
            elif not self.refused(waiting):
                self._router.put(waiting)

    def _release(self, slots: Iterable[int]) -> None:
        """Sends what was bounced, then what was held; what is added meanwhile waits its turn."""
        for slot in slots:
            hold = self.holds.get(slot)
            if hold is None:
                continue
            while hold.bounced or hold.held:
                self._count -= 1
                self._router.put((hold.bounced or hold.held).popleft())
            del self.holds[slot]

    def expire(self, now_s: float) -> None:
        """A view that a shard knew has not come: what it gave back goes to whoever is the owner here."""
        late = [slot for slot, h in self.holds.items() if not h.asked and h.since_s + BARRIER_S <= now_s]
        self._release(late)
