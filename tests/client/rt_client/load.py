"""People who talk and move all the time, and who say what became of it: the load of every kill test."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from cluster.check import Verdict
from cluster.history import Channel, End
from rt_client.member import Member
from rt_client.town import Person, Town, status
from rt_client.views import MapView, PresenceView, StreamView
from rt_client.walk import Place

VICTIMS = {
    "shard": lambda title: "hereabouts-shard" in title,
    "gateway": lambda title: "hereabouts-gateway" in title,
    "api": lambda title: "hereabouts-api" in title,
    "directory": lambda title: "hereabouts-directory" in title,
    "postgres": lambda title: "postgres" in title.split(" ")[0] and not title.startswith("postgres:"),
    "valkey": lambda title: "valkey" in title.split(" ")[0],
}
"""Kinds of process, and how `hereabouts status` titles them."""


def processes(town: Town, victim: str) -> list[int]:
    """The pids of a kind of process, now."""
    return [row["pid"] for row in status(town.data)["processes"] if VICTIMS[victim](row["title"])]


def kill(pid: int) -> None:
    """kill -9."""
    os.kill(pid, signal.SIGKILL)


async def until(wanted: Callable[[], bool], timeout_s: float, what: str) -> float:
    """How long it took; fails, saying `what`, after `timeout_s`."""
    begun_s = time.monotonic()
    while not wanted():
        if time.monotonic() > begun_s + timeout_s:
            raise AssertionError(f"not after {timeout_s} s: {what}")
        await asyncio.sleep(0.02)
    return time.monotonic() - begun_s


class Load:
    """`people` who follow every room, `near` and one room's presence; two of them write in each room."""

    def __init__(self, town: Town, *, chance: random.Random, pause_s: float = 0.08) -> None:
        self.town = town
        self.members: list[Member] = []
        self.durable: dict[str, Person] = {}
        self.memory: dict[str, Person] = {}
        self.acked: dict[str, int] = {}
        self.refusals: list[str] = []
        self._chance = chance
        self._pause_s = pause_s
        self._place = Place()
        self._tasks: list[asyncio.Task[None]] = []
        self._writing = True

    @property
    def rooms(self) -> list[str]:
        return [*self.durable, *self.memory]

    async def start(self, people: int = 6, durable: int = 4, memory: int = 2) -> None:
        crowd = self.town.persons(people)
        for number in range(durable + memory):
            owner = crowd[number % people]
            others = [person for person in crowd if person is not owner]
            kind = "durable" if number < durable else "memory"
            room = await self.town.room(owner, *others, durability=kind)
            (self.durable if kind == "durable" else self.memory)[room] = owner
            self.acked[room] = 0
        for index, person in enumerate(crowd):
            member = await self.town.member(person, ("json", "msgpack")[index % 2], device="phone")
            self.members.append(member)
            member.log += [Channel(client=member.name, ch=room, memory=True) for room in self.memory]
            for room in self.rooms:
                await member.follow(room)
            await member.follow(f"presence:{self.rooms[0]}", mode="map")
            await member.follow("near", mode="map", filter={"radius_m": 2000, "audience": "everyone"})
        for number, room in enumerate(self.rooms):
            for writer in (self.members[number % people], self.members[(number + 1) % people]):
                self._tasks.append(asyncio.create_task(self._write(writer, room)))
        for index, member in enumerate(self.members):
            self._tasks.append(asyncio.create_task(self._walk(member, index)))

    async def _write(self, member: Member, room: str) -> None:
        number = 0
        while self._writing:
            ack = "durable" if room in self.durable and number % 4 else "relay"
            try:
                await member.publish(room, {"text": f"{member.name} {number}"}, ack=ack)
            except Exception as refused:  # noqa: BLE001 - whatever ends a writer is told at the end
                self.refusals.append(f"{room}: {refused!r}")
                return
            self.acked[room] += 1
            number += 1
            await asyncio.sleep(self._chance.uniform(0, 2 * self._pause_s))

    async def _walk(self, member: Member, index: int) -> None:
        step = 0
        while True:
            lat, lon = self._place.at(40.0 * index + abs(step % 40 - 20), 20.0)
            await member.position(lat, lon, int(time.time() * 1000))
            step += 1
            await asyncio.sleep(0.25)

    async def each_room_acks(self, count: int, timeout_s: float, rooms: list[str] | None = None) -> float:
        """Waits until every room has `count` new acknowledgements; how long that took."""
        goals = {room: self.acked[room] + count for room in rooms or self.rooms}
        return await until(
            lambda: bool(self.refusals) or all(self.acked[room] >= goal for room, goal in goals.items()),
            timeout_s,
            f"acknowledged, of {goals}: {self.acked}",
        )

    async def stop(self) -> Verdict:
        """Ends the writing, lets everybody catch up, and asks the history checker."""
        self._writing = False
        writers = self._tasks[: 2 * len(self.rooms)]
        async with asyncio.timeout(60):
            await asyncio.gather(*writers)
        tops = {room: len(await self.town.history(room, owner)) for room, owner in self.durable.items()}
        await until(
            lambda: all(
                isinstance(view := member.views[room], StreamView)
                and view.offset >= top
                and view.unsettled_from is None
                for member in self.members
                for room, top in tops.items()
            ),
            30,
            "everybody has caught up",
        )
        for member in self.members:
            member.log += [End(client=member.name, ch=room) for room in self.durable]
        return await self.town.verdict(self.durable)

    async def all_see_all(self, timeout_s: float = 40) -> None:
        """Everybody sees every other person near, and each person present exactly once: a device that comes
        back replaces its lost socket."""
        users = {member.user for member in self.members}
        await until(
            lambda: all(self._near(member) == users - {member.user} for member in self.members),
            timeout_s,
            f"everybody near: {[len(self._near(member)) for member in self.members]} of {len(users) - 1}",
        )
        await until(
            lambda: all(self._present(member) == sorted(users) for member in self.members),
            timeout_s,
            f"everybody present: {[len(self._present(each)) for each in self.members]} of {len(users)}",
        )

    def _near(self, member: Member) -> set[str]:
        view = member.views["near"]
        return set(view.rows) if isinstance(view, MapView) else set()

    def _present(self, member: Member) -> list[str]:
        view = member.views[f"presence:{self.rooms[0]}"]
        return sorted(meta["u"] for meta in view.metas.values()) if isinstance(view, PresenceView) else []

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
