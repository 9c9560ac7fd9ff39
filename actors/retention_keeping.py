"""Bytes of models and datasets that nothing needs any more go, and what was suggested long ago (ML-5, ML-8).

Every shard looks after it about once an hour; of several at once one does it.
"""

import asyncio
import logging
import random
from datetime import UTC, datetime, timedelta

import asyncpg

from actors.host import Hosting
from actors.metrics import count
from storage import content
from storage.postgres import UNREACHABLE
from storage.retention import Keep, Pruned, prune

log = logging.getLogger("hereabouts.shard")

EVERY_S = 3_600.0


class RetentionKeeping:
    """Of one shard."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        self._keep = Keep(shard.config.models_kept, timedelta(milliseconds=shard.config.datasets_kept_ms))

    async def run(self) -> None:
        """Looks after it until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S * random.uniform(0.5, 1.5))  # noqa: S311 - shards take turns
            try:
                await self.prune()
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("nothing is pruned now, next time: %s", type(error).__name__)

    async def prune(self) -> Pruned | None:
        """Once. None: another shard is at it. Raises what Postgres raises; then nothing is changed."""
        now = datetime.fromtimestamp(self._shard.now_ms() / 1000, UTC)
        async with self._shard.pool.acquire() as connection:
            done = await prune(connection, self._keep, now)
            if done is None:
                return None
            async with connection.transaction():
                suggested = await content.count(connection, now)
        gone = {"model": len(done.models), "dataset": len(done.datasets), "step": done.steps}
        for what, number in (gone | {"suggestion": suggested}).items():
            if number:
                count("pruned", number, what=what)
        if done.freed_bytes:
            count("pruned_bytes", done.freed_bytes)
            log.info("%d KiB of models and datasets freed", done.freed_bytes >> 10)
        return done
