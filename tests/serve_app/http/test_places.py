"""Fences, positions and who is near, over HTTP."""

import json
import time

import pytest

from storage import crossings
from storage.crossings import CrossingRow
from storage.ids import new_id

SQUARE = {
    "type": "Polygon",
    "coordinates": [[[13.0, 52.0], [13.1, 52.0], [13.1, 52.1], [13.0, 52.1], [13.0, 52.0]]],
}


def feature(geometry=SQUARE, **properties):
    return {"type": "Feature", "geometry": geometry, "properties": {"name": "park", **properties}}


def fix(lat=52.52, lon=13.405, **more):
    return {"lat": lat, "lon": lon, "acc_m": 8, "t_ms": int(time.time() * 1000), **more}


async def test_a_fence_comes_back_as_a_geojson_feature(town):
    ada, bob = await town.people(2)
    made = await ada.post("/v1/fences", feature(dwell_s=60, confirm_fixes=3))
    assert (made["type"], made["geometry"]) == ("Feature", SQUARE)
    properties = made["properties"]
    assert (properties["dwell_s"], properties["confirm_fixes"], properties["audience"]) == (60, 3, "everyone")
    assert await bob.get(f"/v1/fences/{made['id']}") == made
    assert (await bob.get("/v1/fences"))["items"] == [made]


async def test_a_circle_is_a_point_with_a_radius(town):
    ada = await town.person()
    point = {"type": "Point", "coordinates": [13.0, 52.0]}
    made = await ada.post("/v1/fences", feature(point, radius_m=50))
    assert (made["geometry"], made["properties"]["radius_m"]) == (point, 50)
    await ada.post("/v1/fences", feature(point), 422)


async def test_a_fence_is_seen_by_its_audience(town):
    ada, bob = await town.people(2)
    fences = {each: (await ada.post("/v1/fences", feature(audience=each)))["id"]
              for each in ("nobody", "matches", "group", "everyone")}  # fmt: skip

    async def seen():
        listed = {each["id"] for each in (await bob.get("/v1/fences"))["items"]}
        for fence in fences.values():
            await bob.get(f"/v1/fences/{fence}", 200 if fence in listed else 404)
            await bob.put(f"/v1/me/fences/{fence}", {"grant": "exact"}, 200 if fence in listed else 404)
        return [name for name, fence in fences.items() if fence in listed]

    assert await seen() == ["everyone"]
    await ada.post("/v1/rooms", {"name": "r", "kind": "group", "members": [bob.user]})
    assert await seen() == ["group", "everyone"]
    await ada.put(f"/v1/connections/{bob.user}", {"action": "request"})
    await bob.put(f"/v1/connections/{ada.user}", {"action": "request"})
    assert await seen() == ["matches", "group", "everyone"]
    await bob.put(f"/v1/connections/{ada.user}", {"action": "block"})
    assert await seen() == []


async def test_only_its_owner_removes_a_fence(town):
    ada, bob = await town.people(2)
    fence = (await ada.post("/v1/fences", feature()))["id"]
    await bob.delete(f"/v1/fences/{fence}", 404)
    await ada.delete(f"/v1/fences/{fence}")
    await ada.delete(f"/v1/fences/{fence}", 404)
    await bob.get(f"/v1/fences/{fence}", 404)
    await bob.get(f"/v1/fences/{new_id()}", 404)


async def test_what_i_grant_is_mine(town):
    ada, bob = await town.people(2)
    fence = (await ada.post("/v1/fences", feature()))["id"]
    assert (await bob.put(f"/v1/me/fences/{fence}", {"grant": "exact", "auto_join": True}))["auto_join"]
    assert (await bob.get(f"/v1/fences/{fence}"))["properties"]["me"] == {"grant": "exact", "auto_join": True}
    assert (await ada.get(f"/v1/fences/{fence}"))["properties"]["me"] == {
        "grant": "count",
        "auto_join": False,
    }


