"""Crossing a geofence: events, confirmation, and the room that it opens (GEO-14…GEO-18, CHAT-19)."""

import asyncio
from typing import Any

from rt_client.connection import Connection
from rt_client.town import Person, Town
from rt_client.walk import Clock, Place


class Visitor:
    """Somebody who walks across a place and hears of their own crossings."""

    def __init__(self, who: Person, connection: Connection, place: Place) -> None:
        self.who = who
        self.connection = connection
        self.place = place
        self.clock = Clock()
        self.n = 0

    @classmethod
    async def come(cls, town: Town, place: Place, codec: str = "json") -> "Visitor":
        who = town.person()
        visitor = cls(who, await town.connected(who, codec), place)
        visitor.n = (await visitor.connection.sub("fences"))["n"]
        return visitor

    async def walk(self, *east_m: float) -> None:
        """A fix every 30 s."""
        for metres in east_m:
            lat, lon = self.place.at(metres)
            await self.connection.command("pos", [lat, lon, 5.0, self.clock.after(30)])

    def events(self) -> list[dict[str, Any]]:
        return [frame["m"] for frame in self.connection.pushes(self.n, "m")]

    async def event(self, number: int) -> dict[str, Any]:
        """The event at an offset."""
        frame = await self.connection.until(
            lambda frame: frame.get("p") == self.n and frame["m"]["o"] == number
        )
        event: dict[str, Any] = frame["m"]["d"]
        return event


async def fenced(town: Town, place: Place, owner: Person, **properties: Any) -> str:
    answer = await town.http("POST", "/v1/fences", place.square(200, **properties), owner)
    assert answer.status == 201, answer
    return str(answer.body["id"])


async def test_entering_and_leaving_are_told_once_each_after_two_agreeing_fixes(
    town: Town, codec: str
) -> None:
    place = Place()
    fence = await fenced(town, place, town.person())
    visitor = await Visitor.come(town, place, codec)
    await visitor.walk(-900, -600, 0)
    await asyncio.sleep(0.4)
    assert visitor.events() == []
    await visitor.walk(10)
    entered = await visitor.event(1)
    assert (entered["fence"], entered["event"]) == (fence, "enter")
    assert 0 < entered["confidence"] <= 1
    await visitor.walk(20, 600)
    await asyncio.sleep(0.4)
    assert len(visitor.events()) == 1
    await visitor.walk(900)
    left = await visitor.event(2)
    assert (left["fence"], left["event"]) == (fence, "exit")
    assert left["entered_at_ms"] == entered.get("entered_at_ms", entered["at_ms"])
    assert left["dwell_s"] > 0
    assert len(visitor.events()) == 2


async def test_a_first_fix_inside_is_inside_and_not_an_entry(town: Town) -> None:
    place = Place()
    fence = await fenced(town, place, town.person())
    visitor = await Visitor.come(town, place)
    await visitor.walk(0)
    first = await visitor.event(1)
    assert (first["fence"], first["event"]) == (fence, "inside")
    await visitor.walk(5, 10, 900, 1200)
    assert (await visitor.event(2))["event"] == "exit"
    assert [m["d"]["event"] for m in visitor.events()] == ["inside", "exit"]


async def test_one_stray_fix_crosses_nothing(town: Town) -> None:
    place = Place()
    await fenced(town, place, town.person())
    visitor = await Visitor.come(town, place)
    await visitor.walk(-900, 0, -900, 0, -900, -880)
    await asyncio.sleep(0.5)
    assert visitor.events() == []


async def test_a_dwell_and_an_exit_of_one_moment_are_both_told(town: Town) -> None:
    """GEO-15, GEO-18: the fix that tells of the exit comes when the stay has just been long enough."""
    place = Place()
    await fenced(town, place, town.person(), confirm_fixes=1, dwell_s=30)
    visitor = await Visitor.come(town, place)
    await visitor.walk(-900, 0, 900)
    await visitor.event(3)
    events = [m["d"] for m in visitor.events()]
    assert [each["event"] for each in events] == ["enter", "dwell", "exit"]
    assert events[1]["at_ms"] == events[2]["at_ms"]


async def test_crossings_are_a_stream_that_recovers(town: Town) -> None:
    place = Place()
    await fenced(town, place, town.person())
    visitor = await Visitor.come(town, place)
    epoch = (await visitor.connection.hist("fences", 1))["epoch"]
    await visitor.walk(-900, 0, 5)
    await visitor.event(1)
    await visitor.connection.drop()
    visitor.connection = await town.connected(visitor.who)
    await visitor.walk(900, 1200)
    await asyncio.sleep(0.5)
    back = await visitor.connection.sub("fences", epoch=epoch, offset=0)
    assert back["recovered"] is True
    assert [m["d"]["event"] for m in back["pubs"]] == ["enter", "exit"]


