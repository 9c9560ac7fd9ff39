"""Where the people of one shard stay: found tick by tick, stored when a stay begins and ends (GEO-19).

Only the person ever sees it: nothing of this goes to a region, a fence, an event or a log.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec
import numpy as np

from actors.host import Hosting
from actors.metrics import count
from actors.moves import Moves
from actors.person import UserState
from actors.placement import slot_of
from geo.fixes import Fix
from geo.stays import Change, Stay, Stays, Turn
from identity.places import PlaceBook, StayChange
from identity.seals import Seal, SealBrokenError
from storage.messages import FENCED
from storage.places import assert_epochs, erase_of_the_gone, lock, open_stays
from storage.postgres import UNREACHABLE

log = logging.getLogger("hereabouts.places")

WAITING_LIMIT = 10_000
"""Changes that wait to be stored; past it the newest are lost, and with a beginning its end."""

_AT_ONCE = 20
"""People have 300 places at most, and all of a batch are opened between two turns."""

_RETRY_S = 0.5


class StayKeeping:
    """Of the people of one shard who keep places. Without a key nobody does."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard
        key = bytes.fromhex(shard.config.places_key)
        self._book = PlaceBook(Seal(key)) if key else None
        self._stays = Stays()
        self._rows: dict[str, int] = {}
        self._waiting: deque[StayChange] = deque()
        self._unstored: Counter[str] = Counter()
        """Person → changes that wait or are being stored."""
        self._storing = False

    # -- life -----------------------------------------------------------------------------------------

    def load(self, state: UserState) -> None:
        """A person's stay goes on as it is in the snapshot; where that is older than what is stored, from
        there and the last fix.
        """
        if self._book is None or not state.record.keeps_places:
            return
        stay, kept = None, state.own_stay.stay
        state.own_stay.stay = None
        if state.record.open_stay is not None:
            try:
                stay = self._book.opened(state.record.open_stay)
            except SealBrokenError as error:
                log.error("a stay begins anew: %s", error)  # noqa: TRY400 - where it came from is no news
        if kept is not None and (stay is None or kept.since_ms >= stay.since_ms):
            self._begin(state.user, kept, None)
        else:
            self._begin(state.user, stay, state.last)

    def kept(self, state: UserState) -> Any:
        """For the snapshot: the stay so far (place_keeping.Keeper)."""
        row = self._rows.get(state.user)
        return None if row is None else self._stays.get(row)

    def taken_back(self, state: UserState, kept: Any) -> None:
        """`load` goes on from it."""
        state.own_stay.stay = msgspec.convert(kept, Stay)

    def arrived(self, state: UserState) -> None:
        """Handed over from another shard."""
        if self._book is not None and state.record.keeps_places:
            self._begin(state.user, state.own_stay.stay, None)
        state.own_stay.stay = None

    def pack(self, state: UserState) -> None:
        """Puts the stay so far into the state, for a hand-off."""
        row = self._rows.get(state.user)
        state.own_stay.stay = None if row is None else self._stays.get(row)

    def forget(self, user: str) -> None:
        """The person is somebody else's now, or keeps no places any more."""
        row = self._rows.pop(user, None)
        if row is not None:
            self._stays.free(row)

    async def see_off(self, user: str) -> None:
        """The account is not active any more: nothing is kept from now on, and what is known goes if the
        account was erased. What Postgres can't do now is done when the retention is looked after.
        """
        self.forget(user)
        self._waiting = deque(change for change in self._waiting if change.user != user)
        self._unstored.pop(user, None)
        try:
            async with self._shard.pool.acquire() as connection, connection.transaction():
                await lock(connection, [user])  # behind what is being stored
                await erase_of_the_gone(connection, user)
        except (asyncpg.PostgresError, *UNREACHABLE) as error:
            log.warning("places are not erased yet: %s", type(error).__name__)

    async def refreshed(self, state: UserState) -> None:
        """What the person decided may have changed: whether to keep places, or that some are forgotten."""
        if self._book is None or not state.record.keeps_places:
            self.forget(state.user)
            return
        row = self._rows.get(state.user)
        if row is None:
            self._begin(state.user, None, state.last)
            return
        stay = self._stays.get(row)
        if stay is None or not stay.is_stay or self._unstored[state.user]:
            return
        async with self._shard.pool.acquire() as connection:
            is_known = await open_stays(connection, [state.user])
        if not is_known and self._rows.get(state.user) == row:
            self._begin(state.user, None, state.last)

    def is_settled(self, user: str) -> bool:
        """Nothing of theirs waits."""
        return user not in self._unstored

    def going_on(self, user: str) -> dict[str, int]:
        """The answer to a StayQuery."""
        row = self._rows.get(user)
        stay = None if row is None else self._stays.get(row)
        return (
            {"since_ms": stay.since_ms, "last_ms": stay.last_ms} if stay is not None and stay.is_stay else {}
        )

    def expire(self, state: UserState, now_ms: int) -> None:
        """Stores how far a stay has come when its person fell silent."""
        last_ms = state.location.t_ms
        if not last_ms or now_ms - last_ms < state.position_ttl_ms:
            return
        row = self._rows.get(state.user)
        if row is None or state.own_stay.told_ms == last_ms:
            return
        state.own_stay.told_ms = last_ms
        stay = self._stays.get(row)
        if stay is not None and stay.is_stay:
            self._put([StayChange(state.user, Turn.LASTS, stay)])

    def _begin(self, user: str, stay: Stay | None, last: Fix | None) -> None:
        self.forget(user)
        row = self._rows[user] = self._stays.put(stay)
        if last is not None:
            one = np.array([[last.lat, last.lon, last.acc_m]])
            times_ms = np.array([last.t_ms], dtype=np.int64)
            changes = self._stays.step(np.array([row]), one[:, 0], one[:, 1], times_ms, one[:, 2])
            self._put([StayChange(user, change.turn, change.stay) for change in changes])

    # -- a tick ---------------------------------------------------------------------------------------

    def follow(self, moves: Moves, now_ms: int) -> None:  # noqa: ARG002 - fixes carry their own time
        """Takes a tick's accepted fixes, in order."""
        if not self._rows:
            return
        own = self._rows
        rows = np.fromiter((own.get(moving.key, -1) for moving in moves.activations), np.intp, len(moves))
        kept = np.flatnonzero(rows >= 0)
        if not len(kept):
            return
        changes: list[Change] = self._stays.step(
            rows[kept], moves.lats()[kept], moves.lons()[kept], moves.times_ms()[kept], moves.accs_m()[kept]
        )
        if changes:
            keys = moves.activations
            self._put(
                [StayChange(keys[kept[change.index]].key, change.turn, change.stay) for change in changes]
            )

    # -- storing --------------------------------------------------------------------------------------

    def _put(self, changes: Sequence[StayChange]) -> None:
        for change in changes:
            if len(self._waiting) >= WAITING_LIMIT:
                count("drops", reason="stays wait")
                continue
            self._waiting.append(change)
            self._unstored[change.user] += 1
        if self._waiting and not self._storing:
            self._storing = True
            self._shard.spawn(self._store_all())

    async def _store_all(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
                try:
                    await self._store(batch)
                except (asyncpg.PostgresError, *UNREACHABLE) as error:
                    log.warning("stays wait: %s", type(error).__name__)
                    self._waiting.extendleft(reversed(batch))
                    await asyncio.sleep(_RETRY_S)
                else:
                    self._stored(batch)
        finally:
            self._storing = False

    async def _store(self, batch: list[StayChange]) -> None:
        """Stores a batch; where one person of it is another shard's by now, the others one by one. Theirs is
        nothing to be stored here: whoever hosts them goes on from what is.
        """
        own = self._shard.config.shard
        batch = [each for each in batch if self._shard.router.shard_of(slot_of("user", each.user)) == own]
        try:
            await self._record(batch)
        except asyncpg.PostgresError as error:
            if error.sqlstate != FENCED:
                raise
            for user in dict.fromkeys(change.user for change in batch):
                try:
                    await self._record([change for change in batch if change.user == user])
                except asyncpg.PostgresError as fenced:
                    if fenced.sqlstate != FENCED:
                        raise
                    self.forget(user)  # another activation finds this person's stays now

    async def _record(self, batch: list[StayChange]) -> None:
        assert self._book is not None
        if not batch:
            return
        slots = sorted({slot_of("user", change.user) for change in batch})
        epochs = [self._shard.router.epoch_of(slot) for slot in slots]
        async with self._shard.pool.acquire() as connection, connection.transaction():
            await assert_epochs(connection, slots, epochs)
            try:
                await self._book.record(connection, batch)
            except SealBrokenError as error:
                log.error("stays are lost: %s", error)  # noqa: TRY400 - where it came from is no news

    def _stored(self, batch: list[StayChange]) -> None:
        for change in batch:
            self._unstored[change.user] -= 1
            if self._unstored[change.user] <= 0:  # below: they were seen off meanwhile
                del self._unstored[change.user]
