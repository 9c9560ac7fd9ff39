"""Stores episodes of matches near each other, in the order of each lower id (GEO-10)."""

import asyncio
import logging
from collections import deque

import asyncpg

from actors.activation import Activation
from actors.host import Hosting
from storage import near_episodes as table
from storage.messages import FENCED
from storage.near_episodes import EpisodeChange
from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.user")

_RETRY_S = 0.5


class EpisodeWriting:
    """Of the people of one shard."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        self._waiting: dict[str, deque[EpisodeChange]] = {}
        """Lower id → what is not stored yet, at most one a minute and match."""

    def is_done(self, user: str) -> bool:
        """Whether all that was decided for this person is stored."""
        return user not in self._waiting

    def put(self, activation: Activation, change: EpisodeChange) -> None:
        """Stores this, after what was put before."""
        low = activation.key
        if low in self._waiting:
            self._waiting[low].append(change)
        else:
            self._waiting[low] = deque([change])
            self._shard.spawn(self._write(activation))

    async def _write(self, activation: Activation) -> None:
        """Stores what was decided for a person, one after the other, each until it is stored."""
        low, shard = activation.key, self._shard
        waiting = self._waiting[low]
        try:
            while waiting:
                try:
                    epoch = shard.router.epoch_of(activation.slot)
                    async with shard.pool.acquire() as connection, connection.transaction():
                        await table.record(connection, activation.slot, epoch, waiting[0])
                except asyncpg.PostgresError as error:
                    if error.sqlstate == FENCED:
                        shard.deactivate(activation)  # another one decides now, from what is stored
                        return
                    log.warning("an episode waits: %s", type(error).__name__)
                    await asyncio.sleep(_RETRY_S)
                except UNREACHABLE as error:
                    log.warning("an episode waits: %s", type(error).__name__)
                    await asyncio.sleep(_RETRY_S)
                else:
                    waiting.popleft()
        finally:
            del self._waiting[low]
