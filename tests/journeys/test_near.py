"""Coming near and parting, and what it may show (GEO-11, GEO-20, docs/protocol.md §3)."""

import asyncio
from collections.abc import Callable
from typing import Any

import h3
import pytest
from rt_client.connection import Connection
from rt_client.member import Member
from rt_client.town import Person, Town
from rt_client.views import MapView
from rt_client.walk import Clock, Place, floats, names


class Walker:
    """Somebody with a device who moves and watches `near`."""

    def __init__(self, who: Person, member: Member, place: Place) -> None:
        self.who = who
        self.member = member
        self.place = place
        self.clock = Clock()
        self.near = MapView()

    async def connection(self) -> Connection:
        return await self.member.online()

    async def stand(self, east_m: float, north_m: float = 0.0, after_s: float = 100.0) -> None:
        """A fix some time after the last, acknowledged."""
        lat, lon = self.place.at(east_m, north_m)
        answer = await (await self.connection()).command("pos", [lat, lon, 8.0, self.clock.after(after_s)])
        assert answer == {"ok": True}

    async def settle(self, east_m: float) -> None:
        """Goes there and stays over a minute: only then is another cell shown (GEO-21)."""
        await self.stand(east_m)
        await self.stand(east_m)


@pytest.fixture
def arrive(town: Town) -> Callable[..., Any]:
    """Somebody new at `place` with `near` open."""

    async def walker(place: Place, codec: str = "json", radius_m: float = 2000, **options: Any) -> Walker:
        who = town.person()
        walking = Walker(who, await town.member(who, codec, **options), place)
        near = await walking.member.follow(
            "near", mode="map", filter={"radius_m": radius_m, "audience": "everyone"}
        )
        assert isinstance(near, MapView)
        walking.near = near
        return walking

    return walker


