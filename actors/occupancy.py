"""Which gateways hear a channel: rows told by gateways, and what to do while they are not known (FAN-2).

Pure. The first local member makes a gateway a row (its `Subscribe` says so); 30 s after the last one left the
gateway says `Vacant`. Each row carries the gateway's clock and each removal leaves that clock behind, so that
no late or repeated message undoes a newer one. A gateway that has not told its rows of a slot under the
slot's present epoch may have members there: it is sent everything. That costs traffic; a miss would cost a
message.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

VACANT_AFTER_S = 30.0


@dataclass(slots=True)
class Occupancy:
    """The gateways that one channel is sent to."""

    rows: dict[str, int] = field(default_factory=dict)
    """Gateway → its clock when it last said that somebody is there."""
    tombs: dict[str, int] = field(default_factory=dict)
    """Gateway → its clock when it said that nobody is."""
    gateways: tuple[str, ...] = ()

    def occupied(self, gateway: str, clock: int = 0) -> None:
        """Somebody is there."""
        known = self.rows.get(gateway)
        if known is not None:
            self.rows[gateway] = max(known, clock)
        elif not clock or clock > self.tombs.get(gateway, 0):
            self.rows[gateway] = clock
            self.gateways = tuple(self.rows)

    def vacant(self, gateway: str, clock: int) -> None:
        """Nobody who was there at `clock` or before is there."""
        self.tombs[gateway] = max(clock, self.tombs.get(gateway, 0))
        if self.rows.get(gateway, clock + 1) <= clock:
            self._remove(gateway)

    def lost(self, gateway: str) -> None:
        """It can't be reached; if it comes back, it tells everything anew."""
        self.tombs.pop(gateway, None)
        if gateway in self.rows:
            self._remove(gateway)

    def _remove(self, gateway: str) -> None:
        del self.rows[gateway]
        self.gateways = tuple(self.rows)


@dataclass(slots=True)
class Tellers:
    """The gateways that an owner can reach, and of which slots it has all their rows."""

    epochs: dict[str, dict[int, int]] = field(default_factory=dict)
    """Gateway → slot → the epoch under which it told them."""
    _untold: dict[tuple[int, int], tuple[str, ...]] = field(default_factory=dict)

    def opened(self, gateway: str) -> None:
        """It can be reached, and has told nothing on this link."""
        self.epochs[gateway] = {}
        self._untold.clear()

    def closed(self, gateway: str) -> None:
        """It can't be reached."""
        self.epochs.pop(gateway, None)
        self._untold.clear()

    def told(self, gateway: str, slots: Iterable[int], epochs: Iterable[int]) -> None:
        """It has told all its rows of these slots."""
        known = self.epochs.get(gateway)
        if known is not None:
            known.update(zip(slots, epochs, strict=True))
            self._untold.clear()

    def has_told(self, gateway: str, slot: int, epoch: int) -> bool:
        """Whether all its rows of the slot are known."""
        known = self.epochs.get(gateway)
        return known is not None and known.get(slot) == epoch

    def untold(self, slot: int, epoch: int) -> tuple[str, ...]:
        """Who may have members that the owner does not know of."""
        found = self._untold.get((slot, epoch))
        if found is None:
            found = tuple(g for g, known in self.epochs.items() if known.get(slot) != epoch)
            self._untold[slot, epoch] = found
        return found


@dataclass(slots=True)
class Cooldown:
    """A gateway's channels that nobody there holds any more, oldest first."""

    since_s: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def left(self, channel: str, now_s: float) -> None:
        """The last member left; or a push came for a channel that nobody holds."""
        self.since_s.setdefault(channel, now_s)

    def held(self, channel: str) -> None:
        """Somebody is there again."""
        self.since_s.pop(channel, None)

    def due(self, now_s: float) -> list[str]:
        """Takes out the channels that have been empty for long enough."""
        channels = []
        while self.since_s and now_s - next(iter(self.since_s.values())) >= VACANT_AFTER_S:
            channels.append(self.since_s.popitem(last=False)[0])
        return channels
