"""A process is killed while people cross fences: every crossing is told once, every membership moved once
(GEO-17, GEO-18, CHAT-19)."""

import asyncio
from collections.abc import Callable

from rt_client.crossers import Crossers
from rt_client.load import kill, processes
from rt_client.town import Town


async def test_no_crossing_is_lost_or_told_twice_when_a_shard_is_killed(
    town: Town, tell: Callable[[str], None]
) -> None:
    crossers = Crossers(town, pause_s=0.03)
    await crossers.start(people=4)
    await crossers.each_is_acked(10, 20)
    victim = (await asyncio.to_thread(processes, town, "shard"))[0]
    kill(victim)
    back_s = await crossers.each_is_acked(16, 60)
    verdict = await crossers.stop()
    tell(f"kill -9 of a shard under {verdict.crossings} crossings: fixes are answered {back_s:.1f} s later")
    assert crossers.refusals == []
    assert verdict.faults == []
    assert verdict.crossings >= 4 * 4
