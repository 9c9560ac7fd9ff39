"""The history of a shard's people: all fixes that count, and late ones, stored once a minute (GEO-24).

What waits here is in the log of fixes too: whoever takes the slots over stores it, and what is stored twice
is read once. So nothing is lost with a shard.
"""

import asyncio
import logging
from itertools import islice

import asyncpg
import numpy as np

from actors.host import Hosting
from actors.metrics import count
from geo.intake import LIVE, STALE
from identity.seals import Seal
from identity.trails import TrailBook, by_person
from storage import trails
from storage.positions import LoggedRows
from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.user")

EVERY_S = 60.0
"""How far the history is behind; the log of fixes is twice as long."""

WAITING_LIMIT = 1_000_000
"""Fixes that wait while Postgres is away, about 100 MB; past it the oldest are lost."""


class HistoryKeeping:
    """Of one shard. Nothing is kept without a key, or where the setting says so."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        self._kept_ms = shard.config.position_history_ms
        key = bytes.fromhex(shard.config.places_key)
        self._book = TrailBook(Seal(key)) if key and self._kept_ms else None
        self._rows: list[LoggedRows] = []
        self._waiting = 0
        self._storing = asyncio.Lock()

    def add(self, rows: LoggedRows) -> None:
        """Fixes that were judged."""
        if self._book is None or not rows.size:
            return
        outcomes = rows["outcome"]
        wanted = rows[(outcomes == LIVE) | (outcomes == STALE)]
        self._rows.append(wanted)
        self._waiting += wanted.size
        while self._waiting > WAITING_LIMIT:
            lost = self._rows.pop(0).size
            self._waiting -= lost
            count("drops", lost, reason="history waits")

    def forget(self, user: str) -> None:
        """Nothing of this person is to be stored."""
        name = user.encode()
        self._rows = [rows[rows["user"] != name] for rows in self._rows]
        self._waiting = sum(rows.size for rows in self._rows)

    async def run(self) -> None:
        """Stores until cancelled."""
        if self._book is None:
            return
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.store()
                async with self._shard.pool.acquire() as connection:
                    await trails.remove_old(connection, self._shard.now_ms() - self._kept_ms)
            except (asyncpg.PostgresError, *UNREACHABLE) as error:
                log.warning("the history waits: %s", type(error).__name__)

    async def store(self) -> None:
        """Stores what waits now. Raises what Postgres raises; it waits on then."""
        async with self._storing:
            rows, self._rows, self._waiting = self._rows, [], 0
            together = np.concatenate(rows) if rows else None
            if self._book is None or together is None or not together.size:
                return
            try:
                # A minute of a busy shard is half a million rows: ordered beside the event loop, then sealed
                # and stored some at a time.
                ordered = await asyncio.to_thread(by_person, together)
                rows_by_person = self._book.rows(ordered)
                async with self._shard.pool.acquire() as connection:
                    while ready := list(islice(rows_by_person, trails.AT_ONCE)):
                        await trails.add(connection, ready)
            except BaseException:
                self._rows[:0] = [together]
                self._waiting += together.size
                raise

    async def erase(self, user: str) -> None:
        """The person's trail is gone when this returns, and does not come back."""
        async with self._storing:
            self.forget(user)
            async with self._shard.pool.acquire() as connection, connection.transaction():
                await trails.erase(connection, user, self._shard.now_ms())
