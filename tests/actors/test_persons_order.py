"""A person's presence, position and memberships change in one order, their user actor's (PRE-5).

What is promised, and followed here over random interleavings:

- Whoever is told that somebody came or went finds stored all that their actor decided before that: each
  crossing of a fence by an earlier fix, and with it the membership that it moved, and the room's log of it.
  So there is no exit, and no leaving of a room, that belongs to an earlier moment than an "offline" which was
  already told; and none the other way round.
- Of one person "in the fence" and "in the fence's room" are one transaction: no reader sees one without the
  other.
- All that the actor tells of the person carries a version that only rises, over hand-overs and restarts too.

Not promised: that observers of two channels hear at the same instant. A gateway says "here" before it asks
for anything on behalf of a connection and "away" after it has ended everything (serve_app/test_online.py).
"""

import asyncio
import json
import random
from typing import Any

import pytest
from crowd import Crowd, LaterShard

from actors import messages as wire
from actors.placement import slot_of
from actors.presence import LINGER_MS
from storage.ids import new_id

INSIDE, OUTSIDE = (52.5200, 13.4050), (52.5400, 13.4050)
STEPS = 30


class Ann:
    """Somebody who comes and goes, by sockets and through a fence whose room takes her in; Bob watches."""

    def __init__(self, small: Any, chance: random.Random) -> None:
        self.small = small
        self.chance = chance
        self.user = self.bob = self.room = self.fence = ""
        self.is_inside = False
        self.crossings = 0
        self.fix_ms = 0
        self.birth = 0
        self.live: dict[str, int] = {}
        self.decided: dict[tuple[str, str], int] = {}
        """How many crossings were decided before a connection's beginning ("j") or end ("l") was said."""
        self.seen: set[str] = set()
        self.looks: list[asyncio.Task[None]] = []
        self.under_way: list[asyncio.Future[Any]] = []
        self.version = 0
        self.told = 0

    async def begin(self) -> None:
        small = self.small
        owner, self.user, self.bob = [await small.person() for _ in range(3)]
        self.room, self.fence = await small.room(owner), new_id()
        half, (lat, lon) = 0.002, INSIDE
        ring = [
            [lon + dx * half, lat + dy * half] for dx, dy in [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
        ]
        await small.pool.execute(
            "INSERT INTO fences (id, owner_id, name, shape, room_id) VALUES ($1, $2, 'f', $3, $4)",
            self.fence, owner, json.dumps({"type": "Polygon", "coordinates": [ring]}), self.room,
        )  # fmt: skip
        await small.pool.execute(
            "INSERT INTO fence_grants VALUES ($1, $2, 'count', true)", self.user, self.fence
        )
        low, high = sorted((self.user, self.bob))
        await small.pool.execute(
            "INSERT INTO connections (low_id, high_id, state) VALUES ($1, $2, 'matched')", low, high
        )
        await small.router.refresh("fences", "*")
        self.fix_ms = small.shards[0].now_ms() - 20 * 3_600_000
        small.router.on_push = self.pushed
        reply = await small.subscribe(f"presence:matches@{self.bob}", self.bob, "b")
        assert reply["state"] == []

    # -- what she does ------------------------------------------------------------------------------------

    def say(self, message: Any) -> None:
        self.under_way.append(asyncio.ensure_future(self.small.ask(message)))

    def comes(self) -> None:
        self.birth += 1
        conn = f"c{self.birth}"
        self.live[conn] = self.birth
        self.decided["j", conn] = self.crossings
        self.say(wire.Here(0, self.user, conn, f"d{conn}", 1, self.birth, self.birth - 1))

    def goes(self, *, clean: bool) -> None:
        if self.live:
            conn = self.chance.choice(sorted(self.live))
            self.decided["l", conn] = self.crossings
            self.say(wire.Away(0, self.user, conn, clean, self.live.pop(conn), self.birth))

    def crosses(self) -> None:
        self.is_inside = not self.is_inside
        self.crossings += 1
        for _ in range(3):
            self.fix_ms += 60_000
            self.say(wire.Position(0, self.user, *(INSIDE if self.is_inside else OUTSIDE), 5.0, self.fix_ms))

    async def is_answered(self) -> None:
        await asyncio.gather(*self.under_way)
        self.under_way.clear()

    async def acts(self) -> None:
        deed = self.chance.choices(range(6), [4, 3, 2, 5, 2, 2])[0]
        if deed == 0:
            self.comes()
        elif deed in {1, 2}:
            self.goes(clean=deed == 1)
        elif deed == 3:
            self.crosses()
        elif deed == 4:
            LaterShard.ahead_ms += LINGER_MS
        else:
            await self.is_answered()
            await self.looks_at_the_version()

    async def looks_at_the_version(self) -> None:
        answer = await self.small.ask(wire.WatchOnline(0, self.user, self.bob))
        assert answer["version"] > self.version
        self.version = answer["version"]

    # -- what others find -----------------------------------------------------------------------------------

    def pushed(self, push: Any) -> None:
        if isinstance(push, wire.PushPresence):
            joins = {meta["ref"] for meta in json.loads(push.joins)}
            leaves = {meta["ref"] for meta in json.loads(push.leaves)}
            assert leaves <= self.seen
            assert not joins & self.seen
            self.seen = self.seen - leaves | joins
            told = {("j", ref) for ref in joins} | {("l", ref) for ref in leaves}
            before = max(self.decided[each] for each in told)
            self.told += 1
            self.looks.append(asyncio.ensure_future(self.finds(before)))

    async def finds(self, before: int) -> None:
        """All that was decided before is stored: so many crossings, and the membership that they moved."""
        row = await self.small.pool.fetchrow(
            """SELECT (SELECT count(*) + count(exited_at) FROM fence_visits WHERE user_id = $1) AS crossings,
            EXISTS (SELECT 1 FROM fence_visits WHERE user_id = $1 AND exited_at IS NULL) AS inside,
            EXISTS (SELECT 1 FROM room_members
                WHERE room_id = $2 AND user_id = $1 AND state = 'member') AS member,
            (SELECT count(*) FROM messages WHERE room_id = $2) AS said""",
            self.user,
            self.room,
        )
        assert row["crossings"] >= before, "what came before is stored when it is told"
        assert row["inside"] is row["member"] is (row["crossings"] % 2 == 1)
        assert row["said"] == row["crossings"]


async def settled(crowd: Crowd, ann: Ann) -> None:
    await ann.is_answered()
    LaterShard.ahead_ms += LINGER_MS
    await crowd.small.until(lambda: ann.seen == ann.live.keys())
    await asyncio.gather(*ann.looks)


@pytest.mark.parametrize("seed", range(4))
async def test_who_is_told_of_a_coming_or_going_finds_all_that_came_before(crowd: Crowd, seed: int) -> None:
    """The store is held up now and then, so that what is decided is not stored at once."""
    ann = Ann(crowd.small, random.Random(seed))
    await ann.begin()
    for _ in range(4):
        async with crowd.small.pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE fence_visits IN EXCLUSIVE MODE")
            ann.comes()
            for _ in range(STEPS // 4):
                await ann.acts()
            await asyncio.sleep(0.3)  # more than a tick and what a push takes
        await settled(crowd, ann)
    assert ann.told > 3
    assert ann.crossings > 3


async def test_versions_rise_over_hand_overs_and_restarts(crowd: Crowd) -> None:
    small = crowd.small
    ann = Ann(small, random.Random(1))
    await ann.begin()
    ann.comes()
    await ann.is_answered()
    await ann.looks_at_the_version()
    slot = slot_of("user", ann.user)
    before = small.router.shard_of(slot)
    small.directory.mover._relieving = {slot: 1 - before}
    small.directory.mover.changed()
    await small.until(lambda: small.router.shard_of(slot) == 1 - before)
    await ann.looks_at_the_version()
    await crowd.restart_shards()
    await ann.looks_at_the_version()
