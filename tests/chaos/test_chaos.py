"""Processes and nodes come, go and are killed under chat, presence and positions; the history checker judges.

A minute in `make test`, five in `make chaos`; HEREABOUTS_TEST_CHAOS_S says how long, HEREABOUTS_TEST_SEED
repeats a course of events.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from rt_client.engine import Engine
from rt_client.load import VICTIMS, Load, kill, processes
from rt_client.node import Node
from rt_client.town import Town, endless_people, hereabouts

CHAOS_S = float(os.environ.get("HEREABOUTS_TEST_CHAOS_S", "60"))
PACE_S = 10.0
"""Something happens so often, or as soon as all rooms acknowledge again."""

ACKS_LIMIT_S = 120.0
SHARDS_MOST = 4
GATEWAYS_MOST = 3


class Chaos:
    """What happens to one engine and its second node."""

    def __init__(self, engine: Engine, node: Node, town: Town, chance: random.Random) -> None:
        self.engine = engine
        self.node = node
        self.town = town
        self.chance = chance
        self.happened: Counter[str] = Counter()
        self.node_is_up = False
        self._first: list[Callable[[], Awaitable[str]]] = [
            self.kill_one, self.scale, self.node_comes_or_goes, self.kill_one, self.kill_node, self.scale,
        ]  # fmt: skip
        """However short it is, there was one of each."""

    async def next(self) -> None:
        """One thing."""
        kinds = [*[self.kill_one] * 4, *[self.scale] * 2, self.node_comes_or_goes, self.kill_node]
        what = self._first.pop(0) if self._first else self.chance.choice(kinds)
        self.happened[await what()] += 1

    async def kill_one(self) -> str:
        """kill -9 of a process of any kind; now and then of a second one before the first is back."""
        victims = []
        for _ in range(self.chance.choice((1, 1, 2))):
            victim = self.chance.choice([*VICTIMS, "shard", "gateway"])
            for pid in (await asyncio.to_thread(processes, self.town, victim))[:1]:
                kill(pid)
                victims.append(victim)
        return f"killed {'+'.join(sorted(victims))}"

    async def scale(self) -> str:
        """Shards and gateways of the first node: what goes hands over what it has."""
        shards, gateways = self.chance.randint(1, SHARDS_MOST), self.chance.randint(1, GATEWAYS_MOST)
        await asyncio.to_thread(
            hereabouts, self.engine.data, "scale", "--shards", str(shards), "--gateways", str(gateways)
        )
        return "scaled"

    async def node_comes_or_goes(self) -> str:
        """The second node joins, or is drained and stopped."""
        if not self.node_is_up:
            await asyncio.to_thread(self.node.start)
            self.node_is_up = True
            return "node joined"
        await asyncio.to_thread(hereabouts, self.engine.data, "drain", self.node.name)
        await asyncio.to_thread(self.node.stop)
        self.node_is_up = False
        return "node drained"

    async def kill_node(self) -> str:
        """Everything of the second node at once."""
        if not self.node_is_up:
            return await self.node_comes_or_goes()
        self.node.kill()
        self.node_is_up = False
        return "killed node"


@pytest.mark.timeout(CHAOS_S + 420)
async def test_nothing_acknowledged_is_lost_while_processes_come_go_and_are_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CHAT-3, RT-2, RT-7, ACT-4, ACT-5, ACT-9. Every durable resume with at most 300 missed is recovered."""
    seed = int(os.environ.get("HEREABOUTS_TEST_SEED") or time.time())
    chance = random.Random(seed)
    engine = Engine(tmp_path / "data")
    node = Node(engine, tmp_path / "second", "second")
    slowest_s = 0.0
    try:
        await asyncio.to_thread(engine.start)
        async with AsyncExitStack() as stack:
            town = Town(engine.url, engine.data, endless_people(engine.data, at_once=20), stack)
            load = Load(town, chance=chance, pause_s=0.12)
            await load.start()
            await load.each_room_acks(3, 30)
            chaos = Chaos(engine, node, town, chance)
            until_s = time.monotonic() + CHAOS_S
            while (begun_s := time.monotonic()) < until_s:
                await chaos.next()
                slowest_s = max(slowest_s, await load.each_room_acks(3, ACKS_LIMIT_S))
                for member in load.members:
                    if chance.random() < 0.3:
                        await member.drop()
                await asyncio.sleep(max(0.0, begun_s + PACE_S - time.monotonic()))
            verdict = await load.stop()
            town.histories(tmp_path)
            with capsys.disabled():
                print(  # noqa: T201
                    f"\nseed {seed}; {dict(chaos.happened)}; "
                    f"slowest until all rooms acknowledged again {slowest_s:.1f} s; {verdict}"
                )
            assert load.refusals == []
            assert verdict.faults == []
            assert verdict.skips == 0
            assert verdict.resumes_recovered == verdict.resumes_within_limit > 0
            await load.all_see_all(timeout_s=60)
            await load.leave()
    finally:
        await asyncio.to_thread(node.stop)
        await asyncio.to_thread(engine.stop)
