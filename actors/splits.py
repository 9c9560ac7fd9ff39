"""Regions that are too much for one actor are split into their child cells, live (ACT-10).

That a region is split is a row in Postgres, so all shards agree on it, also later; Postgres tells them when
it commits. The parent passes its people on to the children, and each shard announces its own to them from
then on. Nobody is taken off a map that has just changed over, so nobody vanishes for anybody.
"""

import logging
from typing import Any, Protocol

import asyncpg

from actors.activation import Activation
from actors.host import Host
from actors.router import Router
from storage import region_splits
from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.shard")


class Shard(Protocol):
    """The shard, as this sees it."""

    pool: Any
    router: Router
    activations: dict[tuple[str, str], Activation]
    hosts: dict[str, Host]


class Splits:
    """The split regions, as one shard knows them."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self.regions: frozenset[str] = frozenset()
        self._under_way: set[str] = set()

    async def reload(self) -> None:
        """Reads which regions are split, and changes over to the children of those that are new."""
        try:
            async with self._shard.pool.acquire() as connection:
                regions = await region_splits.load(connection)
        except (asyncpg.PostgresError, *UNREACHABLE) as error:
            log.warning("which regions are split is not known yet: %s", type(error).__name__)
            return
        new, self.regions = regions - self.regions, regions
        if not new:
            return
        for activation in list(self._shard.activations.values()):
            if activation.is_live:
                self._shard.hosts[activation.kind].regions_split(activation, new)

    async def split(self, region: str, slot: int) -> None:
        """Splits a region of this shard."""
        if region in self._under_way or region in self.regions:
            return
        self._under_way.add(region)
        try:
            async with self._shard.pool.acquire() as connection:
                await region_splits.add(connection, region, slot, self._shard.router.epoch_of(slot))
        except (asyncpg.PostgresError, *UNREACHABLE) as error:
            log.warning("a region is not split yet: %s", type(error).__name__)
        finally:
            self._under_way.discard(region)
