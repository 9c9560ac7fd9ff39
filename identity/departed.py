"""Whose account is given up, though an access token of theirs may be good for minutes."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from storage.departures import departed_since
from storage.postgres import UNREACHABLE

LOOK_S = 2.0
"""How long somebody may go on who has left by another process."""
PATIENCE_S = 0.5
LONGEST_TOKEN = timedelta(hours=25)

log = logging.getLogger("hereabouts.identity")


class Departed:
    """Those who left within a token's lifetime, as Postgres had it seconds ago; while it is away, as it had
    it last.
    """

    def __init__(self, pool: Any, clock: Callable[[], float] = time.time) -> None:
        self._pool = pool
        self._clock = clock
        self._users: set[str] = set()
        self._looked_s = float("-inf")
        self._looking: asyncio.Task[set[str]] | None = None

    def __contains__(self, user: object) -> bool:
        return user in self._users

    def add(self, user: str) -> None:
        """They have left this moment."""
        self._users.add(user)

    async def keep_up(self) -> None:
        """Looks if that was long ago; waits for it only where it was very long ago."""
        age_s = self._clock() - self._looked_s
        if age_s < LOOK_S:
            return
        if self._looking is None:
            self._looking = asyncio.create_task(self.review())
            self._looking.add_done_callback(self._looked)
        if age_s > 2 * LOOK_S:
            await asyncio.wait([self._looking], timeout=PATIENCE_S)

    def _looked(self, _: object) -> None:
        self._looking = None

    async def review(self) -> set[str]:
        """Looks now; returns who is new."""
        now_s = self._looked_s = self._clock()
        since = datetime.fromtimestamp(now_s, UTC) - LONGEST_TOKEN
        try:
            async with self._pool.acquire() as connection:
                found = await departed_since(connection, since)
        except (asyncpg.PostgresError, *UNREACHABLE) as error:
            log.warning("who has left can't be read now: %s", type(error).__name__)
            return set()
        new = found - self._users
        self._users |= found
        return new