async def until(wanted: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not wanted():
            await asyncio.sleep(0.02)


async def test_a_filter_that_is_null_is_as_if_left_out(town: Town, codec: str) -> None:
    """docs/protocol.md §2: an optional field may be left out or null."""
    connection = await town.connected(town.person(), codec)
    nothing = dict.fromkeys(("radius_m", "audience", "online", "scores", "min_score"))
    assert (await connection.sub("near", mode="map", filter=nothing))["phase"] == "live"


async def test_two_people_come_near_and_part(arrive: Callable[..., Any], codec: str) -> None:
    place = Place()
    ann, bob = await arrive(place, codec), await arrive(place)
    assert ann.near.rows == {}
    await ann.stand(0)
    await bob.stand(5_000)
    await asyncio.sleep(0.5)
    assert ann.near.rows == bob.near.rows == {}
    await bob.settle(500)
    await until(lambda: set(ann.near.rows) == {bob.who.user} and set(bob.near.rows) == {ann.who.user})
    row = ann.near.rows[bob.who.user]
    assert row["user"] == bob.who.user
    assert set(row) <= {"user", "cell", "band", "score", "model"}
    assert h3.get_resolution(row["cell"]) <= 8
    assert h3.great_circle_distance(h3.cell_to_latlng(row["cell"]), place.at(500), unit="m") < 1500
    await bob.settle(5_000)
    await until(lambda: ann.near.rows == bob.near.rows == {})
    frames = [frame for walker in (ann, bob) for frame in (await walker.connection()).frames]
    assert {row[1] for frame in frames for row in frame.get("k", [])} == {"+", "-"}


async def test_nobody_is_shown_a_coordinate(town: Town, arrive: Callable[..., Any], codec: str) -> None:
    """Whatever is pushed or answered holds cells and bands: no key and no number that tells a position."""
    place = Place()
    ann, bob, cem = await arrive(place, codec), await arrive(place, codec), await arrive(place, codec)
    room = await town.room(ann.who, bob.who, cem.who)
    for walker in (ann, bob, cem):
        connection = await walker.connection()
        for ch in (room, f"presence:{room}", "fences", "me"):
            await connection.sub(ch)
    fence = await town.http("POST", "/v1/fences", place.square(300), ann.who)
    assert fence.status == 201
    for step in range(4):
        for index, walker in enumerate((ann, bob, cem)):
            await walker.stand(150 * step + 40 * index, 30 * step)
    await until(lambda: len(ann.near.rows) == len(bob.near.rows) == len(cem.near.rows) == 2)
    listed = await town.http("GET", "/v1/people/near?radius_m=2000", who=ann.who)
    assert {row["user"] for row in listed.body["items"]} == {bob.who.user, cem.who.user}
    await asyncio.sleep(0.5)
    seen = [frame for walker in (ann, bob, cem) for frame in (await walker.connection()).frames]
    assert not names([*seen, listed.body]) & {
        "lat",
        "lon",
        "latitude",
        "longitude",
        "lng",
        "acc_m",
        "distance_m",
    }
    degrees = [value for value in floats([*seen, listed.body]) if abs(value - place.lat) < 0.05]
    degrees += [value for value in floats([*seen, listed.body]) if abs(value - place.lon) < 0.05]
    assert degrees == []


async def test_a_late_watcher_gets_everyone_in_the_state(arrive: Callable[..., Any], town: Town) -> None:
    place = Place()
    others = [await arrive(place) for _ in range(3)]
    for index, other in enumerate(others):
        await other.stand(100 * index)
    me = await arrive(place)
    await me.stand(50)
    await until(lambda: len(me.near.rows) == 3)
    second = await town.connected(me.who)
    sub = await second.sub("near", mode="map", filter={"radius_m": 2000, "audience": "everyone"})
    assert (sub["phase"], sub["mode"]) == ("live", "map")
    assert {key for key, _, _ in sub["state"]} == {other.who.user for other in others}


async def test_who_wants_not_to_be_seen_is_not(town: Town, arrive: Callable[..., Any]) -> None:
    """Audience `nobody` and precision `hidden` take a person out of every list at once."""
    place = Place()
    ann, bob, cem = await arrive(place), await arrive(place), await arrive(place)
    for walker in (ann, bob, cem):
        await walker.stand(0)
    await until(lambda: len(ann.near.rows) == 2)
    for walker, wish in [
        (bob, {"audience": "nobody", "precision": "r8"}),
        (cem, {"audience": "everyone", "precision": "hidden"}),
    ]:
        answer = await town.http("PUT", "/v1/me/visibility", wish, walker.who)
        assert answer.status in {200, 204}
    await until(lambda: ann.near.rows == {})
    await bob.stand(20)
    await cem.stand(20)
    await ann.stand(20)
    await asyncio.sleep(1)
    assert ann.near.rows == {}
    listed = await town.http("GET", "/v1/people/near?radius_m=2000", who=ann.who)
    assert listed.body["items"] == []
    back = await town.http("PUT", "/v1/me/visibility", {"audience": "everyone", "precision": "r8"}, bob.who)
    assert back.status in {200, 204}
    await bob.stand(30)
    await until(lambda: set(ann.near.rows) == {bob.who.user})


async def test_a_blocked_pair_is_invisible_to_each_other_everywhere(
    town: Town, arrive: Callable[..., Any], codec: str
) -> None:
    """near, presence, live messages (a skip), history, recovery: both ways, and at once (CONN-6)."""
    place = Place()
    ann, bob, cem = await arrive(place, codec), await arrive(place), await arrive(place, codec)
    room = await town.room(ann.who, bob.who, cem.who)
    a, b, c = await ann.connection(), await bob.connection(), await cem.connection()
    subs = {id(each): await each.sub(room) for each in (a, b, c)}
    watching = await a.sub(f"presence:{room}", mode="map")
    for walker in (ann, bob, cem):
        await walker.stand(0)
    await until(lambda: all(len(walker.near.rows) == 2 for walker in (ann, bob, cem)))
    before = await b.pub(room, {"text": "before"}, ack="durable")
    await a.until(lambda frame: "m" in frame and frame["m"]["o"] == before["o"])
    start = subs[id(a)]["offset"]

    blocked = await town.http("PUT", f"/v1/connections/{bob.who.user}", {"action": "block"}, ann.who)
    assert blocked.status == 200
    await until(lambda: set(ann.near.rows) == set(bob.near.rows) == {cem.who.user})
    assert len(cem.near.rows) == 2
    await a.until(
        lambda frame: (
            frame.get("p") == watching["n"] and bob.who.user in {meta["u"] for meta in frame.get("l", [])}
        )
    )
    for sender, text in [(b, "from bob"), (a, "from ann"), (c, "from cem")]:
        await sender.pub(room, {"text": text}, ack="durable")
    last = before["o"] + 3
    for reader, hidden, shown in [(a, "from bob", "from ann"), (b, "from ann", "from bob")]:
        n = subs[id(reader)]["n"]
        await reader.until(lambda frame, n=n: frame.get("p") == n and frame.get("m", {}).get("o") == last)
        frames = reader.pushes(n)
        texts = [frame["m"]["d"]["text"] for frame in frames if "m" in frame]
        assert hidden not in texts
        assert shown in texts
        assert [frame["skip"] for frame in frames if "skip" in frame]
    await c.until(lambda frame: "m" in frame and frame["m"]["o"] == last)
    assert [frame["m"]["d"]["text"] for frame in c.frames if "m" in frame][-3:] == [
        "from bob",
        "from ann",
        "from cem",
    ]

    again = await town.connected(ann.who, codec)
    back = await again.sub(room, epoch=subs[id(a)]["epoch"], offset=start)
    assert (back["recovered"], back["offset"]) == (True, last)
    page = await again.hist(room, 300)
    listed = await town.http("GET", f"/v1/rooms/{room[5:]}/messages", who=ann.who)
    for messages in (back["pubs"], page["pubs"], listed.body["items"]):
        texts = [m["d"]["text"] for m in messages if "text" in m["d"]]
        assert "from bob" not in texts
        assert texts[-2:] == ["from ann", "from cem"]
    people = await again.command("pres", {"ch": room})
    assert bob.who.user not in {meta["u"] for meta in people["metas"]}
    await again.send({"e": back["n"], "d": {"typing": True}})
    await c.until(lambda frame: "e" in frame)
    await asyncio.sleep(0.3)
    assert not [frame for frame in b.frames if "e" in frame]


async def test_a_stale_or_impossible_fix_is_124(town: Town, codec: str) -> None:
    """A jump at more than 70 m/s is held until the next fix agrees (GEO-3)."""
    place = Place()
    me = await town.connected(town.person(), codec)
    clock = Clock()

    async def code(east_m: float, after_s: float) -> int:
        lat, lon = place.at(east_m)
        reply, waiter = me.start("pos", [lat, lon, 8.0, clock.after(after_s)])
        await me.send(reply)
        await asyncio.wait([waiter], timeout=5)
        return 0 if waiter.exception() is None else int(getattr(waiter.exception(), "code", -1))

    assert await code(0, 10) == 0
    assert await code(50_000, 10) == 124
    assert await code(20, 10) == 0


async def test_positions_over_http_count_too(town: Town, arrive: Callable[..., Any]) -> None:
    place = Place()
    ann = await arrive(place)
    await ann.stand(0)
    bob, clock = town.person(), Clock()
    lat, lon = place.at(100)
    fix = {"lat": lat, "lon": lon, "acc_m": 8.0, "t_ms": clock.after(0)}
    answer = await town.http("POST", "/v1/positions", fix, bob)
    assert answer.status in {200, 201, 204}, answer
    await until(lambda: set(ann.near.rows) == {bob.user})
    listed = await town.http("GET", "/v1/people/near?radius_m=2000", who=bob)
    assert [row["user"] for row in listed.body["items"]] == [ann.who.user]
