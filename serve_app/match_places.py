"""Where the Matcher knows people to be: in the cells that everybody may see, a few minutes old (MATCH-6).

It reads no position and asks no region: only of people whose audience is everybody, who are no ghosts, the
cell that they were shown in last, no finer than strangers may know.
"""

import asyncio
import logging
import time

import numpy as np
import redis.exceptions

from matching.live import People
from matching.whereabouts import shown_to_strangers, whereabouts
from storage import positions

log = logging.getLogger("hereabouts.matcher")

REST_S = 120.0
KEEP_MS = 24 * 3_600_000
"""Older cells say nothing of where somebody is."""
_PART = 2_000


class MatchPlaces:
    """Fills the table's places while somebody asks for recommendations."""

    def __init__(self, people: People, redis_url: str, k: int) -> None:
        self._people = people
        self._k = max(1, k)
        self._valkey = positions.open_valkey(redis_url) if redis_url else None
        self._task: asyncio.Task[None] | None = None
        self._read_s = -REST_S

    def refresh(self) -> None:
        """Starts reading anew, if that was REST_S ago or more."""
        if self._valkey is None or self._task is not None or time.monotonic() - self._read_s < REST_S:
            return
        self._read_s = time.monotonic()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def settled(self) -> None:
        """Back when nothing is being read."""
        if self._task is not None:
            await self._task

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._valkey is not None:
            await self._valkey.aclose()

    async def _run(self) -> None:
        try:
            await self._read()
        except (redis.exceptions.RedisError, OSError) as error:
            log.warning("where people are can't be read now: %s", type(error).__name__)
        finally:
            self._task = None

    async def _read(self) -> None:
        assert self._valkey is not None
        table = self._people
        rows = np.flatnonzero(table.is_seen[: len(table)] & table.is_active[: len(table)])
        users = [table.ids[row] for row in rows.tolist()]
        newer_than_ms = int(time.time() * 1000) - KEEP_MS
        known: dict[str, str] = {}
        for start in range(0, len(users), _PART):
            known |= await positions.cells(self._valkey, users[start : start + _PART], newer_than_ms)
        wishes = [table.precision[row] for row in rows.tolist()]
        shown = [shown_to_strangers(known.get(user), wish) for user, wish in zip(users, wishes, strict=True)]
        north, east, blur_m = await asyncio.to_thread(whereabouts, shown, self._k)
        places = np.nan_to_num(np.stack([north, east, blur_m], axis=1)).astype(np.float32)
        # Some may have gone or changed their wish meanwhile.
        same = np.array(
            [table.precision[row] == wish for row, wish in zip(rows.tolist(), wishes, strict=True)]
        )
        told = table.is_seen[rows] & same
        table.place[rows[told]] = places[told]