@pytest.mark.parametrize(
    "geometry",
    [None, {}, {"type": "LineString", "coordinates": [[0, 0], [1, 1]]},
     {"type": "Polygon", "coordinates": []},
     {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]},
     {"type": "Polygon", "coordinates": [[[0, 0], [0, 99], [1, 1], [0, 0]]]},
     {"type": "Polygon", "coordinates": [[["a", "b"], [0, 1], [1, 1], [0, 0]]]},
     {"type": "Polygon", "coordinates": "everywhere"}, {"type": "Polygon", "coordinates": [[[[[[]]]]]]},
     {"type": "Point", "coordinates": [0, 0], "radius_m": -5}],
)  # fmt: skip
async def test_a_shape_that_is_none_is_refused(town, geometry):
    ada = await town.person()
    assert (await ada.post("/v1/fences", feature(geometry), 422))["code"] == 107


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", '"x"', "null", "true"])
async def test_a_coordinate_that_is_no_number_is_refused(town, number):
    ada = await town.person()
    ring = f"[[0,0],[0,{number}],[1,1],[0,0]]"
    bodies = {
        "/v1/positions": f'{{"lat": {number}, "lon": 1, "acc_m": 5, "t_ms": 5}}',
        "/v1/fences": '{"type":"Feature","properties":{"name":"x"},"geometry":'
        f'{{"type":"Polygon","coordinates":[{ring}]}}}}',
    }
    for path, content in bodies.items():
        answer = await ada.client.post(path, content=content, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, 107), answer.text


@pytest.mark.parametrize(
    "changes",
    [{"lat": 90.1}, {"lat": -91}, {"lon": 361}, {"acc_m": 0}, {"acc_m": -1}, {"acc_m": 5001}, {"t_ms": -1},
     {"t_ms": 1.5}, {"t_ms": "now"}, {"lat": "52"}, {"heading_deg": 400}, {"speed_mps": -1}, {"altitude": 3}],
)  # fmt: skip
async def test_a_fix_out_of_range_is_refused_with_107_and_not_repeated(town, changes):
    ada = await town.person()
    answer = await ada.post("/v1/positions", fix(lat=52.520008, **changes) if "lat" not in changes
                            else fix(**changes), 422)  # fmt: skip
    assert answer["code"] == 107
    assert "52.520008" not in str(answer)


async def test_positions_reach_my_actor_in_both_forms_and_in_batches(engine):
    ada = await engine.person()
    now_ms = int(time.time() * 1000)
    assert await ada.post("/v1/positions", fix(t_ms=now_ms - 9000), 200) == {"ok": True, "accepted": 1}
    frame = {"pos": [52.52, 13.405, 8, now_ms - 8000, 1.2, None], "seq": now_ms - 8000}
    assert (await ada.post("/v1/positions", frame, 200))["ok"]
    old = await ada.post("/v1/positions", fix(t_ms=now_ms - 60_000), 409)
    assert old["code"] == 124
    batch = [fix(t_ms=now_ms - 5000), fix(t_ms=now_ms - 50_000), {"pos": [52.52, 13.405, 8, now_ms]}]
    answer = await ada.post("/v1/positions", batch, 200)
    assert [each.get("code") for each in answer["items"]] == [None, 124, None]
    assert (answer["ok"], answer["accepted"]) == (False, 2)


@pytest.mark.parametrize(
    "body",
    [[], [fix()] * 101, {}, {"pos": [1, 2, 3]}, {"pos": [91, 2, 3, 4]}, 7, None,
     {"pos": [1, 2, 3, 4.5]}, {"pos": [1, None, 3, 4]}, [fix(), {"lat": 1}]],
)  # fmt: skip
async def test_what_is_no_fix_is_refused(town, body):
    ada = await town.person()
    assert (await ada.ask("POST", "/v1/positions", body)).status_code == 422


async def test_who_is_near_is_a_cell_and_a_band_never_a_position(engine):
    ada, bob = await engine.people(2)
    assert await ada.get("/v1/people/near") == {"items": [], "next": None}
    await ada.post("/v1/positions", fix(52.5200, 13.4050), 200)
    await bob.post("/v1/positions", fix(52.5203, 13.4051), 200)
    for _ in range(50):
        near = await ada.get("/v1/people/near?radius_m=3000&limit=10")
        if near["items"]:
            break
        time.sleep(0.02)
    [row] = near["items"]
    assert set(row) == {"user", "cell", "band"}
    assert row["user"] == bob.user
    # Nobody gives scores here: rows come without, and nobody is known to fit well enough.
    assert (await ada.get("/v1/people/near?radius_m=3000&scores=true"))["items"] == [row]
    assert (await ada.get("/v1/people/near?radius_m=3000&min_score=0.1"))["items"] == []
    await bob.put(f"/v1/connections/{ada.user}", {"action": "block"})
    assert (await ada.get("/v1/people/near?radius_m=3000"))["items"] == []


