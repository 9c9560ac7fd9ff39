"""A gateway as a replica: the clock of its subscriptions, and what it tells shards of them (PRE-1, FAN-2).

Each Subscribe that is sent is born at a new tick of the clock. Until it is answered, or its Unsubscribe is, a
copy of it may be on its way; `settled` is the tick before the oldest of those.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from actors import messages as wire
from actors.occupancy import Cooldown
from actors.placement import owner_of
from actors.router import Router

SWEEP_S = 1.0


class Births:
    """The clock, and which of its ticks are still open."""

    def __init__(self) -> None:
        self.clock = 0
        self._open: OrderedDict[int, None] = OrderedDict()

    def born(self) -> int:
        """A Subscribe is about to be sent."""
        self.clock += 1
        self._open[self.clock] = None
        return self.clock

    def closed(self, birth: int) -> None:
        """It was answered, or what it began has ended."""
        self._open.pop(birth, None)

    @property
    def settled(self) -> int:
        """Nothing born up to there is on its way."""
        return next(iter(self._open)) - 1 if self._open else self.clock


class Telling:
    """What shards are told of channels that nobody here holds, and of slots whose rows are all told."""

    def __init__(self, router: Router, births: Births, is_held: Callable[[str], bool]) -> None:
        self._router = router
        self._births = births
        self._is_held = is_held
        self._cooldown = Cooldown()
        self._sweeps = False
        self._loop = asyncio.get_running_loop()
        self.epochs: dict[int, int] = {}
        """Slot → the epoch under which its rows were told last."""

    def told(self, slots: set[int], settled: int) -> None:
        """Everything of these slots has been sent again, behind `settled`."""
        view = self._router.view
        by_shard: dict[int, list[int]] = {}
        for slot in sorted(slots):
            by_shard.setdefault(view.owners[slot], []).append(slot)
            self.epochs[slot] = view.epochs[slot]
        for shard, own in by_shard.items():
            self._router.tell(shard, wire.Told(own, [view.epochs[slot] for slot in own], settled))

    def left(self, channel: str) -> None:
        """Nobody here holds the channel."""
        if channel.startswith(("room:", "presence:room:")):
            self._cooldown.left(channel, self._loop.time())
            if not self._sweeps:
                self._sweeps = True
                self._loop.call_later(SWEEP_S, self._sweep)

    def held(self, channel: str) -> None:
        """Somebody here asks for the channel."""
        self._cooldown.held(channel)

    def _sweep(self) -> None:
        for channel in self._cooldown.due(self._loop.time()):
            if not self._is_held(channel):
                self._router.cast(*owner_of(channel), wire.Vacant(0, channel, self._births.clock))
        self._sweeps = bool(self._cooldown.since_s)
        if self._sweeps:
            self._loop.call_later(SWEEP_S, self._sweep)
