"""Slots that move between live shards: nothing lost, nothing twice, nothing out of order (ACT-5)."""

import asyncio
from collections import Counter, defaultdict
from typing import Any

import msgspec
import pytest

from actors import messages as wire
from actors.placement import slot_of
from actors.protocol import EngineError


class Chat:
    """Writers that do not wait for their acks, in rooms that somebody hears."""

    def __init__(self, small: Any) -> None:
        self.small = small
        self.writers: list[str] = []
        self.rooms: dict[str, bool] = {}
        """Room → whether it is durable."""
        self.epochs: dict[str, str] = {}
        self.sent: Counter[tuple[str, str]] = Counter()
        self.acked: dict[str, dict[int, tuple[str, int]]] = defaultdict(dict)
        self.failed: list[EngineError] = []
        self.resubscribed = 0
        self.going = True

    async def begin(self, writers: int, rooms: int) -> None:
        small = self.small
        self.writers = [await small.person() for _ in range(writers)]
        for number in range(rooms):
            durable = number % 3 == 0
            room = await small.room(*self.writers, durability="durable" if durable else "memory")
            self.rooms[room] = durable
            page = await small.subscribe(f"room:{room}", self.writers[0], f"ear-{room}")
            self.epochs[room] = page["epoch"]
            await small.subscribe(f"presence:room:{room}", self.writers[0], f"watch-{room}")
        small.pushes.clear()
        small.router.on_slots_moved = self._moved

    def _moved(self, slots: set[int]) -> None:
        self.resubscribed += sum(slot_of("room", room) in slots for room in self.rooms)
        self.small.tell(slots)

    async def write(self, writer: str) -> None:
        """A call and a cast to every room, again and again, without waiting."""
        while self.going:
            for room in self.rooms:
                self._say(room, writer)
            await asyncio.sleep(0.005)

    def _say(self, room: str, writer: str) -> None:
        self.sent[room, writer] += 1
        number = self.sent[room, writer]
        d = msgspec.json.encode({"n": number})
        if number % 2:
            self.small.router.cast(
                "room", room, wire.Publish(0, f"room:{room}", writer, "c", d, f"{writer}-{number}", "none")
            )
            return

        def done(reply: Any, error: EngineError | None) -> None:
            if error is not None:
                self.failed.append(error)
            else:
                self.acked[room][reply["o"]] = (writer, number)

        ack = "durable" if self.rooms[room] else "relay"
        message = wire.Publish(0, f"room:{room}", writer, "c", d, f"{writer}-{number}", ack)
        self.small.router.call("room", room, message, done)

    async def run(self, work: Any) -> None:
        """Writes until `work` has ended and everything has arrived."""
        async with asyncio.TaskGroup() as group:
            for writer in self.writers:
                group.create_task(self.write(writer))
            await work
            self.going = False
        await self.small.until(
            lambda: len([p for p in self.small.pushes if isinstance(p, wire.Push)]) >= sum(self.sent.values())
        )

    def check(self) -> None:
        assert not self.failed
        heard: dict[str, dict[int, tuple[str, int]]] = defaultdict(dict)
        for push in self.small.pushes:
            assert isinstance(push, wire.Push), push
            room = push.ch.removeprefix("room:")
            assert push.offset not in heard[room], "heard twice"
            heard[room][push.offset] = push.user, msgspec.json.decode(push.m)["d"]["n"]
        for room in self.rooms:
            said = [heard[room][offset] for offset in sorted(heard[room])]
            assert sorted(heard[room]) == list(range(1, len(said) + 1))
            for writer in self.writers:
                numbers = [number for who, number in said if who == writer]
                assert numbers == list(range(1, self.sent[room, writer] + 1)), "lost or out of order"
            for offset, what in self.acked[room].items():
                assert heard[room][offset] == what


def balanced(small: Any, shards: int) -> bool:
    counts = Counter(small.router.view.owners)
    return len(counts) == shards and max(counts.values()) - min(counts.values()) <= 1


def late(router: Any, delay_s: float) -> None:
    """From now on this process hears of views later than the others."""
    adopt = router.adopt_view
    router.adopt_view = lambda view: asyncio.get_running_loop().call_later(delay_s, adopt, view)


@pytest.mark.parametrize("who_hears_late", ["nobody", "the gateway", "the shards", "the new shard"])
async def test_scaling_out_and_in_under_load_loses_doubles_and_reorders_nothing(small, who_hears_late):
    """Memory rooms keep their epochs, nobody has to subscribe again, presence does not flap: in whatever
    order the gateway and the shards hear of a view.
    """
    chat = Chat(small)
    await chat.begin(writers=3, rooms=9)
    if who_hears_late == "the gateway":
        late(small.router, 0.1)
    if who_hears_late == "the shards":
        for number, shard in small.shards.items():
            late(shard.router, 0.05 + 0.05 * number)

    async def scale() -> None:
        await small.start_shard(2)
        if who_hears_late == "the new shard":
            late(small.shards[2].router, 0.1)
        await small.until(lambda: balanced(small, 3))
        await small.start_shard(3)
        await small.until(lambda: balanced(small, 4))
        await small.retire_shard(2)
        await small.until(lambda: balanced(small, 3))
        await small.retire_shard(3)
        await small.until(lambda: balanced(small, 2))

    async with asyncio.timeout(60):
        await chat.run(scale())
    chat.check()
    assert chat.resubscribed == 0
    for room, epoch in chat.epochs.items():
        page = await small.subscribe(f"room:{room}", chat.writers[0], "again")
        assert page["epoch"] == epoch
        assert page["offset"] == sum(chat.sent[room, writer] for writer in chat.writers)
    assert sum(shard.moving.taken for shard in small.shards.values()) > 0
