"""A cluster of a thousand shards in one process: the real Directory, its mover and balance, the real
occupancy and tellers; shards, gateways and links are modelled, and time is virtual.

Links deliver in order after a random delay. Every publication is checked: each gateway with a member whose
`occupied` was acknowledged must be among those that the owner sends to, through arrivals, deaths, retirements
and hand-offs. What is sent to gateways without a member is counted as flood.
"""

import asyncio
import random
import selectors
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from actors import messages as wire
from actors.balance import balanced
from actors.directory import Directory, DirectoryConfig
from actors.link import Link
from actors.messages import Message
from actors.occupancy import Cooldown, Occupancy, Tellers
from actors.placement import SLOTS, slot_of
from storage.slots import Assignment, MemorySlots, Ownership

DELAY_S = (0.0003, 0.03)
RETRY_S = 0.02
SEAL_S = 0.02


class _Jumping(selectors.SelectSelector):
    """Nobody is waited for: the clock jumps to what is due next."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing is due, and nobody else is there")
        self.now_s += max(0.0, timeout)
        return []


def run(work: Callable[[], Any]) -> Any:
    """Runs a coroutine function in virtual time."""
    selector = _Jumping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now_s  # type: ignore[method-assign]
    try:
        return loop.run_until_complete(work())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


class CountingSlots(MemorySlots):
    """The store of a simulation that counts the slots that were given to somebody else."""

    assigned = 0

    async def assign(self, term: int, assignments: Mapping[int, Assignment]) -> Ownership:
        found = await super().assign(term, assignments)
        self.assigned += len(assignments)
        return found


@dataclass(eq=False)
class _Wire:
    """A link to the Directory, as the Directory sees it."""

    model: "Model"
    receive: Callable[[Message], None]
    is_open: bool = True
    _waiting: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        if isinstance(message, wire.View):  # a newer one takes the place of one that has not left
            self._waiting = [each for each in self._waiting if not isinstance(each, wire.View)]
        self._waiting.append(message)
        if len(self._waiting) == 1:
            self.model.later(self._deliver)

    def _deliver(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self.is_open:
            for message in waiting:
                self.receive(message)

    def abort(self) -> None:
        self.is_open = False


class ModelShard:
    """What a shard knows of who hears what."""

    def __init__(self, model: "Model", number: int) -> None:
        self.model, self.number = model, number
        self.view = wire.View(0, {}, [-1] * SLOTS, [0] * SLOTS, {})
        self.rows: dict[int, dict[str, Occupancy]] = {}
        self.tellers = Tellers()
        self.sealed: set[int] = set()
        self.incoming: dict[tuple[int, int], tuple[dict[str, Occupancy], list[str]]] = {}
        self.link = _Wire(model, self.received)

    def owns(self, slot: int) -> bool:
        return self.view.owners[slot] == self.number and slot not in self.sealed

    def received(self, message: Message) -> None:
        if isinstance(message, wire.View) and message.version > self.view.version:
            self._takes(message)
        elif isinstance(message, wire.Seal):
            self.sealed.update(message.slots)
            self.model.loop.call_later(SEAL_S, self._hands_over, message)
        elif isinstance(message, wire.Unseal):
            self.sealed.difference_update(message.slots)

    def _hands_over(self, message: wire.Seal) -> None:
        target = self.model.shards.get(message.target)
        if not self.link.is_open or target is None:
            return
        for slot in message.slots:
            epoch = self.view.epochs[slot]
            told = [name for name in self.tellers.epochs if self.tellers.has_told(name, slot, epoch)]
            target.incoming[slot, epoch + 1] = (self.rows.get(slot, {}), told)
        self.model.to_directory(self.link, wire.Reply(message.rid, message.slots))

    def _takes(self, view: wire.View) -> None:
        for slot in self.model.changed(self.view, view):
            owner, epoch = view.owners[slot], view.epochs[slot]
            if owner != self.number:
                self.rows.pop(slot, None)
                self.sealed.discard(slot)
            else:
                state = self.incoming.pop((slot, epoch), None) if slot in view.handed else None
                self.rows[slot], told = state or ({}, [])
                for name in self.tellers.epochs.keys() & set(told):
                    self.tellers.told(name, [slot], [epoch])
        self.view = view

    def sends_to(self, channel: str, slot: int) -> set[str]:
        """The gateways that a publication goes to."""
        row = self.rows[slot].get(channel)
        return {*(row.gateways if row else ()), *self.tellers.untold(slot, self.view.epochs[slot])}


class ModelGateway:
    """Sockets of a gateway, counted by channel."""

    def __init__(self, model: "Model", name: str) -> None:
        self.model, self.name = model, name
        self.members: dict[str, int] = defaultdict(int)
        self.acked: set[str] = set()
        self.by_slot: dict[int, set[str]] = defaultdict(set)
        self.cooldown = Cooldown()
        self.clock = 0
        self.view = wire.View(0, {}, [-1] * SLOTS, [0] * SLOTS, {})
        self.link = _Wire(model, self.received)

    def received(self, message: Message) -> None:
        if not isinstance(message, wire.View) or message.version <= self.view.version:
            return
        before, self.view = self.view, message
        tells: dict[int, list[int]] = defaultdict(list)
        for slot in self.model.changed(before, message):
            if slot not in message.handed:
                tells[message.owners[slot]].append(slot)
        for owner, slots in tells.items():
            self.model.later(self._tells, owner, slots)

    def _tells(self, owner: int, slots: list[int]) -> None:
        """All rows of these slots, to their new owner (or to whoever owns them by then)."""
        shard = self.model.shards.get(owner)
        view = self.view
        slots = [slot for slot in slots if view.owners[slot] == owner]
        if shard is None or not slots:
            return
        if shard.view.version < view.version:
            self.model.later(self._tells, owner, slots)
            return
        mine = [s for s in slots if shard.view.epochs[s] == view.epochs[s] and s in shard.rows]
        for slot in mine:
            for channel in self.by_slot[slot]:
                shard.rows[slot].setdefault(channel, Occupancy()).occupied(self.name, self.clock)
        shard.tellers.told(self.name, mine, [view.epochs[s] for s in mine])

    def join(self, channel: str) -> None:
        self.members[channel] += 1
        self.cooldown.held(channel)
        self.by_slot[slot_of("room", channel)].add(channel)
        if channel not in self.acked:
            self.clock += 1
            self.model.later(self._occupies, channel, self.clock)

    def _occupies(self, channel: str, clock: int) -> None:
        slot = slot_of("room", channel)
        shard = self.model.shards.get(self.view.owners[slot])
        if shard is None or not shard.owns(slot) or self.name not in shard.tellers.epochs:
            self.model.loop.call_later(RETRY_S, self._occupies, channel, clock)
            return
        shard.rows[slot].setdefault(channel, Occupancy()).occupied(self.name, clock)
        if self.members[channel]:
            self.acked.add(channel)

    def leave(self, channel: str) -> None:
        self.members[channel] -= 1
        if not self.members[channel]:
            self.acked.discard(channel)
            self.cooldown.left(channel, self.model.loop.time())

    def sweep(self) -> None:
        """Says which channels nobody has held for 30 s."""
        for channel in self.cooldown.due(self.model.loop.time()):
            slot = slot_of("room", channel)
            self.by_slot[slot].discard(channel)
            shard = self.model.shards.get(self.view.owners[slot])
            if shard is not None and shard.owns(slot) and channel in shard.rows[slot]:
                shard.rows[slot][channel].vacant(self.name, self.clock)


class Model:
    """The cluster."""

    def __init__(self, chance: random.Random, gateways: int, channels: int) -> None:
        self.chance = chance
        self.loop = asyncio.get_running_loop()
        self.store = CountingSlots()
        self.directory = Directory(DirectoryConfig("/nowhere", "", 100), self.store)
        self.shards: dict[int, ModelShard] = {}
        self.gateways = [ModelGateway(self, f"g{number}") for number in range(gateways)]
        self.channels = [f"c{number}" for number in range(channels)]
        self.incarnations = 0
        self.published = self.needed = self.sent = self.waited = 0
        self.missed: list[str] = []
        self.moving: deque[int] = deque(maxlen=40)
        """The slots that moved last."""
        self.by_slot: dict[int, list[str]] = defaultdict(list)
        for channel in self.channels:
            self.by_slot[slot_of("room", channel)].append(channel)
        self._steps: dict[tuple[int, int], list[int]] = {}

    def later(self, work: Callable[..., None], *arguments: Any) -> None:
        """After a link's delay."""
        self.loop.call_later(self.chance.uniform(*DELAY_S), work, *arguments)

    def to_directory(self, link: _Wire, message: Message) -> None:
        self.later(lambda: self.directory.link_received(cast(Link, link), 0, [message]))

    def connect(self, link: _Wire, hello: wire.Hello) -> None:
        self.directory.link_opened(cast(Link, link))
        self.to_directory(link, hello)

    def arrive(self, number: int) -> None:
        shard = self.shards[number] = ModelShard(self, number)
        for gateway in self.gateways:
            shard.tellers.opened(gateway.name)
        self.incarnations += 1  # a newer one compares as larger
        hello = wire.Hello("shard", str(number), f"i{self.incarnations:09d}", f"unix:/{number}")
        self.connect(shard.link, hello)

    def die(self, number: int) -> None:
        link = self.shards.pop(number).link
        link.abort()
        self.directory.link_closed(cast(Link, link))

    def publish(self, tries: int = 200) -> None:
        """In a channel that somebody hears; checks who is sent it."""
        channel = self.chance.choice(self.channels)
        if self.moving and self.chance.random() < 0.7:  # where it is hardest
            channel = self.chance.choice(self.by_slot.get(self.chance.choice(self.moving)) or [channel])
        slot = slot_of("room", channel)
        claims = [each for each in self.shards.values() if each.owns(slot) and slot in each.rows]
        if not claims:  # sealed, or its shard is dead and not replaced yet: the sender tries again
            self.waited += 1
            if tries:
                self.loop.call_later(RETRY_S, self.publish, tries - 1)
            return
        # Of two that believe they own it the newer one does: the store refuses what the other writes.
        owner = max(claims, key=lambda each: each.view.epochs[slot])
        sent = owner.sends_to(channel, slot)
        need = {each.name for each in self.gateways if channel in each.acked}
        self.published += 1
        self.needed += len(need)
        self.sent += len(sent)
        if not need <= sent:
            self.missed.append(f"{channel} at {self.loop.time():.3f} s: {len(need - sent)} gateways")

    def churn(self, joins: int) -> None:
        """Some members come, some go."""
        for _ in range(joins):
            gateway, channel = self.chance.choice(self.gateways), self.chance.choice(self.channels)
            if gateway.members[channel] and self.chance.random() < 0.5:
                gateway.leave(channel)
            else:
                gateway.join(channel)

    def is_settled(self) -> bool:
        own = self.directory.ownership
        views = [each.view for each in self.shards.values()] + [each.view for each in self.gateways]
        return (
            set(own.owners) <= self.shards.keys()
            and all(view.version == own.version for view in views)
            and balanced(own.owners, self.directory.mover.takers()) == own.owners
        )

    def unsettled(self, shards: set[int]) -> dict[str, Any]:
        """What stands in the way."""
        own = self.directory.ownership
        takers = set(self.directory.mover.takers())
        peers: list[ModelShard | ModelGateway] = [*self.shards.values(), *self.gateways]
        wanted = balanced(own.owners, takers)
        return {
            "missing": sorted(shards - takers),
            "unwanted": sorted(takers - shards),
            "old_views": sum(each.view.version != own.version for each in peers),
            "slots_to_move": sum(a != b for a, b in zip(own.owners, wanted, strict=True)),
        }

    def changed(self, before: wire.View, after: wire.View) -> list[int]:
        """Slots that have another owner or epoch; many peers take the same step."""
        step = before.version, after.version
        found = self._steps.get(step)
        if found is None:
            found = self._steps[step] = [
                slot
                for slot in range(SLOTS)
                if before.epochs[slot] != after.epochs[slot] or before.owners[slot] != after.owners[slot]
            ]
            if len(found) < SLOTS // 4:
                self.moving.extend(found)
        return found
