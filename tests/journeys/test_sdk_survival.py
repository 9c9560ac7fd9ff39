"""Both SDKs keep talking while a process behind them is killed (RT-7, RT-9)."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from rt_client.load import kill, processes
from rt_client.town import Town
from sdk_hands.hand import Hand
from sdk_hands.kinds import KINDS, QUICK
from sdk_hands.typescript_hand import build

pytestmark = pytest.mark.timeout(240)
AFTER_THE_KILL = 20
"""So many more acknowledgements has each to get."""


class Talker:
    """Publishes one after the other, a few on the way at once, until told to stop."""

    def __init__(self, name: str, hand: Hand, room: str) -> None:
        self.name = name
        self.acks: list[Any] = []
        self._hand = hand
        self._room = room
        self._is_over = False
        self._runner = asyncio.create_task(self._run())

    async def _run(self) -> None:
        sent = 0
        while not self._is_over:
            some = [self._hand.publish(self._room, {"who": self.name, "n": sent + n}) for n in range(4)]
            sent += 4
            self.acks += await asyncio.gather(*some)
            await asyncio.sleep(0.1)

    async def has(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.acks) < count:
                if self._runner.done():
                    self._runner.result()
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        self._is_over = True
        await self._runner


@pytest.mark.parametrize("victim", ["gateway", "shard"])
async def test_a_kill_loses_doubles_and_reorders_nothing(
    town: Town, victim: str, tell: Callable[[str], None]
) -> None:
    await asyncio.to_thread(build)
    people = town.persons(len(KINDS))
    room = await town.room(*people)
    async with AsyncExitStack() as stack:
        hands = {kind: await stack.enter_async_context(KINDS[kind]()) for kind in KINDS}
        for me, hand in zip(people, hands.values(), strict=True):
            await hand.open(town.url, me.token, **QUICK)
            await hand.follow(room)
        begun = max(hand.of("subscribed", room)[0]["offset"] for hand in hands.values())
        talkers = [Talker(kind, hand, room) for kind, hand in hands.items()]
        await asyncio.gather(*(talker.has(12) for talker in talkers))
        kill((await asyncio.to_thread(processes, town, victim))[0])
        await asyncio.gather(*(talker.has(len(talker.acks) + AFTER_THE_KILL) for talker in talkers))
        await asyncio.gather(*(talker.stop() for talker in talkers))
        top = max(ack["offset"] for talker in talkers for ack in talker.acks)
        await asyncio.gather(
            *(hand.until(lambda hand=hand: hand.offsets(room)[-1] >= top) for hand in hands.values())
        )
        stored = [line.offset for line in await town.history(room, people[0]) if line.offset > begun]
        resumed = [event["resumed"] for hand in hands.values() for event in hand.of("online")[1:]]
        for kind, hand in hands.items():
            assert [offset for offset in hand.offsets(room) if offset > begun] == stored, kind
            assert not hand.of("gap"), kind
            assert all(event["recovered"] for event in hand.of("subscribed", room)[1:]), kind
        for talker in talkers:
            heard = [d["n"] for d in hands[talker.name].said(room) if d.get("who") == talker.name]
            assert heard == list(range(len(talker.acks))), talker.name
            assert [ack["offset"] for ack in talker.acks] == sorted({ack["offset"] for ack in talker.acks})
    again = sum(ack["duplicate"] for talker in talkers for ack in talker.acks)
    tell(
        f"kill -9 {victim} under both SDKs: {len(stored)} messages once each, {again} sent again; {resumed=}"
    )
    if victim == "gateway":
        assert resumed
        assert all(resumed)
