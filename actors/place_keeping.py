"""The snapshot of a shard's people: where they are, and what follows their fixes, in Valkey (ACT-9, GEO-24).

A person is written at most every ten seconds, and only as of a moment at which all of their fixes have been
followed and all crossings are stored: whoever begins from there and replays the log decides the same again.
"""

import asyncio
import logging
from typing import Any, Protocol

from redis.exceptions import RedisError

from actors.activation import Activation
from actors.gathering import Gathered
from actors.host import Hosting
from actors.moves import Moves
from actors.person import UserState
from geo.cells import Cell
from geo.fixes import Fix
from geo.privacy import Shown
from storage import positions
from storage.positions import Place, SlotPlaces

log = logging.getLogger("hereabouts.user")

EVERY_MS = 10_000
"""How old a snapshot gets while a person moves."""

AT_ONCE = 2_000
"""People in one tick; the others follow with the next ones."""

_AGAIN_MS = 1_000
_RETRY_S = 1.0


class Keeper(Protocol):
    """Something that follows fixes and goes on where it was, from the snapshot: a few plain values."""

    def kept(self, state: UserState) -> Any:
        """What the snapshot is to have, of what MessagePack knows; None: nothing."""

    def is_settled(self, user: str) -> bool:
        """What was decided is stored: a snapshot may begin there."""

    def taken_back(self, state: UserState, kept: Any) -> None:
        """The state begins anew from the stores and this; the fixes that came since follow."""


class PlaceKeeping:
    """Of the people of one shard. `keepers` by the name that their part has in the snapshot."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        self.keepers: dict[str, Keeper] = {}
        self._due: dict[str, tuple[int, Activation]] = {}
        """Who has moved since their snapshot, and from when it may be written; about in that order."""
        self._unsaved: dict[tuple[int, str], Place] = {}
        self._snapshots: Gathered[tuple[int, str], Place] = Gathered(shard.spawn, self._read)
        self._saving = False

    def follow(self, moves: Moves, now_ms: int) -> None:
        """These have moved."""
        due = self._due
        for activation in moves.activations:
            if activation.key not in due:
                due[activation.key] = (now_ms + EVERY_MS, activation)

    def keep(self, activation: Activation) -> None:
        """The snapshot is to have this person as soon as can be: they came from another shard."""
        if activation.state.last is not None:
            self._due[activation.key] = (self._shard.now_ms(), activation)

    async def saved(self, activation: Activation) -> Place | None:
        """A person's place as of their snapshot; None where there is none, or Valkey does not answer."""
        identity = activation.slot, activation.key
        if identity in self._unsaved:
            return self._unsaved[identity]
        try:
            return await self._snapshots.get(identity)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("no snapshot of a position: %s", type(error).__name__)
            return None

    async def _read(self, people: list[tuple[int, str]]) -> dict[tuple[int, str], Place]:
        found = await positions.load_all(self._shard.valkey, people)
        return {(slot, user): found[user] for slot, user in people if user in found}

    def forget(self, activation: Activation) -> None:
        """Drops what was to be saved: the person is somebody else's now, or is no more."""
        self.drop(activation.slot, activation.key)

    def drop(self, slot: int, user: str) -> None:
        """The same for somebody who may not be live any more."""
        self._due.pop(user, None)
        self._unsaved.pop((slot, user), None)

    def ended(self, activation: Activation) -> None:
        """The person is not live any more, and may be again before the snapshot is written."""
        due = self._due.pop(activation.key, None)
        if due is not None and due[1] is activation and self._is_settled(activation):
            self._take(activation)
            self._write()

    def tick(self, now_ms: int) -> None:
        """Every fix of this tick has been followed: who is due is written as they are now."""
        taken: list[str] = []
        for key, (due_ms, _) in self._due.items():
            if due_ms > now_ms or len(taken) == AT_ONCE:
                break
            taken.append(key)
        for key in taken:
            _, activation = self._due.pop(key)
            if self._is_settled(activation):
                self._take(activation)
            elif activation.is_live:
                self._due[key] = (now_ms + _AGAIN_MS, activation)
        if taken:
            self._write()

    @property
    def due_ms(self) -> int | None:
        """When the next one is to be written."""
        return next(iter(self._due.values()))[0] if self._due else None

    def _is_settled(self, activation: Activation) -> bool:
        stored = all(each.is_settled(activation.key) for each in self.keepers.values())
        return stored and is_settled(activation)

    def _take(self, activation: Activation) -> None:
        state: UserState = activation.state
        place = self.place(state)
        if place is not None:
            self._unsaved[activation.slot, state.user] = place

    def place(self, state: UserState) -> Place | None:
        """What the snapshot says of a person; None before their first fix."""
        location = state.location
        fix, shown = location.last, location.shown
        if fix is None:
            return None
        kept = {name: part for name, each in self.keepers.items() if (part := each.kept(state)) is not None}
        return Place(
            fix.lat, fix.lon, fix.acc_m, fix.t_ms, fix.seq, shown.cell if shown else "",
            shown.outside_since_ms if shown else None, location.held, kept,
        )  # fmt: skip

    def take_back(self, state: UserState, place: Place) -> None:
        """The person begins anew as they were."""
        location = state.location
        location.last = Fix(place.lat, place.lon, place.acc_m, place.t_ms, place.seq)
        location.held = place.held
        location.shown = Shown(Cell(place.cell), place.outside_since_ms) if place.cell else None
        state.located = True
        for name, kept in place.kept.items():
            if name in self.keepers:
                self.keepers[name].taken_back(state, kept)

    def _write(self) -> None:
        if self._unsaved and not self._saving:
            self._saving = True
            self._shard.spawn(self._save())

    async def _save(self) -> None:
        """Writes the snapshot; what Valkey does not take now is kept for its return."""
        router, number = self._shard.router, self._shard.config.shard
        try:
            while self._unsaved:
                batch, self._unsaved = self._unsaved, {}
                by_slot: dict[int, dict[str, Place]] = {}
                for (slot, user), place in batch.items():
                    if router.shard_of(slot) == number:
                        by_slot.setdefault(slot, {})[user] = place
                slots = [SlotPlaces(slot, router.epoch_of(slot), own) for slot, own in by_slot.items()]
                try:
                    await positions.save(self._shard.valkey, slots)
                except (RedisError, OSError, TimeoutError) as error:
                    log.warning("the snapshot waits: %s", type(error).__name__)
                    self._unsaved = batch | self._unsaved
                    await asyncio.sleep(_RETRY_S)
        finally:
            self._saving = False


def is_settled(activation: Activation) -> bool:
    """Whether what was decided of the person's fixes is stored: a snapshot may begin there."""
    return activation.is_live and not activation.crossings and not activation.recording