@pytest.mark.parametrize(
    "query",
    [
        "radius_m=0",
        "radius_m=-1",
        "radius_m=nan",
        "radius_m=inf",
        "radius_m=9999",
        "limit=0",
        "limit=x",
        "min_score=1.1",
        "min_score=nan",
        "scores=x",
    ],
)
async def test_a_look_around_out_of_range_is_refused(town, query):
    ada = await town.person()
    assert (await ada.get(f"/v1/people/near?{query}", 422))["code"] == 107


async def test_a_cell_has_an_outline_that_may_be_kept_for_good(town):
    somebody = await town.anybody()
    answer = await somebody.ask("GET", "/v1/cells/881f1d4887fffff")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    cell = answer.json()
    ring = cell["geometry"]["coordinates"][0]
    assert (len(ring), ring[0]) == (7, ring[-1])
    assert cell["properties"]["resolution"] == 8
    for wrong in ("881f1d4887ffff", "0", "881F1D4887FFFFF", "zzzzzzzzzzzzzzz", "8" * 400, "115283473ffffff"):
        await somebody.get(f"/v1/cells/{wrong}", 404)


async def test_a_fence_may_be_cells_and_may_have_an_end(town):
    ada = await town.person()
    cells = {"type": "H3", "cells": ["891f1d48177ffff", "891f1d48167ffff"]}
    ends = "2125-01-01T00:00:00+00:00"
    made = await ada.post("/v1/fences", feature(cells, gap_s=60, expires_at=ends))
    assert made["geometry"] == cells
    assert (made["properties"]["gap_s"], made["properties"]["expires_at"]) == (60, ends)
    await ada.post("/v1/fences", feature(cells, expires_at="2020-01-01T00:00:00Z"), 422)
    await ada.post("/v1/fences", feature(cells, expires_at="2125-01-01T00:00:00"), 422)
    await ada.post("/v1/fences", feature({"type": "H3", "cells": ["891f1d48177fff"]}), 422)


async def test_what_happens_at_a_fence_is_its_owners_to_read(town):
    """GEO-14: named only where the person grants it now; everybody else finds nothing."""
    ada, bob = await town.people(2)
    fence = (await ada.post("/v1/fences", feature()))["id"]
    await bob.put(f"/v1/me/fences/{fence}", {"grant": "exact"})
    async with town.pool.acquire() as connection:
        await connection.execute("INSERT INTO slots SELECT n, 0, 1 FROM generate_series(0, 9) AS s (n)")
        for number, event in enumerate(("enter", "dwell", "exit"), 1):
            body = json.dumps({"fence": fence, "event": event, "at_ms": number})
            row = CrossingRow(bob.user, 0, fence, 1, event, number * 1_000, body, new_id())
            await crossings.record(connection, [(0, 1)], [row])
    page = await ada.get(f"/v1/fences/{fence}/events?limit=2")
    assert [(each["o"], each["d"]["event"], each["d"]["user"]) for each in page["items"]] == [
        (1, "enter", bob.user), (2, "dwell", bob.user),
    ]  # fmt: skip
    rest = await ada.get(f"/v1/fences/{fence}/events?after={page['next']}")
    assert ([each["d"]["inside"] for each in rest["items"]], rest["next"]) == ([0], None)
    await bob.put(f"/v1/me/fences/{fence}", {"grant": "count"})
    assert not any("user" in each["d"] for each in (await ada.get(f"/v1/fences/{fence}/events"))["items"])
    await bob.get(f"/v1/fences/{fence}/events", 404)
    await ada.get(f"/v1/fences/{new_id()}/events", 404)
    await ada.delete(f"/v1/fences/{fence}")
    assert len((await ada.get(f"/v1/fences/{fence}/events"))["items"]) == 3
