"""People who stand together, and maps followed strictly: what is told must fit what was told before."""

import asyncio
from typing import Any

from rt_client.connection import Connection
from rt_client.town import Person, Town
from rt_client.walk import Clock, Place


class Follower:
    """What one connection is told of a map, strictly in order."""

    def __init__(self, connection: Connection, ch: str) -> None:
        self.connection, self.ch = connection, ch
        self.n, self.offset, self.rows = 0, 0, dict[str, Any]()
        self.gone: list[str] = []
        """Who was taken off, in that order."""
        self.models: list[str] = []
        """Of each frame that tells scores, whose they are."""

    async def begin(self, **options: Any) -> dict[str, Any]:
        before = self.connection.on_frame
        self.connection.on_frame = lambda frame: (before and before(frame), self.took(frame))
        return await self.connection.sub(self.ch, **options)

    def took(self, frame: dict[str, Any]) -> None:
        sub = frame.get("sub")
        if isinstance(sub, dict) and sub.get("ch") == self.ch:
            self.n, self.offset = sub["n"], sub["offset"]
            self.rows = {key: data for key, data, _ in sub["state"]}
        elif frame.get("p") == self.n and "k" in frame:
            assert frame["o"] > self.offset, "in order"
            self.offset = frame["o"]
            for key, sign, *rest in frame["k"]:
                assert (sign == "+") is (key not in self.rows), "nothing comes twice, nothing goes unseen"
                if sign == "-":
                    del self.rows[key]
                    self.gone.append(key)
                else:
                    self.rows[key] = rest[0]
            held = {row["model"] for row in self.rows.values() if "model" in row}
            assert len(held) <= 1, "one model at a time"
            self.models += held

    async def until(self, fact: Any, timeout_s: float = 20.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not fact(self.rows):
                assert not self.connection.closed.done()
                await asyncio.sleep(0.02)


async def stand(connection: Connection, place: Place, clock: Clock) -> None:
    await connection.command("pos", [*place.at(0), 5.0, clock.after(1)])


async def neighbours(town: Town, count: int, place: Place | None = None) -> list[tuple[Person, Connection]]:
    place, clock, found = place or Place(), Clock(60), []
    for person in town.persons(count):
        connection = await town.connected(person)
        await stand(connection, place, clock)
        found.append((person, connection))
    return found
