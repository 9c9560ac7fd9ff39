"""One person of the replay: walks, sees who is near, crosses fences, joins the place's room and talks."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster.demo.account import Account
from cluster.demo.client import Client, CommandError
from cluster.demo.places import Place
from cluster.demo.ports import PortError
from cluster.demo.story import Story
from cluster.demo.walks import DeviceClock, Walk
from cluster.report.recorder import Recorder
from geo.distance import distance_m

NEAR_RADIUS_M = 1_500
SENT_AT_MOST_PER_S = 4.0
ACCURACY_M = 5.0
BELIEVED_MPS = 60.0
"""The engine holds whoever goes faster than 70 m/s for a jump (GEO-3)."""

REMEMBERED = 400
ANSWER_S = (0.8, 2.5)

ARRIVALS = (
    "Just came into {place}. Anybody here?",
    "Hello from {place}!",
    "Made it to {place}, still going.",
    "Passing through {place}.",
)
WELCOMES = (
    "Hi {who}, I am here too.",
    "Welcome, {who}.",
    "I see you on the map, {who}.",
    "Good pace, {who}!",
)


@dataclass(slots=True)
class Cast:
    """Who is on stage: names by user id, what was said when, and the places by fence and by room."""

    names: dict[str, str]
    guests: dict[str, str]
    places: dict[str, Place]
    said_at: dict[str, float]
    heard_at: dict[str, list[float]]
    story: Story
    chance: random.Random

    def name(self, user: str) -> str:
        return self.names.get(user) or self.guests.get(user, "guest")


class Person:
    """A walker with a connection. The short `name` is for the story; the handle is the account's."""

    def __init__(
        self, name: str, account: Account, walk: Walk, cast: Cast, recorder: Recorder | None = None
    ) -> None:
        self.name = name
        self.account = account
        self.walk = walk
        self.cast = cast
        self.fixes = 0
        self._recorder = recorder
        self.client = Client(account.doors, account.token, self._hear, cast.chance)
        self._sent: dict[int, float] = {}
        self._inside: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, speed: float, now_ms: Callable[[], int]) -> None:
        """Connects, walks to the end of the walk, and leaves."""
        self.client.subscribe("near", mode="map", filter={"radius_m": NEAR_RADIUS_M, "audience": "everyone"})
        self.client.subscribe("fences", mode="stream")
        connection = asyncio.ensure_future(self.client.run())
        walking = asyncio.ensure_future(self._walk(speed, now_ms))
        if self._recorder is not None:
            self._soon(self._recorder.stranger.run())
        try:
            await asyncio.wait({connection, walking}, return_when=asyncio.FIRST_COMPLETED)
            if connection.done():
                connection.result()  # raises: it never ends otherwise
            walking.result()
            if self._recorder is not None:
                await self._recorder.ends(self.account)
            self.cast.story.tell("goes", self.name, "has walked to the end and goes")
        finally:
            for task in (connection, walking, *self._tasks):
                task.cancel()
            await asyncio.gather(connection, walking, *self._tasks, return_exceptions=True)

    async def _walk(self, speed: float, now_ms: Callable[[], int]) -> None:
        await self.client.live.wait()
        if self._recorder is not None:
            await self._recorder.stranger.live.wait()
        clock, begin, last = DeviceClock(speed, now_ms()), time.monotonic(), None
        for after_ms, point in self.walk.dues(at_least_apart_ms=round(1_000 * speed / SENT_AT_MOST_PER_S)):
            await asyncio.sleep(begin + clock.wait_s(after_ms) - time.monotonic())
            if last is not None and clock.has_caught_up(after_ms, now_ms()):
                # From here on the engine's clock judges the pace: nobody goes faster than it believes.
                late_s = distance_m(last.lat, last.lon, point.lat, point.lon) / BELIEVED_MPS
                late_s -= (clock.tells(after_ms, now_ms()) - self.account.last_t_ms) / 1_000
                if late_s > 0:
                    begin += late_s
                    await asyncio.sleep(late_s)
            last = point
            t_ms = max(clock.tells(after_ms, now_ms()), self.account.last_t_ms + 1)
            self.account.last_t_ms = t_ms
            self._sent[t_ms] = time.monotonic()
            if len(self._sent) > REMEMBERED:
                del self._sent[next(iter(self._sent))]
            fix = [point.lat, point.lon, point.acc_m or ACCURACY_M, t_ms]
            if self._recorder is None:
                self.client.position(fix)
            else:
                self._soon(self._recorder.send(self.client, fix, after_ms))
            if self.fixes == 0:
                self.cast.story.tell("appears", self.name, f"appears, {self._way()}")
            self.fixes += 1

    def _way(self) -> str:
        way, minute = "back" if self.walk.backwards else "on", self.walk.start_ms / 60_000
        return f"{way} along {self.walk.route.name} from minute {minute:.0f}"

    # -- what they hear -------------------------------------------------------------------------------

    def _hear(self, channel: str, frame: dict[str, Any]) -> None:
        now = time.monotonic()
        if "k" in frame:
            user, data, _ = frame["k"]
            if user in self.cast.names:
                band = data["band"] if data else None
                self.cast.story.near(self.name, self.cast.names[user], band)
                if self._recorder is not None:
                    self._recorder.met(self.cast.names[user], band)
        elif "m" in frame and channel == "fences":
            self._crossed(frame["m"]["d"], now)
        elif "m" in frame and isinstance(frame["m"]["d"], dict):
            self._heard(channel, frame["m"], now)

    def _crossed(self, crossing: dict[str, Any], now: float) -> None:
        place = self.cast.places.get(crossing["fence"])
        if place is None:
            return
        sent = self._sent.get(crossing["at_ms"])
        if sent is not None:
            self.cast.story.crossing_ms.append((now - sent) * 1000)
        if self._recorder is not None:
            self._recorder.crossed(place.name, crossing)
        if crossing["event"] == "exit":
            self.cast.story.tell("leaves", self.name, f"leaves {place.name}")
            if self._inside.pop(place.fence, None):
                self.client.unsubscribe(f"room:{place.room}")
        elif crossing["event"] in ("enter", "inside") and place.fence not in self._inside:
            self._inside[place.fence] = place.room
            self.cast.story.tell("enters", self.name, f"comes into {place.name}")
            self._soon(self._talk(place))

    async def _talk(self, place: Place) -> None:
        """Follows the place's room, which the crossing has let them join, and says something there."""
        self.client.subscribe(f"room:{place.room}", mode="stream")
        self.cast.story.tell("joins", self.name, f"is in the room of {place.name}")
        if self._recorder is not None:
            self._recorder.tell("room", f"is in the room of {place.name}")
        await self._say(place, self.cast.chance.choice(ARRIVALS).format(place=place.name))

    def _heard(self, channel: str, message: dict[str, Any], now: float) -> None:
        text = message["d"].get("text")
        if not isinstance(text, str) or message["u"] == self.account.user:
            return
        first = message["i"] not in self.cast.heard_at
        self.cast.heard_at.setdefault(message["i"], []).append(now)
        if first and message["u"] not in self.cast.names:
            self._soon(self._guest(message["u"], text))
        place = next((p for p in self.cast.places.values() if f"room:{p.room}" == channel), None)
        arrived = message["d"].get("arrived") or message["u"] not in self.cast.names
        # One of those who are there answers: chance decides who, and often it is nobody.
        if place and arrived and self.cast.chance.random() < 0.6:
            self._soon(self._answer(place, message["u"]))

    async def _guest(self, user: str, text: str) -> None:
        """Somebody who is not of this replay says something: whoever has the page open."""
        if user not in self.cast.guests:
            with contextlib.suppress(PortError):
                self.cast.guests[user] = (await self.account.call("GET", f"/v1/users/{user}"))["handle"]
        self.cast.story.tell("says", printable(self.cast.name(user)), f"“{printable(text)}”")

    async def _answer(self, place: Place, user: str) -> None:
        await asyncio.sleep(self.cast.chance.uniform(*ANSWER_S))
        if place.fence in self._inside:
            text = self.cast.chance.choice(WELCOMES).format(who=self.cast.name(user))
            await self._say(place, text, arrived=False)

    async def _say(self, place: Place, text: str, *, arrived: bool = True) -> None:
        sent = time.monotonic()
        with contextlib.suppress(CommandError):  # they have left meanwhile
            ack = await self.client.publish(
                f"room:{place.room}", {"text": text} | ({"arrived": True} if arrived else {})
            )
            self.cast.said_at[ack["i"]] = sent
            self.cast.story.tell("says", self.name, f"“{text}”")
            if self._recorder is not None:
                self._recorder.tell("said", f"says in {place.name}: “{text}”")

    def _soon(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def printable(text: str) -> str:
    """What a stranger wrote, without anything that a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)[:200]
