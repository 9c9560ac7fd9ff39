"""The snapshots of a shard's regions in Valkey: a region that begins anew starts from its own (ACT-9)."""

import asyncio
import logging

from redis.exceptions import RedisError

from actors import messages as wire
from actors import region
from actors.activation import Activation
from actors.host import Hosting
from actors.region import RegionState
from geo.cells import Cell, parent_of, resolution_of
from geo.privacy import FINE, Audience, Precision, strangers_resolution
from storage import region_places
from storage.region_places import RegionChanges, RegionPlace

log = logging.getLogger("hereabouts.region")

_LONGER_S = 300
"""A hash is kept so much longer than its rows count."""

_RETRY_S = 1.0
_AT_ONCE = 3
"""Regions that are restored at the same time: more would only wait for each other, and time out."""

_CLAIMS = 3
"""Tries to read a snapshot: a region that begins without it shows nobody until they move."""

_CLAIM_AGAIN_S = 0.2


class RegionKeeping:
    """Of the regions of one shard."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        self._due: dict[str, Activation] = {}
        self._saving = False
        self._under_way: frozenset[str] = frozenset()
        self._few = asyncio.Semaphore(_AT_ONCE)
        self._keep_s = shard.config.position_ttl_ms // 1000 + _LONGER_S

    def is_saving(self, activation: Activation) -> bool:
        """Whether rows of this region are on their way to Valkey."""
        return activation.key in self._under_way

    def keep(self, activation: Activation) -> None:
        """The snapshot is to have what changed in this region."""
        if activation.state.unsaved or activation.state.crowd.unsaved:
            self._due[activation.key] = activation
            if not self._saving:
                self._saving = True
                self._shard.spawn(self._save())

    async def restore(self, activation: Activation, state: RegionState) -> None:
        """Fills the state of a region that begins anew with those who are in its snapshot and still want to
        be seen. Without Valkey it begins empty; people announce themselves with their next fixes.
        """
        async with self._few:
            await self._restore(activation, state)

    async def _restore(self, activation: Activation, state: RegionState) -> None:
        shard = self._shard
        kept = await self._claimed(activation, state)
        if not kept:
            return
        known = {user: (place.audience, place.precision) for user, place in kept.items()}
        async with shard.pool.acquire() as connection:
            others = await region_places.changed_wishes(connection, known)
        newer_than_ms = shard.now_ms() - shard.config.position_ttl_ms
        for user, place in kept.items():
            wish = others.get(user, known[user])
            if wish is None or wish[0] == Audience.NOBODY or place.t_ms <= newer_than_ms:
                state.unsaved.add(user)
                continue
            audience, precision = wish
            cell, fine = Cell(place.cell), place.fine
            if user in others:
                finest = strangers_resolution(Precision(precision))
                if finest is None:
                    state.unsaved.add(user)
                    continue
                cell = parent_of(cell, min(finest, resolution_of(cell)))
                fine = fine if precision in FINE else ""
            enter = wire.RegionEnter(
                0,
                activation.key,
                user,
                cell,
                audience,
                precision,
                place.t_ms,
                place.online,
                fine,
                place.stamp,
            )
            region.place(state, enter)
            state.unsaved.discard(user)

    async def _claimed(self, activation: Activation, state: RegionState) -> dict[str, RegionPlace]:
        """The rows of the snapshot, which is this activation's from now on; the crowd is in the state."""
        valkey, epoch = self._shard.valkey, self._shard.router.epoch_of(activation.slot)
        for _ in range(_CLAIMS):
            try:
                kept = await region_places.claim(valkey, activation.key, epoch, self._keep_s)
                if state.k > 1:
                    crowd = await region_places.claim_crowd(valkey, activation.key, epoch)
                    seen = {Cell(cell): people for cell, people in crowd.items()}
                    state.crowd.restore(seen, self._shard.now_ms())
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("no snapshot of a region: %s", type(error).__name__)
                await asyncio.sleep(_CLAIM_AGAIN_S)
            else:
                return kept
        return {}

    async def other_wishes(self, state: RegionState) -> list[str]:
        """Those in the region who want to be shown otherwise than it knows, or are not active any more."""
        known = {user: (at.audience, at.precision) for user, at in state.places.items()}
        async with self._shard.pool.acquire() as connection:
            return list(await region_places.changed_wishes(connection, known))

    async def _save(self) -> None:
        """Writes what changed; what Valkey does not take now is written when it is back."""
        try:
            while self._due:
                due, self._due = self._due, {}
                mine = {key: each for key, each in due.items() if each.is_live}
                changes, taken, noted = [], {}, {}
                for key, each in mine.items():
                    state: RegionState = each.state
                    taken[key], state.unsaved = state.unsaved, set()
                    places = {user: _row(state, user) for user in taken[key]}
                    noted[key], state.crowd.unsaved = state.crowd.unsaved, set()
                    crowd = {str(cell): state.crowd.seen.get(cell, {}) for cell in noted[key]}
                    epoch = self._shard.router.epoch_of(each.slot)
                    changes.append(RegionChanges(key, epoch, places, crowd))
                self._under_way = frozenset(mine)
                try:
                    await region_places.save(self._shard.valkey, changes, self._keep_s)
                except (RedisError, OSError, TimeoutError) as error:
                    log.warning("the snapshot of regions waits: %s", type(error).__name__)
                    for key, each in mine.items():
                        each.state.unsaved |= taken[key]
                        each.state.crowd.unsaved |= noted[key]
                    self._due = mine | self._due
                    self._under_way = frozenset()
                    await asyncio.sleep(_RETRY_S)
                self._under_way = frozenset()
        finally:
            self._saving = False


def _row(state: RegionState, user: str) -> RegionPlace | None:
    place = state.places.get(user)
    if place is None:
        return None
    return RegionPlace(
        place.cell, place.audience, place.precision, place.t_ms, place.online, place.fine, place.stamp
    )
