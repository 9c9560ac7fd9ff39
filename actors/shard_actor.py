"""The Ray actor around a shard."""

import asyncio
import logging
import os
from typing import Any

import asyncpg

from actors.collector import spare_the_collector
from actors.matcher_port import ServedMatcher
from actors.metrics_export import Exporter
from actors.reader_port import ServedReader
from actors.shard import Shard, ShardConfig
from actors.shard_metrics import measure
from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.shard")

_RETRY_S = 0.2


class ShardActor:
    """The Ray actor around a Shard. Ray restarts it under a new incarnation; the Directory fences the old."""

    def __init__(self, config: ShardConfig) -> None:
        spare_the_collector()
        self._shard = Shard(config, ServedMatcher())
        self._shard.scorer = ServedReader()
        self._shard.on_replaced = lambda: os._exit(1)
        measure(self._shard)
        self._started = asyncio.get_running_loop().create_task(self._start())
        exporter = Exporter("shard", str(config.shard))
        self._exporting = asyncio.get_running_loop().create_task(exporter.run())

    async def _start(self) -> None:
        while True:
            try:
                await self._shard.start()
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("the shard can't start yet, trying again: %s", error)
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def ready(self) -> dict[str, Any]:
        """Back when the shard serves."""
        await asyncio.shield(self._started)
        return {"pid": os.getpid()}
