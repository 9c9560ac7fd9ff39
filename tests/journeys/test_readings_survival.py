"""A model reads in a room's order, while its process and the room's are stopped and killed (NLP-2, NLP-4)."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from heads import FINE, FOUL, offence_heads
from rt_client.connection import Refused
from rt_client.load import kill, processes, until
from rt_client.member import Member
from rt_client.town import Person, Town, pids
from rt_client.views import StreamView

from cluster.embedded.postgres import stored_url
from cluster.history import End
from storage import registry

TITLE = "hereabouts-reader:Reader"
DEADLINE_S = 0.5
TERMS = {"scorer": "model", "policy": "hold", "deadline_ms": 500, "heads": ["offence"], "threshold": 0.5}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


async def promote(town: Town) -> None:
    """Puts a head into the engine's registry, and makes it the champion."""
    bundle = await asyncio.to_thread(offence_heads)
    connection = await asyncpg.connect(stored_url(town.data))
    try:
        version = await registry.add_version(connection, "offence", bundle, lineage={}, metrics={})
        await registry.promote(connection, "offence", version, {"promote": True}, moved_by="test")
    finally:
        await connection.close()


class Talk:
    """Two people who say nice and foul things in one room, and remember what became of each."""

    def __init__(self, town: Town, room: str, members: list[Member]) -> None:
        self.town, self.room, self.members = town, room, members
        self.chance = random.Random(5)
        self.acked: dict[str, int] = {}
        self.refused: set[str] = set()
        self.codes: set[int] = set()
        self.slowest_s = 0.0
        self.is_on = True
        self.number = 0

    async def say(self, member: Member, text: str) -> bool:
        """Whether it was published."""
        self.number += 1
        cid = f"{member.user}-{self.number}"
        begun_s = time.monotonic()
        try:
            ack = await member.publish(self.room, {"text": text}, cid=cid)
        except Refused as refused:
            self.codes.add(refused.code)
            self.refused.add(cid)
            return False
        finally:
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun_s)
        self.acked[cid] = ack["o"]
        return True

    async def go_on(self) -> None:
        async def one(member: Member) -> None:
            while self.is_on:
                await self.say(member, self.chance.choice(FOUL if self.chance.random() < 0.4 else FINE))
                await asyncio.sleep(self.chance.uniform(0, 0.05))

        await asyncio.gather(*map(one, self.members))

    async def is_refused(self, timeout_s: float = 60) -> float:
        """Until the room refuses what is foul again; how long that took."""
        begun_s = time.monotonic()
        while await self.say(self.members[0], FOUL[0]):
            assert time.monotonic() < begun_s + timeout_s, "nothing is refused"
            await asyncio.sleep(0.05)
        return time.monotonic() - begun_s


async def read_room(town: Town, **terms: Any) -> tuple[Talk, Person]:
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    members = [await town.member(who) for who in (ann, bob)]
    for member in members:
        await member.follow(room)
    path = f"/v1/rooms/{room[5:]}/reading"
    assert (await town.http("PUT", path, {**TERMS, **terms}, ann)).status == 200
    return Talk(town, room, members), ann


async def judged(talk: Talk, owner: Person) -> None:
    """Nothing acknowledged is lost or doubled, and nothing that was refused is there."""
    log = await talk.town.history(talk.room, owner)
    for member in talk.members:
        view = member.views[talk.room]
        assert isinstance(view, StreamView)
        await until(lambda view=view: view.offset >= len(log), 30, "everybody has caught up")
        member.log.append(End(client=member.name, ch=talk.room))
    verdict = await talk.town.verdict({talk.room: owner})
    assert verdict.faults == []
    assert talk.codes <= {123}
    connection = await asyncpg.connect(stored_url(talk.town.data))
    try:
        rows = await connection.fetch(
            "SELECT cid, count(*) FROM messages WHERE room_id = $1 GROUP BY cid", talk.room[5:]
        )
    finally:
        await connection.close()
    stored = {row["cid"]: row["count"] for row in rows if row["cid"] is not None}
    assert set(stored) == set(talk.acked)
    assert set(stored.values()) == {1}
    assert not talk.refused & set(stored)
    for cid in list(talk.refused)[:3]:
        member = talk.members[0] if cid.startswith(talk.members[0].user) else talk.members[1]
        with pytest.raises(Refused):
            await member.publish(talk.room, {"text": FINE[0]}, cid=cid)


async def test_a_reader_that_is_stopped_killed_or_not_there_yet_holds_nobody_up(
    town: Town, tell: Callable[[str], None]
) -> None:
    assert await asyncio.to_thread(pids, town.data, TITLE) == [], "nobody pays for it before it is wanted"
    await promote(town)
    talk, ann = await read_room(town)
    cold_s = await talk.is_refused()
    (pid,) = await asyncio.to_thread(pids, town.data, TITLE)
    talk.slowest_s = 0.0
    os.kill(pid, signal.SIGSTOP)
    try:
        published = [await talk.say(talk.members[n % 2], FOUL[n]) for n in range(4)]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert published == [True] * 4
    assert talk.slowest_s < DEADLINE_S + 2
    stopped_s = await talk.is_refused()
    kill(pid)
    assert await talk.say(talk.members[1], FINE[0])
    killed_s = await talk.is_refused()
    tell(
        f"reader: {cold_s:.1f} s from nothing, {stopped_s:.1f} s after it was stopped, {killed_s:.1f} s after"
        f" kill -9; slowest message while stopped {talk.slowest_s:.2f} s"
    )
    await judged(talk, ann)


async def test_kills_in_the_middle_lose_and_double_nothing_that_is_read(
    town: Town, tell: Callable[[str], None]
) -> None:
    await promote(town)
    talk, ann = await read_room(town)
    await talk.is_refused()
    talking = asyncio.create_task(talk.go_on())
    for victim in ("shard", "reader", "shard"):
        await asyncio.sleep(2)
        if victim == "shard":
            kill((await asyncio.to_thread(processes, town, "shard"))[0])
        else:
            for pid in await asyncio.to_thread(pids, town.data, TITLE):
                kill(pid)
        count = len(talk.acked) + len(talk.refused)
        await until(lambda count=count: len(talk.acked) + len(talk.refused) > count + 10, 60, "they talk on")
    talk.is_on = False
    await talking
    counts = f"{len(talk.acked)} published, {len(talk.refused)} refused"
    tell(f"read under kills: {counts}, slowest {talk.slowest_s:.1f} s")
    assert talk.refused
    await judged(talk, ann)
