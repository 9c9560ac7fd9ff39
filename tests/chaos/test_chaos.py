"""Minutes of random kills under chat, presence and positions; the history checker judges.

make chaos                            (5 minutes)
HEREABOUTS_TEST_CHAOS_S=1800 make chaos
"""

import asyncio
import os
import random
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from rt_client.engine import Engine
from rt_client.load import VICTIMS, Load, kill, processes
from rt_client.town import Town, endless_people

from cluster.history import write

CHAOS_S = float(os.environ.get("HEREABOUTS_TEST_CHAOS_S", "300"))
BREATH_S = 5.0
"""After all rooms acknowledge again, before the next kill."""


@pytest.mark.slow
@pytest.mark.timeout(CHAOS_S + 300)
async def test_nothing_acknowledged_is_lost_in_minutes_of_random_kills(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every few seconds one process of any kind is killed; now and then a second before the first is back."""
    seed = int(time.time())
    chance = random.Random(seed)
    engine = Engine(tmp_path / "data")
    await asyncio.to_thread(engine.start)
    killed: Counter[str] = Counter()
    slowest_s = 0.0
    try:
        async with AsyncExitStack() as stack:
            town = Town(engine.url, engine.data, endless_people(engine.data, at_once=20), stack)
            load = Load(town, chance=chance)
            await load.start()
            await load.each_room_acks(3, 30)
            until_s = time.monotonic() + CHAOS_S
            while time.monotonic() < until_s:
                for _ in range(chance.choice((1, 1, 1, 2))):
                    victim = chance.choice(sorted(VICTIMS))
                    for pid in (await asyncio.to_thread(processes, town, victim))[:1]:
                        kill(pid)
                        killed[victim] += 1
                    await asyncio.sleep(chance.uniform(0, 1))
                slowest_s = max(slowest_s, await load.each_room_acks(3, 120))
                for member in load.members:
                    if chance.random() < 0.3:
                        await member.drop()
                await asyncio.sleep(chance.uniform(0, BREATH_S))
            verdict = await load.stop()
            for number, member in enumerate(load.members):
                write(member.log, tmp_path / f"history-{number}.jsonl")
            with capsys.disabled():
                print(f"\nseed {seed}; killed {dict(killed)}; slowest recovery {slowest_s:.1f} s; {verdict}")  # noqa: T201
            assert load.refusals == []
            assert verdict.faults == []
            assert verdict.resumes_recovered == verdict.resumes_within_limit > 0
            await load.all_see_all(timeout_s=60)
            await load.leave()
    finally:
        await asyncio.to_thread(engine.stop)
