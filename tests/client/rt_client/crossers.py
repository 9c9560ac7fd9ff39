"""People who walk in and out of fences that are bound to rooms, and what the engine has stored of it: the
load of the kill tests of crossings."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from typing import Any

from cluster.check import Verdict, check
from cluster.history import AnyLine, Bound, Crossed, Logged, Members, Moved, Walked, entries
from rt_client.connection import Closed, Refused
from rt_client.load import until
from rt_client.member import Member
from rt_client.town import Person, Town
from rt_client.walk import Place

FENCES = 3
FIXES_A_SIDE = 4
"""Two decide; a process that dies may forget one or two that were on the way."""

_HALF_SIDE_M = 60.0
_APART_M = 300.0
_STEP_S, _STAND_S = 2.5, 0.5
"""Between fixes by a walker's clock, which runs faster than ours until it has caught up with it."""

_BEHIND_MOST_S = 600.0
_RESEND_S = 0.2


class Crossers:
    """People who cross the fences one after the other, back and forth; each fix is sent until answered."""

    def __init__(self, town: Town, *, pause_s: float = 0.1) -> None:
        self.town = town
        self.members: list[Member] = []
        self.refusals: list[str] = []
        self.acked: dict[str, int] = defaultdict(int)
        """Fixes by user."""
        self._pause_s = pause_s
        self._place = Place()
        self._host: Person
        self._rooms: dict[str, str] = {}
        """Fence → room, by place."""
        self._walked: dict[str, dict[str, list[str]]] = {}
        """User → fence → what their answered fixes have to give."""
        self._walkers: list[asyncio.Task[None]] = []
        self._walking = True

    async def start(self, people: int) -> None:
        """Rooms, fences, everybody's leave to be taken in; then everybody walks."""
        host, *crowd = self.town.persons(1 + people)
        self._host = host
        for number in range(FENCES):
            room = await self.town.room(host, kind="place")
            feature = self._place.square(_HALF_SIDE_M, room=room[5:], name=f"place {number}")
            lat, lon = self._place.at(_APART_M * number)
            (ring,) = feature["geometry"]["coordinates"]
            shift_lat, shift_lon = lat - self._place.lat, lon - self._place.lon
            feature["geometry"]["coordinates"] = [[[x + shift_lon, y + shift_lat] for x, y in ring]]
            answer = await self.town.http("POST", "/v1/fences", feature, host)
            assert answer.status == 201, answer
            self._rooms[str(answer.body["id"])] = room
        for index, person in enumerate(crowd):
            for fence in self._rooms:
                wish = {"grant": "exact", "auto_join": True}
                granted = await self.town.http("PUT", f"/v1/me/fences/{fence}", wish, person)
                assert granted.status in {200, 204}, granted
            member = await self.town.member(person, ("json", "msgpack")[index % 2], device="phone")
            await member.follow("fences")
            self.members.append(member)
            self._walked[person.user] = {fence: [] for fence in self._rooms}
            self._walkers.append(asyncio.create_task(self._walk(member)))

    def _route(self) -> Iterator[tuple[float, str, str]]:
        """(metres east, fence, event) for ever: from before the first to behind the last, and back."""
        places = [(number * _APART_M, fence) for number, fence in enumerate(self._rooms)]
        for route, on_m in cycle([(places, _APART_M / 2), (places[::-1], -_APART_M / 2)]):
            for at_m, fence in route:
                yield at_m, fence, "enter"
                yield at_m + on_m, fence, "exit"

    async def _walk(self, member: Member) -> None:
        now_ms = int((time.time() - _BEHIND_MOST_S) * 1000)
        north_m = 5.0 * len(self._walkers)
        await self._fix(member, *self._place.at(-_APART_M / 2, north_m), now_ms)
        for east_m, fence, event in self._route():
            lat, lon = self._place.at(east_m, north_m)
            for number in range(FIXES_A_SIDE):
                step_s = _STAND_S if number else _STEP_S
                now_ms = max(now_ms + int(step_s * 1000), int((time.time() - _BEHIND_MOST_S) * 1000))
                if not await self._fix(member, lat, lon, now_ms):
                    return
                await asyncio.sleep(max(self._pause_s, now_ms / 1000 - time.time()))
            self._walked[member.user][fence].append(event)
            if not self._walking:
                return

    async def _fix(self, member: Member, lat: float, lon: float, t_ms: int) -> bool:
        """Sends a fix until it is answered; whether it was taken."""
        while True:
            connection = await member.online()
            try:
                await connection.command("pos", [round(lat, 7), round(lon, 7), 5.0, t_ms], seq=t_ms)
            except Refused as refused:
                if not refused.temporary:
                    self.refusals.append(f"{member.name}: {refused}")
                    return False
                await asyncio.sleep(refused.err.get("retry_ms", 0) / 1000 or _RESEND_S)
            except TimeoutError:
                await connection.drop()
            except Closed:
                await asyncio.sleep(0)
            else:
                self.acked[member.user] += 1
                return True

    async def each_is_acked(self, count: int, timeout_s: float) -> float:
        """Waits until everybody has `count` more fixes answered; how long that took."""
        goals = {member.user: self.acked[member.user] + count for member in self.members}
        return await until(
            lambda: bool(self.refusals) or all(self.acked[user] >= goal for user, goal in goals.items()),
            timeout_s,
            f"fixes of {goals} are answered: {dict(self.acked)}",
        )

    # -- the end ----------------------------------------------------------------------------------------

    async def stop(self, timeout_s: float = 60) -> Verdict:
        """Everybody ends where they have just been seen to be; what is stored is held against the walk."""
        self._walking = False
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*self._walkers)
        due = sum(len(events) for fences in self._walked.values() for events in fences.values())
        walked = [
            Walked(user=user, fence=fence, events=events)
            for user, fences in self._walked.items()
            for fence, events in fences.items()
        ]
        with suppress(AssertionError):  # the verdict says what is missing
            await until(lambda: self._told() >= due, timeout_s, "all crossings are told")
        stored = await self.stored()
        histories = [entries(member.name, self._named(member)) for member in self.members]
        return check([*histories, entries("walks", walked)], [entries("stored", stored)])

    def _told(self) -> int:
        return sum(len(member.stream("fences").publications) for member in self.members)

    def _named(self, member: Member) -> Iterator[AnyLine]:
        """A member's lines; `fences` is another stream for everybody."""
        for line in member.log:
            is_own = getattr(line, "ch", "") == "fences"
            yield _renamed(line, f"fences:{member.user}") if is_own else line

    async def stored(self) -> list[AnyLine]:
        """Everybody's crossings, the rooms' logs and who is in them, as the engine tells it."""
        lines: list[AnyLine] = [Bound(fence=fence, ch=room) for fence, room in self._rooms.items()]
        for member in self.members:
            lines += await self._crossings(member)
        for room in self._rooms.values():
            lines += await self._room(room)
        return lines

    async def _crossings(self, member: Member) -> list[AnyLine]:
        lines: list[AnyLine] = []
        connection = await member.online()
        since: dict[str, Any] = {}
        while True:
            page = await connection.hist("fences", **since)
            for m in page["pubs"]:
                lines += [
                    Logged(ch=f"fences:{member.user}", epoch=page["epoch"], offset=m["o"], id=m["i"]),
                    Crossed(user=member.user, offset=m["o"], fence=m["d"]["fence"], event=m["d"]["event"]),
                ]
            last = page["pubs"][-1]["o"] if page["pubs"] else page["offset"]
            if last >= page["offset"]:
                return lines
            since = {"since": {"epoch": page["epoch"], "offset": last}}

    async def _room(self, room: str) -> list[AnyLine]:
        lines: list[AnyLine] = []
        after = 0
        while True:
            path = f"/v1/rooms/{room[5:]}/messages?after={after}&limit=300"
            answer = await self.town.http("GET", path, who=self._host)
            assert answer.status == 200, answer
            for m in answer.body["items"]:
                kind = str(m["d"].get("type"))
                lines.append(Moved(ch=room, offset=m["o"], user=m["u"] or m["d"]["user"], event=kind))
                after = m["o"]
            if not answer.body["items"]:
                break
        shown = await self.town.http("GET", f"/v1/rooms/{room[5:]}", who=self._host)
        inside = [each["user"] for each in shown.body["members"] if each["user"] != self._host.user]
        return [*lines, Members(ch=room, users=inside)]


def _renamed(line: AnyLine, ch: str) -> AnyLine:
    return type(line)(**{**{name: getattr(line, name) for name in line.__struct_fields__}, "ch": ch})
