"""The snapshot of a shard's people: their last fixes, in Valkey (ACT-9)."""

import asyncio
import logging

from redis.exceptions import RedisError

from actors.activation import Activation
from actors.host import Hosting
from actors.moves import Moves
from actors.person import UserState
from storage import positions
from storage.positions import Place

log = logging.getLogger("hereabouts.user")

_RETRY_S = 1.0


class PlaceKeeping:
    """Of the people of one shard."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        self._unsaved: dict[tuple[int, str], Place] = {}
        self._saving = False

    def follow(self, moves: Moves, now_ms: int) -> None:  # noqa: ARG002 - fixes carry their own time
        for activation in moves.activations:
            self.keep(activation)

    def unsaved(self, activation: Activation) -> Place | None:
        """What is not in the snapshot yet."""
        return self._unsaved.get((activation.slot, activation.key))

    def forget(self, activation: Activation) -> None:
        """Drops what was to be saved: the person is somebody else's now."""
        self._unsaved.pop((activation.slot, activation.key), None)

    def keep(self, activation: Activation) -> None:
        """The snapshot is to have this person's last fix."""
        state: UserState = activation.state
        fix, shown = state.last, state.shown
        if fix is None:
            return
        self._unsaved[activation.slot, state.user] = Place(
            fix.lat,
            fix.lon,
            fix.acc_m,
            fix.t_ms,
            fix.seq,
            shown.cell if shown else "",
            shown.outside_since_ms if shown else None,
        )
        if not self._saving:
            self._saving = True
            self._shard.spawn(self._save())

    async def _save(self) -> None:
        """Writes the snapshot; what Valkey does not take now is kept for its return."""
        try:
            while self._unsaved:
                batch, self._unsaved = self._unsaved, {}
                owners = self._shard.router.view.owners
                batch = {
                    at: place for at, place in batch.items() if owners[at[0]] == self._shard.config.shard
                }
                try:
                    await positions.save(self._shard.valkey, batch)
                except (RedisError, OSError, TimeoutError) as error:
                    log.warning("the snapshot waits: %s", type(error).__name__)
                    self._unsaved = batch | self._unsaved
                    await asyncio.sleep(_RETRY_S)
        finally:
            self._saving = False
