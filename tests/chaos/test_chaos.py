"""Processes and nodes come, go and are killed under chat, presence and positions; the history checker judges.

A minute in `make test`, five in `make chaos`; HEREABOUTS_TEST_CHAOS_S says how long, HEREABOUTS_TEST_SEED
repeats a course of events.
"""

import asyncio
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
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
    """What happens to one engine and its second node. Kills come at their pace, also into the middle of what
    was started before: a command may then fail, which is counted and no fault."""

    def __init__(self, engine: Engine, node: Node, town: Town, chance: random.Random) -> None:
        self.engine = engine
        self.node = node
        self.town = town
        self.chance = chance
        self.happened: Counter[str] = Counter()
        self.node_is_up = False
        self._command: asyncio.Task[None] | None = None
        self._next_commands = [self.join_or_drain, self.scale]

    async def next(self) -> None:
        """Something starts or stops, unless that is under way; something else is killed."""
        if self._command is None or self._command.done():
            self._next_commands.append(self.chance.choice((self.scale, self.join_or_drain)))
            self._command = asyncio.create_task(self._run(self._next_commands.pop(0)))
        if self.node_is_up and self._command.done() and self.chance.random() < 0.5:
            self.kill_node()
        else:
            await self.kill_one()

    async def settled(self) -> None:
        """Waits for what is under way."""
        if self._command is not None:
            await self._command

    async def kill_one(self) -> None:
        """kill -9 of a process of any kind; now and then of a second one before the first is back."""
        for _ in range(self.chance.choice((1, 1, 2))):
            victim = self.chance.choice([*VICTIMS, "shard", "gateway"])
            found = await asyncio.to_thread(processes, self.town, victim)
            if found:
                kill(self.chance.choice(found))
                self.happened[f"killed {victim}"] += 1

    def kill_node(self) -> None:
        """Everything of the second node at once."""
        self.node.kill()
        self.node_is_up = False
        self.happened["killed node"] += 1

    async def _run(self, command: Callable[[], str]) -> None:
        try:
            what = await asyncio.to_thread(command)
        except (AssertionError, RuntimeError, subprocess.TimeoutExpired):
            what = f"{command.__name__} failed"
        self.happened[what] += 1

    def scale(self) -> str:
        """Shards and gateways of the first node: what goes hands over what it has."""
        shards, gateways = self.chance.randint(1, SHARDS_MOST), self.chance.randint(1, GATEWAYS_MOST)
        hereabouts(self.engine.data, "scale", "--shards", str(shards), "--gateways", str(gateways))
        return "scaled"

    def join_or_drain(self) -> str:
        """The second node joins, or is drained and stopped."""
        if not self.node_is_up:
            self.node.start()
            self.node_is_up = True
            return "node joined"
        self.node_is_up = False
        try:
            hereabouts(self.engine.data, "drain", self.node.name)
        finally:
            self.node.stop()
        return "node drained"


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
            await chaos.settled()
            await load.each_room_acks(3, ACKS_LIMIT_S)
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
