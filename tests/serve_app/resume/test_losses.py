"""Whatever is lost on the way, a session that is taken up again shows every publication in order (RT-7)."""

import asyncio
import json
import random
from typing import Any

import pytest

from storage.ids import new_id

ROOM = f"room:{new_id()}"


async def stored(gateway: Any) -> None:
    await gateway.around.sessions.settled()


class Reader:
    """A client that reads a part of what was sent to it and may lose the rest (docs/protocol.md §2.3)."""

    def __init__(self) -> None:
        self.user = new_id()
        self.wire: Any = None
        self.read = 0
        self.offset = -1
        self.resume: dict[str, str] | None = None
        self.told: list[int] = []
        self.faults: list[str] = []
        self.resumes = 0

    async def come(self, gateway: Any, *, with_position: bool) -> None:
        self.wire = gateway.wire()
        self.read = 0
        subs: dict[str, Any] = {}
        if self.offset < 0:
            subs = {ROOM: {}}
        elif with_position:
            subs = {ROOM: {"epoch": "epoch-1", "offset": self.offset}}
        body = {"token": gateway.token(self.user), "subs": subs, "resume": self.resume}
        self.wire.says({"id": 1, "connect": body})
        await gateway.until(lambda: bool(self.wire.messages))

    def reads(self, count: int) -> None:
        for message in self.wire.messages[self.read : self.read + count]:
            for line in message.split(b"\n"):
                self.takes(json.loads(line))
        self.read = min(self.read + count, len(self.wire.messages))

    def takes(self, frame: dict[str, Any]) -> None:
        if not frame:
            self.wire.says({})
        elif "connect" in frame:
            self.welcomed(frame["connect"])
        elif "m" in frame:
            self.shows(frame["m"]["o"])

    def welcomed(self, greeting: dict[str, Any]) -> None:
        self.resumes += greeting["resumed"]
        if self.resume is not None and not greeting["resumed"]:
            self.faults.append("not resumed")
        self.resume = {name: greeting[name] for name in ("sid", "key")}
        result = greeting["subs"][ROOM]
        if self.offset < 0:
            self.offset = result["offset"]
        elif not result["recovered"]:
            self.faults.append("not recovered")
        for m in result["pubs"]:
            self.shows(m["o"])
        if self.offset < result["offset"]:
            self.faults.append(f"at {self.offset} after a recovery to {result['offset']}")

    def shows(self, offset: int) -> None:
        if offset == self.offset + 1:
            self.offset = offset
            self.told.append(offset)
        elif offset > self.offset:
            self.faults.append(f"{offset} after {self.offset}")


@pytest.mark.parametrize("seed", range(15))
async def test_whatever_is_lost_on_the_way_every_publication_is_shown_in_order(
    two: Any, far: Any, seed: int
) -> None:
    chance = random.Random(seed)
    readers = [Reader() for _ in range(3)]
    for _ in range(chance.randrange(4)):
        far.publish(ROOM, "u")
    for reader in readers:
        await reader.come(chance.choice(two), with_position=True)
        reader.reads(1)
    begun = [reader.offset for reader in readers]
    for _ in range(60):
        reader = chance.choice(readers)
        match chance.choice(["say", "say", "read", "read", "ping", "lose"]):
            case "say":
                far.publish(ROOM, "u")
            case "read":
                await two[0].settled()
                reader.reads(chance.randrange(1, 4))
            case "ping":
                for gateway in two:
                    gateway.clock.now_s += 25.0
                for each in readers:
                    each.wire.session._pong_due_s = None  # slow is not dead: what is lost is chosen here
                    each.wire.session.expires_s = float("inf")
                    each.wire.session.beat(two[0].clock.now_s)
            case "lose":
                reader.wire.session.closed(None)
                with_position = chance.random() < 0.5
                if not with_position:  # it has a position to go on from when the loss is stored
                    await asyncio.gather(*map(stored, two))
                await reader.come(chance.choice(two), with_position=with_position)
    for reader in readers:
        await two[0].settled()
        reader.wire.session.closed(None)
        await asyncio.gather(*map(stored, two))
        await reader.come(chance.choice(two), with_position=False)
        reader.reads(1_000)
        assert reader.faults == []
    top = far.stream(ROOM).top
    assert [reader.told for reader in readers] == [list(range(start + 1, top + 1)) for start in begun]
    assert sum(reader.resumes for reader in readers) > 0
