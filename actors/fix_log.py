"""A shard's log of fixes in Valkey: what a sender was told counts is there before (GEO-24).

Batches are gathered while an append is under way, so the busier the shard, the more share a round trip. While
Valkey is away senders are answered all the same, and what came meanwhile is in the next snapshot only.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

import numpy as np
from redis.exceptions import RedisError

from actors.host import Hosting
from actors.metrics import count
from geo.intake import Rows, copy_fixes
from storage import positions
from storage.positions import LOGGED, LoggedRows

log = logging.getLogger("hereabouts.user")

KEPT_S = 120.0
"""How long the log is, at least: several times what the snapshot and the history are behind."""

KEEP_EVERY_S = 5.0
"""That there is this log, and for how long, is said with one append in so many seconds."""

_RETRY_S = 1.0
_FIRST = b"0"

Done = Callable[[], None]


class FixLog:
    """Of one shard; `follow` has all rows, whatever becomes of them here. A gathered batch is bounded by what
    comes while an append is waited for: the client of Valkey gives up after two seconds.
    """

    def __init__(self, shard: Hosting, follow: Callable[[LoggedRows], None]) -> None:
        self._shard = shard
        self._follow = follow
        self._loop = asyncio.get_running_loop()
        self._rows: list[LoggedRows] = []
        self._done: list[Done] = []
        self._writing = False
        self._away_until_s = self._keep_from_s = 0.0
        self._appended: deque[tuple[float, bytes]] = deque()
        """When entries were appended, and their ids, oldest first; about one a second."""
        self._oldest = _FIRST

    @property
    def is_quiet(self) -> bool:
        """Whether everybody has been answered."""
        return not self._writing

    def put(self, rows: LoggedRows, done: Done) -> None:
        """Appends rows and then calls `done`; at once where there is nothing to wait for."""
        self._follow(rows)
        if not self._writing and (not rows.size or self._loop.time() < self._away_until_s):
            done()
            return
        self._rows.append(rows)
        self._done.append(done)
        if not self._writing:
            self._writing = True
            self._shard.spawn(self._write())

    async def _write(self) -> None:
        try:
            while self._done:
                rows, self._rows = self._rows, []
                done, self._done = self._done, []
                if self._loop.time() >= self._away_until_s:
                    await self._append(np.concatenate(rows))
                for each in done:  # not where the shard ends meanwhile
                    each()
        finally:
            self._writing = False

    async def _append(self, rows: LoggedRows) -> None:
        if not rows.size:
            return
        try:
            keep = self._loop.time() >= self._keep_from_s
            entry = await positions.append(
                self._shard.valkey, self._shard.config.shard, rows.tobytes(), self._oldest, keep=keep
            )
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("fixes are not logged: %s", type(error).__name__)
            count("fixes_not_logged", rows.size)
            self._away_until_s = self._loop.time() + _RETRY_S
            self._keep_from_s = 0.0
            return
        now_s = self._loop.time()
        if keep:
            self._keep_from_s = now_s + KEEP_EVERY_S
        if not self._appended or now_s - self._appended[-1][0] >= 1.0:
            self._appended.append((now_s, entry))
        while self._appended[0][0] < now_s - KEPT_S:
            self._oldest = self._appended.popleft()[1]


def logged(  # noqa: PLR0917 - a row
    user: str, slot: int, epoch: int, at_ms: int, outcome: int, fixes: Rows
) -> LoggedRows:
    """One person's fixes as rows of the log."""
    rows = np.zeros(fixes.size, dtype=LOGGED)
    rows["user"], rows["slot"], rows["epoch"], rows["at_ms"] = user.encode(), slot, epoch, at_ms
    rows["outcome"] = outcome
    copy_fixes(fixes, rows)
    return rows
