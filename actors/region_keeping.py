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


class RegionKeeping:
    """Of the regions of one shard."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        self._due: dict[str, Activation] = {}
        self._saving = False
        self._under_way: frozenset[str] = frozenset()
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
        shard = self._shard
        epoch = shard.router.epoch_of(activation.slot)
        try:
            kept = await region_places.claim(shard.valkey, activation.key, epoch, self._keep_s)
            crowd = {}
            if state.k > 1:
                crowd = await region_places.claim_crowd(shard.valkey, activation.key, epoch)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("no snapshot of a region: %s", type(error).__name__)
            return
        state.crowd.restore({Cell(cell): people for cell, people in crowd.items()}, shard.now_ms())
        if not kept:
            return
        async with shard.pool.acquire() as connection:
            wishes = await region_places.visibilities(connection, list(kept))
        newer_than_ms = shard.now_ms() - shard.config.position_ttl_ms
        for user, place in kept.items():
            audience, precision = wishes.get(user, (Audience.NOBODY, Precision.HIDDEN))
            finest = strangers_resolution(Precision(precision))
            if finest is None or audience == Audience.NOBODY or place.t_ms <= newer_than_ms:
                state.unsaved.add(user)
                continue
            cell = Cell(place.cell)
            shown = parent_of(cell, min(finest, resolution_of(cell)))
            fine = place.fine if precision in FINE else ""
            enter = wire.RegionEnter(
                0,
                activation.key,
                user,
                shown,
                audience,
                precision,
                place.t_ms,
                place.online,
                fine,
                place.stamp,
            )
            region.place(state, enter)
            state.unsaved.discard(user)

    async def other_wishes(self, state: RegionState) -> list[str]:
        """Those in the region who want to be shown otherwise than it knows, or are not active any more."""
        people = [(user, (at.audience, at.precision)) for user, at in state.places.items()]
        async with self._shard.pool.acquire() as connection:
            wishes = await region_places.visibilities(connection, [user for user, _ in people])
        return [user for user, known in people if wishes.get(user) != known]

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
