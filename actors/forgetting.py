"""All that is kept of where a person was goes: live state, snapshot, log and history (GEO-24)."""

import asyncio

import numpy as np

from actors.activation import Activation
from actors.fix_log import FixLog, logged
from actors.history_keeping import HistoryKeeping
from actors.host import Hosting
from actors.place_keeping import PlaceKeeping
from actors.restoring import Restoring
from geo.intake import FIXES
from storage import positions, probing
from storage.positions import ERASED


class Forgetting:
    """What the stores of one shard have of its people's positions, each to be forgotten."""

    def __init__(
        self,
        shard: Hosting,
        places: PlaceKeeping,
        fix_log: FixLog,
        restoring: Restoring,
        history: HistoryKeeping,
    ) -> None:
        self._shard = shard
        self._places = places
        self._log = fix_log
        self._restoring = restoring
        self._history = history

    def begins(self, activation: Activation) -> None:
        """Nothing of this person is written any more by what waits here."""
        self._places.forget(activation)
        self._restoring.forget(activation.key)
        self._history.forget(activation.key)

    async def erase(self, activation: Activation) -> None:
        """Gone when this returns; the log's own rows are void and leave it within minutes. Raises what the
        stores raise: some of it may be left then. What is known against a prober is no place, and stays.
        """
        self.begins(activation)
        await self._erase_stored(activation.slot, activation.key)

    async def erase_account(self, activation: Activation) -> None:
        """The same of somebody who is no more, and what is known against them."""
        self.begins(activation)
        await self.erase_departed(activation.slot, activation.key)

    async def erase_departed(self, slot: int, user: str) -> None:
        """The same of somebody who is not live here."""
        await probing.forget(self._shard.valkey, user)
        await self._erase_stored(slot, user)

    async def _erase_stored(self, slot: int, user: str) -> None:
        self._places.drop(slot, user)
        self._restoring.forget(user)
        await positions.forget(self._shard.valkey, slot, user)
        logged_: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        fixes = np.zeros(1, dtype=FIXES)
        row = logged(user, slot, self._shard.router.epoch_of(slot), self._shard.now_ms(), ERASED, fixes)

        def done() -> None:
            if not logged_.done():
                logged_.set_result(None)

        self._log.put(row, done)
        await logged_
        await self._history.erase(user)
