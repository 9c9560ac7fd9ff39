"""What a fence tells its owner, and how long somebody stays: through the public ports."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import h3
import pytest
from rt_client.connection import Connection, Refused
from rt_client.town import Person, Town, hereabouts
from rt_client.walk import Clock, Place


async def walk(connection: Connection, place: Place, clock: Clock, *east_m: float) -> None:
    """A fix every 30 s."""
    for metres in east_m:
        lat, lon = place.at(metres)
        await connection.command("pos", [lat, lon, 5.0, clock.after(30)])


async def pushed(connection: Connection, n: int, offset: int) -> dict[str, Any]:
    frame = await connection.until(
        lambda frame: frame.get("p") == n and frame.get("m", {}).get("o") == offset
    )
    told: dict[str, Any] = frame["m"]["d"]
    return told


async def drawn(town: Town, place: Place, owner: Person, **properties: Any) -> str:
    answer = await town.http("POST", "/v1/fences", place.square(200, **properties), owner)
    assert answer.status == 201, answer
    return str(answer.body["id"])


async def test_an_owner_follows_a_fence_live_by_map_and_in_history(town: Town, codec: str) -> None:
    """GEO-14, GEO-15: enter, dwell and exit; a name only while it is granted; the same over HTTP."""
    place = Place()
    owner, guest, stranger = town.persons(3)
    fence = await drawn(town, place, owner, dwell_s=60)
    grant = {"grant": "exact", "auto_join": False}
    assert (await town.http("PUT", f"/v1/me/fences/{fence}", grant, guest)).status == 200
    listener, looker = await town.connected(owner, codec), await town.connected(owner, codec)
    stream, shown = await listener.sub(f"fence:{fence}"), await looker.sub(f"fence:{fence}", mode="map")
    assert (stream["mode"], shown["mode"]) == ("stream", "map")
    assert [(row[0], row[1]) for row in shown["state"]] == [("#count", {"inside": 0})]
    for mode in ("stream", "map"):
        with pytest.raises(Refused) as refused:
            await (await town.connected(stranger, codec)).sub(f"fence:{fence}", mode=mode)
        assert refused.value.code == 103

    walker, clock = await town.connected(guest, codec), Clock()
    await walk(walker, place, clock, -900, -600, 0, 10)
    entered = await pushed(listener, stream["n"], 1)
    assert (entered["event"], entered["user"], entered["inside"]) == ("enter", guest.user, 1)
    await looker.until(lambda frame: any(row[:2] == [guest.user, "+"] for row in frame.get("k", ())))
    await walk(walker, place, clock, 20, 10, 0, 600, 900)
    dwelled, left = await pushed(listener, stream["n"], 2), await pushed(listener, stream["n"], 3)
    assert (dwelled["event"], dwelled["dwell_s"]) == ("dwell", 60)
    assert (left["event"], left["inside"]) == ("exit", 0)
    await looker.until(lambda frame: any(row == [guest.user, "-"] for row in frame.get("k", ())))

    await listener.drop()
    back = await town.connected(owner, codec)
    again = await back.sub(f"fence:{fence}", epoch=stream["epoch"], offset=1)
    assert (again["recovered"], [m["d"]["event"] for m in again["pubs"]]) == (True, ["dwell", "exit"])
    page = await town.http("GET", f"/v1/fences/{fence}/events?after=2", who=owner)
    assert [item["d"] for item in page.body["items"]] == [left]
    grant["grant"] = "count"
    assert (await town.http("PUT", f"/v1/me/fences/{fence}", grant, guest)).status == 200
    history = await back.hist(f"fence:{fence}", 10, since={"epoch": stream["epoch"], "offset": 0})
    assert [("user" in m["d"], m["d"]["event"]) for m in history["pubs"]] == [
        (False, "enter"), (False, "dwell"), (False, "exit"),
    ]  # fmt: skip
    assert (await town.http("GET", f"/v1/fences/{fence}/events", who=stranger)).status == 404


async def test_a_block_ends_the_visit_and_the_owner_is_not_told_why(town: Town) -> None:
    place = Place()
    owner, guest = town.persons(2)
    fence = await drawn(town, place, owner)
    may = {"grant": "count", "auto_join": False}
    assert (await town.http("PUT", f"/v1/me/fences/{fence}", may, guest)).status == 200
    watcher = await town.connected(owner)
    stream = await watcher.sub(f"fence:{fence}")
    walker, clock = await town.connected(guest), Clock()
    own = await walker.sub("fences")
    await walk(walker, place, clock, -900, 0, 10)
    assert (await pushed(walker, own["n"], 1))["event"] == "enter"
    assert (await pushed(watcher, stream["n"], 1))["inside"] == 1
    blocked = await town.http("PUT", f"/v1/connections/{owner.user}", {"action": "block"}, guest)
    assert blocked.status == 200
    assert (await pushed(walker, own["n"], 2))["reason"] == "not_in_audience"
    left = await pushed(watcher, stream["n"], 2)
    assert (left["event"], left["inside"], left.get("reason"), left.get("user")) == ("exit", 0, None, None)
    await walk(walker, place, clock, 0, 10, 20)
    await asyncio.sleep(0.5)
    assert len(watcher.pushes(stream["n"], "m")) == 2


async def test_a_fence_of_an_app_takes_in_whoever_comes_until_it_ends(town: Town) -> None:
    """GEO-14, GEO-17: `dev-users --role app`; H3 cells; no opt-in; at its end everybody is let out."""
    made = json.loads(hereabouts(town.data, "dev-users", "--count", "1", "--prefix", "app", "--role", "app"))
    app = Person(made["user"], made["handle"], made["token"])
    guest, owner, place = town.person(), town.person(), Place()
    room = await town.room(app, kind="place")
    cell = h3.latlng_to_cell(place.lat, place.lon, 9)
    ends = datetime.now(UTC) + timedelta(seconds=8)
    shape = {
        "type": "Feature",
        "geometry": {"type": "H3", "cells": h3.grid_disk(cell, 1)},
        "properties": {"name": "a market", "room": room[5:], "expires_at": ends.isoformat()},
    }
    answer = await town.http("POST", "/v1/fences", shape, app)
    assert answer.status == 201, answer
    other = await drawn(town, place, owner)
    watcher = await town.connected(app)
    stream = await watcher.sub(f"fence:{other}")  # apps hear every fence
    walker, clock = await town.connected(guest), Clock()
    own = await walker.sub("fences")
    await walk(walker, place, clock, -1500, -1200, 0, 5)
    assert {(await pushed(walker, own["n"], offset))["fence"] for offset in (1, 2)} == {
        answer.body["id"],
        other,
    }
    assert (await town.http("GET", f"/v1/rooms/{room[5:]}", who=guest)).status == 200
    over = await walker.until(
        lambda frame: frame.get("p") == own["n"] and frame["m"]["d"]["event"] == "exit", timeout_s=40.0
    )
    assert (over["m"]["d"]["fence"], over["m"]["d"]["reason"]) == (answer.body["id"], "fence_expired")
    async with asyncio.timeout(10):
        while (await town.http("GET", f"/v1/rooms/{room[5:]}", who=guest)).status != 404:
            await asyncio.sleep(0.1)
    assert stream["pubs"] == []
