"""Reads that many ask for one by one, done for many at a time: when thousands of people come at once, each
query, and each round trip, is for hundreds of them (ACT-9).

Whatever is asked while others are being read waits for the next read, so the busier the shard, the more share
one; somebody who comes alone is read at once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import asyncpg
from redis.exceptions import RedisError

from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.user")

K = TypeVar("K")
V = TypeVar("V")

BATCH = 200
"""So many in one read."""

_UNDER_WAY = 2
"""Reads at a time: one is waited for while the other is worked through."""

_AWAY = (asyncpg.PostgresError, RedisError, *UNREACHABLE)


class Gathered(Generic[K, V]):
    """One kind of read: `read` answers for those keys that there are. What waits is bounded by who asks: an
    actor that is being loaded, once.
    """

    def __init__(
        self, spawn: Callable[[Any], None], read: Callable[[list[K]], Awaitable[Mapping[K, V]]]
    ) -> None:
        self._spawn = spawn
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._readers = 0

    async def get(self, key: K) -> V | None:
        """What there is of a key, None where there is nothing. Raises what the read of its batch raised."""
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = self._loop.create_future()
            if self._readers < _UNDER_WAY:
                self._readers += 1
                self._spawn(self._work())
        return await asyncio.shield(future)  # others may wait for the same

    async def _work(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[:BATCH]
                await self._answer({key: self._waiting.pop(key) for key in keys})
        finally:
            self._readers -= 1

    async def _answer(self, batch: dict[K, "asyncio.Future[V | None]"]) -> None:
        try:
            found = await self._read(list(batch))
        except _AWAY as error:
            _fail(batch, error)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            log.exception("%d were not read together", len(batch))
            for key, future in batch.items():  # what is wrong with one is not the others'
                await self._answer({key: future})
        except BaseException:
            for future in batch.values():
                future.cancel()
            raise
        else:
            for key, future in batch.items():
                future.set_result(found.get(key))


def _fail(batch: Mapping[Any, "asyncio.Future[Any]"], error: Exception) -> None:
    for future in batch.values():
        future.set_exception(error)
        future.exception()  # nobody may be waiting any more
