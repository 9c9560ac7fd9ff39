"""Processes are killed and hung while people cross fences bound to rooms; the history checker judges.

A minute in `make test-full`, five in `make chaos`; HEREABOUTS_TEST_CHAOS_S says how long,
HEREABOUTS_TEST_SEED repeats a course of events.
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from rt_client.crossers import Crossers
from rt_client.engine import Engine
from rt_client.load import kill, processes
from rt_client.town import Town, endless_people, hereabouts

from cluster.history import write

CHAOS_S = float(os.environ.get("HEREABOUTS_TEST_CHAOS_S", "60"))
PACE_S = 8.0
HUNG_S = 8.0
"""Longer than a shard keeps its slots without a sign of life."""

ANSWERED_WITHIN_S = 120.0
KILLED = ("shard", "shard", "gateway", "directory", "postgres")
HUNG = ("shard", "gateway", "directory")

pytestmark = pytest.mark.slow


async def hang(pid: int) -> None:
    """SIGSTOP for a while; the process may be replaced meanwhile."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(HUNG_S)
        os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(CHAOS_S + 420)
async def test_each_crossing_is_told_once_and_moves_membership_once_whatever_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """GEO-17, GEO-18, CHAT-19: fixes that were answered give the crossings of an undisturbed walk."""
    chance = random.Random(seed := int(os.environ.get("HEREABOUTS_TEST_SEED") or time.time()))
    engine = Engine(tmp_path / "data", HEREABOUTS_SHARDS="2", HEREABOUTS_GATEWAYS="2")
    happened: Counter[str] = Counter()
    hung: list[asyncio.Task[None]] = []
    slowest_s = 0.0
    try:
        await asyncio.to_thread(engine.start)
        async with AsyncExitStack() as stack:
            town = Town(engine.url, engine.data, endless_people(engine.data, at_once=20), stack)
            crossers = Crossers(town, pause_s=0.06)
            await crossers.start(people=6)
            await crossers.each_is_acked(10, 30)
            until_s = time.monotonic() + CHAOS_S
            while (begun_s := time.monotonic()) < until_s:
                happened[await strike(town, chance, hung)] += 1
                slowest_s = max(slowest_s, await crossers.each_is_acked(5, ANSWERED_WITHIN_S))
                for member in crossers.members:
                    if chance.random() < 0.2:
                        await member.drop()
                await asyncio.sleep(max(0.0, begun_s + PACE_S * chance.random() - time.monotonic()))
            await asyncio.gather(*hung)
            verdict = await crossers.stop(120)
            for member in crossers.members:
                write(member.log, tmp_path / f"history-{member.user}.jsonl")
            write(await crossers.stored(), tmp_path / "stored.jsonl")
            with capsys.disabled():
                print(  # noqa: T201
                    f"\nseed {seed}; {dict(happened)}; slowest until all fixes were answered again "
                    f"{slowest_s:.1f} s; {verdict.crossings} crossings; {verdict}"
                )
            assert crossers.refusals == []
            assert verdict.faults == []
            assert verdict.crossings > CHAOS_S
    finally:
        await asyncio.to_thread(engine.stop)


async def strike(town: Town, chance: random.Random, hung: list[asyncio.Task[None]]) -> str:
    """Kills or hangs a process, or moves slots from shard to shard; says what it did."""
    draw = chance.random()
    if draw < 0.15:
        shards = chance.choice((1, 2, 3))
        with suppress(AssertionError):
            await asyncio.to_thread(hereabouts, town.data, "scale", "--shards", str(shards))
        return "scaled"
    kind = chance.choice(HUNG if draw < 0.4 else KILLED)
    found = await asyncio.to_thread(processes, town, kind)
    if not found:
        return f"no {kind}"
    if draw < 0.4:
        hung.append(asyncio.create_task(hang(chance.choice(found))))
        return f"hung {kind}"
    kill(chance.choice(found))
    return f"killed {kind}"
