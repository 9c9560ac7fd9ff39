"""kill -9 of one process at a time, under chat and positions: it comes back, and nothing acknowledged is
lost, doubled or put elsewhere (CHAT-3, RT-7, ACT-9)."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
from rt_client.load import Load, kill, processes, until
from rt_client.town import Town, request, status

from cluster.embedded.postgres import stored_url

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def load(town: Town) -> AsyncIterator[Load]:
    """People who talk and move."""
    running = Load(town, chance=random.Random(7))
    await running.start()
    await running.each_room_acks(5, 20)
    await running.all_see_all()
    yield running
    await running.leave()


@pytest.mark.parametrize("victim", ["shard", "gateway", "postgres", "valkey", "api"])
async def test_it_comes_back_by_itself_and_no_acknowledged_message_is_lost(
    town: Town, load: Load, victim: str, tell: Callable[[str], None]
) -> None:
    before = await asyncio.to_thread(processes, town, victim)
    kill(before[0])
    back_s = await load.each_room_acks(8, 90)
    if victim != "gateway":
        for member in random.Random(3).sample(load.members, 3):
            await member.drop()
        await load.each_room_acks(8, 60)
    verdict = await load.stop()
    tell(f"kill -9 {victim}: every room acknowledges again after {back_s:.1f} s; {verdict}")
    assert load.refusals == []
    assert verdict.faults == []
    assert verdict.resumes_recovered == verdict.resumes_within_limit > 0
    await load.all_see_all()
    for _ in range(200):
        after = await asyncio.to_thread(processes, town, victim)
        if len(after) == len(before) and before[0] not in after:
            break
        await asyncio.sleep(0.2)
    assert len(after) == len(before)
    assert before[0] not in after
    ready = await asyncio.to_thread(request, town.url, "GET", "/readyz")
    assert ready.status == 200


async def test_a_shard_that_hangs_loses_its_slots_and_may_come_back(
    town: Town, load: Load, tell: Callable[[str], None]
) -> None:
    """A stopped process keeps its links open; what it holds is served elsewhere until it runs again."""
    victim = (await asyncio.to_thread(processes, town, "shard"))[0]
    os.kill(victim, signal.SIGSTOP)
    try:
        back_s = await load.each_room_acks(5, 60)
    finally:
        os.kill(victim, signal.SIGCONT)
    await load.each_room_acks(8, 60)
    verdict = await load.stop()
    tell(f"a hung shard: every room acknowledges again after {back_s:.1f} s; {verdict}")
    assert verdict.faults == []
    assert verdict.resumes_recovered == verdict.resumes_within_limit
    await load.all_see_all()


async def test_a_term_that_nobody_lives_to_serve_is_followed_by_another(town: Town, load: Load) -> None:
    """One that died may have begun it: the statement it had sent comes after its successor's."""
    before = await asyncio.to_thread(processes, town, "directory")
    database = await asyncpg.connect(stored_url(town.data))
    await database.execute("UPDATE directory SET term = term + 1")
    await database.close()
    async with asyncio.timeout(60):
        while (await asyncio.to_thread(processes, town, "directory")) in ([], before):
            await asyncio.sleep(0.1)
    await load.each_room_acks(8, 60)
    verdict = await load.stop()
    assert verdict.faults == []
    assert verdict.resumes_recovered == verdict.resumes_within_limit
    await load.all_see_all()


async def test_a_killed_shard_stalls_only_its_own_rooms(town: Town, tell: Callable[[str], None]) -> None:
    """While one of the two is away, the other's rooms go on acknowledging."""
    load = Load(town, chance=random.Random(8))
    await load.start(
        people=3, durable=14, memory=2
    )  # so many that none being on a shard is out of the question
    found = await asyncio.to_thread(status, town.data)
    shards = found["directory"]["shards"]
    assert len(shards) == 2
    assert all(shard["slots"] > 0 and shard["messages"] > 0 for shard in shards.values())
    victim = next(iter(shards.values()))
    await load.each_room_acks(3, 20)
    kill(victim["pid"])
    killed = dict(load.acked)
    stalled: set[str] = set()
    going: set[str] = set()

    def told_apart() -> bool:
        """When one room has got 10 acknowledgements, a stalled one has had what was under way, at most."""
        new = {room: load.acked[room] - killed[room] for room in load.rooms}
        if max(new.values()) >= 10 and not going:
            going.update(room for room, count in new.items() if count > 2)
            stalled.update(room for room, count in new.items() if count <= 2)
        return bool(going)

    await until(told_apart, 30, "some rooms go on")
    back_s = await load.each_room_acks(3, 60)
    tell(
        f"one of two shards killed: {len(stalled)} rooms stalled, {len(going)} went on; "
        f"all acknowledge again {back_s:.1f} s later"
    )
    assert going
    assert stalled
    verdict = await load.stop()
    assert verdict.faults == []
    await load.leave()
