"""People whose slots came without their states: begun anew from the snapshot and the log (ACT-9, GEO-24).

The log is read once for all slots that came. Whoever has fixes in it that no snapshot has is activated, some
at a time, so that what those fixes decide is decided even if the device says no more; everybody else comes
back with the next thing they do. Who is asked for meanwhile waits until the log is read, not for the others.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import asyncpg
import numpy as np
from redis.exceptions import RedisError

from actors import messages as wire
from actors.effects import NOBODY
from actors.gathering import Gathered
from actors.host import Hosting
from geo.coordinates import LatLng
from geo.fixes import Fix, admit
from geo.intake import JUMP, STALE, fix_of, fixes_of
from geo.privacy import stick
from geo.table import Location
from storage import positions, streams
from storage.positions import LoggedRows, Place
from storage.postgres import UNREACHABLE
from storage.streams import UserRecord

log = logging.getLogger("hereabouts.user")

Replay = list[tuple[Fix, int]]
"""Fixes that count, and when each came by our clock (Unix ms)."""

AT_ONCE = 50
SLICE = 500
"""So many are looked at in one go, then others have their turn."""
_PATIENCE_S = 10.0
"""A log that is not read in time is not replayed; each command has its own, shorter limit (open_valkey)."""


class Restoring:
    """Of one shard; `follow` has all rows of the log that are read."""

    def __init__(self, shard: Hosting, follow: Callable[[LoggedRows], None]) -> None:
        self._shard = shard
        self._follow = follow
        self._awaited: dict[int, asyncio.Event] = {}
        """Slots whose log is being read."""
        self._rows: dict[str, LoggedRows] = {}
        """What the log has of people who have not come back."""
        self._records: Gathered[str, UserRecord] = Gathered(shard.spawn, self._read_records)

    def begin(self, slots: set[int]) -> None:
        """These slots have come without their states."""
        read = asyncio.Event()
        self._awaited |= dict.fromkeys(slots, read)
        self._shard.spawn(self._restore(slots, read))

    async def _restore(self, slots: set[int], read: asyncio.Event) -> None:
        try:
            people = await self._read(slots)
        finally:
            for slot in [slot for slot, event in self._awaited.items() if event is read]:
                del self._awaited[slot]
            read.set()
        for start in range(0, len(people), AT_ONCE):
            await self._activate(people[start : start + AT_ONCE])

    async def _read(self, slots: set[int]) -> list[str]:
        """Takes the log of these slots; returns who has fixes in it that are newer than the snapshot."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                rows = await positions.read_logs(self._shard.valkey, slots)
                self._follow(rows)
                by_person = grouped(rows)
                slot_of_person = {user: int(own["slot"][0]) for user, own in by_person.items()}
                places = await positions.load_all(
                    self._shard.valkey, [(slot, user) for user, slot in slot_of_person.items()]
                )
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("the log of positions can't be read: %s", type(error).__name__)
            return []
        for slot in slots:
            self.forget_slot(slot)
        news: dict[str, LoggedRows] = {}
        for number, (user, own) in enumerate(by_person.items()):
            if has_news(own, places.get(user)):
                news[user] = own
            if number % SLICE == 0:
                await asyncio.sleep(0)
        self._rows |= news
        return list(news)

    async def _activate(self, people: list[str]) -> None:
        """Some at a time, and at half of the time at most: others have their turns."""
        shard, loop = self._shard, asyncio.get_running_loop()
        people = [user for user in people if user in self._rows and ("user", user) not in shard.activations]
        since_s = loop.time()
        for user in people:
            shard.deliver(wire.Unsubscribe(0, f"me@{user}", user, ""), NOBODY, "")
        with suppress(asyncpg.PostgresError, *UNREACHABLE):  # each tries again by itself then
            await asyncio.gather(*map(self.record, people))
        await asyncio.sleep(0.005)  # they are activated meanwhile
        await asyncio.sleep((loop.time() - since_s) / 2)

    async def record(self, user: str) -> UserRecord | None:
        """What the person's actor starts from; None where there is no such active person."""
        return await self._records.get(user)

    async def _read_records(self, users: list[str]) -> dict[str, UserRecord]:
        async with self._shard.pool.acquire() as connection:
            return await streams.load_users(connection, users)

    async def rows(self, slot: int, user: str) -> LoggedRows | None:
        """The person's rows of the log, oldest first, once; None where there are none."""
        event = self._awaited.get(slot)
        if event is not None:
            await event.wait()
        return self._rows.pop(user, None)

    def forget(self, user: str) -> None:
        """The person is no more, or has said so."""
        self._rows.pop(user, None)

    def forget_slot(self, slot: int) -> None:
        """The slot is another shard's."""
        for user in [user for user, own in self._rows.items() if own["slot"][0] == slot]:
            del self._rows[user]


def grouped(rows: LoggedRows) -> dict[str, LoggedRows]:
    """Rows by person, in their order."""
    order = np.argsort(rows["user"], kind="stable")
    ordered = rows[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered["user"][1:] != ordered["user"][:-1]]))
    ends = [*begins[1:].tolist(), ordered.size]
    return {
        ordered["user"][begin].decode(): ordered[begin:end]
        for begin, end in zip(begins.tolist(), ends, strict=True)
        if end > begin
    }


def has_news(rows: LoggedRows, place: Place | None) -> bool:
    """Whether some of a person's rows are not in their snapshot."""
    newest = rows[rows["outcome"] != STALE]
    if place is None:
        return bool(newest.size)
    held_ms = place.held.t_ms if place.held is not None else 0
    return bool((newest["t_ms"] > max(place.t_ms, held_ms)).any())


def replayed(location: Location, rows: LoggedRows, resolution: int, ttl_ms: int) -> Replay:
    """Takes the fixes of a person's rows as they were taken before; returns those that count beyond where the
    location was, oldest first, and when they came. What it had taken already changes nothing.
    """
    accepted: Replay = []
    fixes = fixes_of(rows)
    for index, at_ms in enumerate(rows["at_ms"].tolist()):
        if rows["outcome"][index] > JUMP:
            continue
        admission = admit(fix_of(fixes[index]), location.last, location.held, at_ms)
        location.held = admission.held
        if not admission.accepted:
            continue
        location.last = last = admission.accepted[-1]
        accepted += [(fix, at_ms) for fix in admission.accepted]
        if at_ms - last.t_ms <= ttl_ms:
            location.shown = stick(location.shown, LatLng(last.lat, last.lon), resolution, last.t_ms)
    return accepted
