"""My places over HTTP: for me alone, named and forgotten by me, home and work only where I say so."""

import datetime as dt
import time

from geo.stays import Stay, Turn
from identity.places import StayChange
from storage.ids import new_id

HOME, OFFICE = (52.52, 13.405), (52.55, 13.405)
DAY_MS = 86_400_000


async def store(town, user, *stays):
    """Stays as a shard stores them: (place, since_ms, until_ms)."""
    changes = []
    for (lat, lon), since_ms, until_ms in stays:
        stay = Stay(lat, lon, since_ms, lat, lon, until_ms)
        changes += [StayChange(user, turn, stay) for turn in (Turn.BEGAN, Turn.ENDED)]
    async with town.pool.acquire() as connection, connection.transaction():
        await town.app.state.services.places.record(connection, changes)


def weeks(number=1):
    """Nights at home and days at the office, UTC, in the weeks before this one."""
    today = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    monday = today - dt.timedelta(days=today.weekday() + 7 * number)
    for day in range(5):
        begin_ms = round((monday + dt.timedelta(days=day)).timestamp() * 1_000)
        yield HOME, begin_ms, begin_ms + DAY_MS // 3
        yield OFFICE, begin_ms + DAY_MS * 9 // 24, begin_ms + DAY_MS * 17 // 24


async def test_my_places_are_mine_alone(town):
    ada, bob = await town.people(2)
    await store(town, ada.user, *weeks())
    places = (await ada.get("/v1/me/places"))["items"]
    assert [place["visits"] for place in places] == [5, 5]
    office = places[0]
    assert {round(office["lat"], 6), round(office["lon"], 6)} == set(OFFICE)
    assert (office["stayed_s"], office["radius_m"], office["here"]) == (5 * 8 * 3_600, 25.0, False)
    assert office["last_at"] - office["first_at"] == 4 * DAY_MS + DAY_MS // 3
    assert await ada.get(f"/v1/me/places/{office['id']}") == office
    assert (await bob.get("/v1/me/places"))["items"] == []
    for ask in (bob.get, bob.delete):
        await ask(f"/v1/me/places/{office['id']}", 404)
    await bob.expect("PATCH", f"/v1/me/places/{office['id']}", {"label": "mine"}, 404)
    assert (await ada.get("/v1/me/places"))["items"] == places
    await (await town.anybody()).get("/v1/me/places", 401)


async def test_home_and_work_are_told_only_to_who_asked_for_it(town):
    ada = await town.person()
    await store(town, ada.user, *weeks())
    path = "/v1/me/places?utc_offset_min=0"
    assert {place["kind"] for place in (await ada.get(path))["items"]} == {None}
    profile = await ada.get("/v1/me")
    assert (profile["places"], profile["home_and_work"]) == (True, False)
    answer = await ada.ask("PATCH", "/v1/me", {"home_and_work": True}, headers={"If-Match": "*"})
    assert answer.json()["home_and_work"] is True
    assert [place["kind"] for place in (await ada.get(path))["items"]] == ["work", "home"]
    # In another part of the world these hours are others.
    kinds = [place["kind"] for place in (await ada.get("/v1/me/places?utc_offset_min=-720"))["items"]]
    assert kinds != ["work", "home"]
    await ada.get("/v1/me/places?utc_offset_min=9999", 422)


async def test_a_place_can_be_named_and_forgotten(town):
    ada = await town.person()
    await store(town, ada.user, *weeks())
    office, home = (await ada.get("/v1/me/places"))["items"]
    named = await ada.expect("PATCH", f"/v1/me/places/{home['id']}", {"label": "Zuhause"}, 200)
    assert named == home | {"label": "Zuhause"}
    assert (await ada.expect("PATCH", f"/v1/me/places/{home['id']}", {"label": ""}, 200))["label"] is None
    await ada.expect("PATCH", f"/v1/me/places/{home['id']}", {"label": "a\nb"}, 422)
    await ada.expect("PATCH", f"/v1/me/places/{new_id()}", {"label": "x"}, 404)
    await ada.delete(f"/v1/me/places/{office['id']}")
    assert [place["id"] for place in (await ada.get("/v1/me/places"))["items"]] == [home["id"]]
    assert await town.pool.fetchval("SELECT count(*) FROM stays") == 5
    await ada.delete("/v1/me/places")
    assert (await ada.get("/v1/me/places"))["items"] == []
    assert await town.pool.fetchval("SELECT count(*) FROM stays") == 0


async def test_nothing_that_is_stored_or_told_on_tells_where(town):
    ada = await town.person()
    await store(town, ada.user, *weeks())
    [place, _] = (await ada.get("/v1/me/places"))["items"]
    await ada.expect("PATCH", f"/v1/me/places/{place['id']}", {"label": "Geheimnis"}, 200)
    await ada.delete(f"/v1/me/places/{place['id']}")
    written = await town.pool.fetch("SELECT payload::text AS text FROM outbox")
    written += await town.pool.fetch("SELECT body::text AS text FROM user_events")
    sealed = await town.pool.fetch("SELECT sealed FROM places UNION ALL SELECT sealed FROM stays")
    assert len(sealed) == 1 + 5
    for text in [row["text"].encode() for row in written] + [row["sealed"] for row in sealed]:
        assert b"52.5" not in text
        assert b"Geheimnis" not in text


async def test_from_fixes_to_my_places_through_the_engine(engine):
    ada = await engine.person()
    begin_ms = int(time.time() * 1000) - 3_600_000
    fixes = [{"lat": HOME[0], "lon": HOME[1], "acc_m": 8, "t_ms": begin_ms + 60_000 * m} for m in range(11)]
    await ada.post("/v1/positions", fixes, 200)
    for _ in range(100):
        found = (await ada.get("/v1/me/places"))["items"]
        if found:
            break
        time.sleep(0.02)
    [place] = found
    assert (place["here"], place["visits"], place["first_at"]) == (True, 1, begin_ms)
    # Stored was its beginning; my actor knows how long it has lasted.
    assert (place["stayed_s"], place["last_at"]) == (600, begin_ms + 600_000)
    # Switched off, nothing more is kept; what there is goes when it is told to.
    await ada.ask("PATCH", "/v1/me", {"places": False}, headers={"If-Match": "*"})
    await ada.delete("/v1/me/places")
    later = [each | {"t_ms": each["t_ms"] + 1_000_000} for each in fixes]
    await ada.post("/v1/positions", later, 200)
    assert (await ada.get("/v1/me/places"))["items"] == []