async def test_a_crossing_moves_room_membership_exactly_once(town: Town, codec: str) -> None:
    """Who asked for `auto_join` joins the place's room on entering and leaves it on leaving: the crossing,
    the membership and the room's event are one thing, seen by the others in the room."""
    place = Place()
    host = town.person()
    room = await town.room(host, kind="place")
    fence = await fenced(town, place, host, room=room[5:])
    watcher = await town.connected(host, codec)
    sub = await watcher.sub(room)
    visitor = await Visitor.come(town, place, codec)
    passer_by = await Visitor.come(town, place, codec)
    wish = {"grant": "exact", "auto_join": True}
    assert (await town.http("PUT", f"/v1/me/fences/{fence}", wish, visitor.who)).status in {200, 204}
    hidden = await town.http("GET", f"/v1/rooms/{room[5:]}", who=visitor.who)
    assert hidden.status == 404

    for walker in (visitor, passer_by):
        await walker.walk(-900, -600, 0, 10, 20, 30)
        assert (await walker.event(1))["event"] == "enter"
    joined = await watcher.until(
        lambda frame: frame.get("p") == sub["n"] and frame["m"]["d"].get("type") == "join"
    )
    assert joined["m"]["u"] == visitor.who.user
    assert (await town.http("GET", f"/v1/rooms/{room[5:]}", who=visitor.who)).status == 200
    assert (await town.http("GET", f"/v1/rooms/{room[5:]}", who=passer_by.who)).status == 404
    talking = await visitor.connection.sub(room)
    assert (await visitor.connection.pub(room, {"text": "I am here"}, ack="durable"))["o"] == talking[
        "offset"
    ] + 1

    await visitor.walk(900, 1200, 1500)
    assert (await visitor.event(2))["event"] == "exit"
    left = await watcher.until(
        lambda frame: frame.get("p") == sub["n"] and frame["m"]["d"].get("type") == "leave"
    )
    assert left["m"]["u"] == visitor.who.user
    assert (await town.http("GET", f"/v1/rooms/{room[5:]}", who=visitor.who)).status == 404
    await asyncio.sleep(0.5)
    types = [m["m"]["d"].get("type") for m in watcher.pushes(sub["n"], "m")]
    assert (types.count("join"), types.count("leave")) == (1, 1)


async def test_fences_belong_to_their_owner(town: Town) -> None:
    place = Place()
    ann, bob = town.persons(2)
    fence = await fenced(town, place, ann, audience="nobody")
    assert (await town.http("DELETE", f"/v1/fences/{fence}", who=bob)).status == 404
    assert (await town.http("DELETE", f"/v1/fences/{fence}", who=ann)).status in {200, 204}
    visitor = await Visitor.come(town, place)
    await visitor.walk(-900, 0, 5, 10)
    await asyncio.sleep(0.5)
    assert visitor.events() == []


async def test_a_removed_fence_lets_everybody_out_once(town: Town) -> None:
    """GEO-17: an exit always closes; it says why."""
    place = Place()
    owner = town.person()
    fence = await fenced(town, place, owner)
    inside, outside = await Visitor.come(town, place), await Visitor.come(town, place)
    await inside.walk(-900, 0, 5)
    await outside.walk(-900, -800)
    assert (await inside.event(1))["event"] == "enter"
    assert (await town.http("DELETE", f"/v1/fences/{fence}", who=owner)).status in {200, 204}
    left = await inside.event(2)
    assert left["event"] == "exit"
    assert left["reason"]
    await asyncio.sleep(0.3)
    assert outside.events() == []
    assert len(inside.events()) == 2


async def test_a_shape_that_is_none_is_refused(town: Town) -> None:
    owner = town.person()
    square = Place().square(100)
    for spoiled in (
        {**square, "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}},
        {**square, "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [0, 999], [1, 1], [0, 0]]]}},
        {**square, "geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}},
        {**square, "geometry": None},
        {**square, "type": "Thing"},
    ):
        answer = await town.http("POST", "/v1/fences", spoiled, owner)
        assert answer.status in {400, 422}, spoiled
        assert answer.body["code"] == 107
        assert answer.headers["content-type"].startswith("application/problem+json")
