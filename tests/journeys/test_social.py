"""Matches: a live share, ghost mode, and near each other, through the public ports (GEO-10, GEO-22)."""

import asyncio
from collections.abc import Callable
from typing import Any

import h3
import pytest
from rt_client.connection import Connection, Refused
from rt_client.town import Person, Town
from rt_client.walk import Clock, Place, names


async def until(wanted: Callable[[], Any], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not wanted():
            await asyncio.sleep(0.02)


async def matched(town: Town) -> tuple[Person, Person]:
    ann, bob = town.persons(2)
    for me, other in ((ann, bob), (bob, ann)):
        answer = await town.http("PUT", f"/v1/connections/{other.user}", {"action": "request"}, me)
        assert answer.status == 200, answer
    return ann, bob


class Walker:
    """Somebody who moves and hears what is said on `me`."""

    def __init__(self, who: Person, connection: Connection, me: int, place: Place) -> None:
        self.who, self.connection, self.me, self.place = who, connection, me, place
        self.clock = Clock()

    @classmethod
    async def arrive(cls, town: Town, who: Person, place: Place, codec: str = "json") -> "Walker":
        connection = await town.connected(who, codec)
        return cls(who, connection, (await connection.sub("me"))["n"], place)

    async def stand(self, east_m: float) -> tuple[float, float]:
        lat, lon = self.place.at(east_m)
        fix = [lat, lon, 8.0, self.clock.after(30)]
        assert await self.connection.command("pos", fix) == {"ok": True}
        return lat, lon

    def told(self, *kinds: str) -> list[dict[str, Any]]:
        bodies = [frame["m"]["d"] for frame in self.connection.pushes(self.me) if "m" in frame]
        return [body for body in bodies if body["type"].startswith(kinds)]

    def rows(self, n: int) -> list[list[Any]]:
        return [row for frame in self.connection.pushes(n) for row in frame.get("k", [])]


async def test_a_share_is_followed_until_it_is_over(town: Town, codec: str) -> None:
    ann, bob = await matched(town)
    place = Place()
    sharer, viewer = await Walker.arrive(town, ann, place), await Walker.arrive(town, bob, place, codec)
    start = await sharer.stand(0)
    wish = {"to": [bob.user], "duration_s": 900, "precision": "exact"}
    made = await town.http("POST", "/v1/shares", wish, ann)
    assert made.status == 201, made
    ch, share = made.body["channel"], made.body["id"]
    await until(lambda: viewer.told("share.started"))
    sub = await viewer.connection.sub(ch, mode="map")
    [[key, data, _]] = sub["state"]
    assert (key, data["user"], data["lat"], data["lon"]) == (ann.user, ann.user, *start)
    there = await sharer.stand(60)
    await until(lambda: viewer.rows(sub["n"]))
    assert viewer.rows(sub["n"])[-1][1] == "~"
    assert (viewer.rows(sub["n"])[-1][2]["lat"], viewer.rows(sub["n"])[-1][2]["lon"]) == there
    await until(lambda: sharer.told("share.viewed"))
    seen = await town.http("GET", f"/v1/shares/{share}", who=ann)
    assert [(each["user"], each["viewing"]) for each in seen.body["viewers"]] == [(bob.user, True)]

    held = {"epoch": sub["epoch"], "offset": viewer.connection.pushes(sub["n"])[-1]["o"]}
    await viewer.connection.drop()
    farther = await sharer.stand(120)
    viewer = await Walker.arrive(town, bob, place, codec)
    back = await viewer.connection.sub(ch, mode="map", **held)
    assert (back["recovered"], back["epoch"]) == (True, sub["epoch"])
    await until(
        lambda: [r[2]["lon"] for r in [*back.get("k", []), *viewer.rows(back["n"])]][-1:] == [farther[1]]
    )

    stranger = await town.connected(town.person(), codec)
    with pytest.raises(Refused) as refused:
        await stranger.sub(ch, mode="map")
    assert refused.value.code == 103

    ghost = {"audience": "matches", "precision": "r8", "ghost": {"mode": "hidden", "duration_s": 60}}
    assert (await town.http("PUT", "/v1/me/visibility", ghost, ann)).status == 200
    await until(lambda: viewer.rows(back["n"])[-1:] == [[ann.user, "-"]])
    assert (await town.http("PUT", "/v1/me/visibility", ghost | {"ghost": None}, ann)).status == 200
    await sharer.stand(150)
    await until(lambda: viewer.rows(back["n"])[-1][1] != "-")

    blocked = await town.http("PUT", f"/v1/connections/{bob.user}", {"action": "block"}, ann)
    assert blocked.status == 200
    await viewer.connection.until(lambda frame: frame.get("p") == back["n"] and "unsub" in frame)
    frames = viewer.connection.pushes(back["n"])
    assert frames[-1]["unsub"]["code"] == 103
    assert viewer.rows(back["n"])[-1] == [ann.user, "-"]
    assert (await town.http("GET", f"/v1/shares/{share}", who=bob)).status == 404
    with pytest.raises(Refused):
        await viewer.connection.sub(ch, mode="map")
    await sharer.stand(180)
    await asyncio.sleep(0.3)
    assert viewer.connection.pushes(back["n"]) == frames, "nothing of the channel follows its end"


async def test_a_coarse_share_shows_no_place_but_a_cell_s(town: Town) -> None:
    ann, bob = await matched(town)
    place = Place()
    sharer, viewer = await Walker.arrive(town, ann, place), await Walker.arrive(town, bob, place)
    lat, lon = await sharer.stand(120)
    made = await town.http(
        "POST", "/v1/shares", {"to": [bob.user], "duration_s": 3600, "precision": "r8"}, ann
    )
    sub = await viewer.connection.sub(made.body["channel"], mode="map")
    [[_, data, _]] = sub["state"]
    cell = h3.latlng_to_cell(data["lat"], data["lon"], 8)
    assert h3.cell_to_latlng(cell) == pytest.approx((data["lat"], data["lon"]), abs=1e-7)
    assert (data["lat"], data["lon"]) != (lat, lon)
    assert data["acc_m"] >= h3.average_hexagon_edge_length(8, "m") - 1


async def test_two_matches_hear_that_they_are_near_and_nothing_of_where(town: Town, codec: str) -> None:
    ann, bob = await matched(town)
    place = Place()
    one, other = await Walker.arrive(town, ann, place, codec), await Walker.arrive(town, bob, place, codec)
    await one.stand(0)
    await other.stand(1_500)
    await other.stand(600)
    await asyncio.sleep(0.5)
    assert one.told("near.") == other.told("near.") == []
    await other.stand(150)
    await until(lambda: one.told("near.") and other.told("near."))
    for walker, whom in ((one, bob), (other, ann)):
        [event] = walker.told("near.")
        assert (event["type"], event["user"]) == ("near.enter", whom.user)
        assert event.keys() == {"type", "v", "user", "at_ms"}
    blocked = await town.http("PUT", f"/v1/connections/{bob.user}", {"action": "block"}, ann)
    assert blocked.status == 200
    await other.stand(900)
    await asyncio.sleep(0.5)
    for walker in (one, other):
        assert [event["type"] for event in walker.told("near.")] == ["near.enter"]
        assert not names(list(walker.connection.pushes(walker.me))) & {"lat", "lon", "distance_m"}
