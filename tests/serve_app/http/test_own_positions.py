"""My history of positions over HTTP: for me alone, page by page, and forgotten when I say so (GEO-24)."""

import asyncio
import struct
import time

import h3

PATH = "/v1/me/positions"
BERLIN = (52.52, 13.405)


async def walk(person, count, start_ms):
    fixes = [
        {"lat": BERLIN[0] + 1e-5 * number, "lon": BERLIN[1], "acc_m": 5, "t_ms": start_ms + 1_000 * number}
        for number in range(count)
    ]
    assert (await person.post("/v1/positions", fixes, 200))["accepted"] == count
    return fixes


def told(page):
    return [(item["lat"], item["t_ms"]) for item in page["items"]]


async def test_my_fixes_are_mine_alone_and_come_page_by_page(engine):
    ada, bob = await engine.people(2)
    start_ms = round(time.time() * 1_000) - 60_000
    fixes = [(fix["lat"], fix["t_ms"]) for fix in await walk(ada, 12, start_ms)]
    late = {"lat": 1.0, "lon": 2.0, "acc_m": 5, "t_ms": start_ms - 5_000, "speed_mps": 1.5}
    await ada.expect("POST", "/v1/positions", late, 409)
    page = await ada.get(PATH)
    assert told(page) == [(1.0, start_ms - 5_000), *fixes]
    assert page["next"] is None
    assert page["items"][0] | {"seq": 0} == late | {"seq": 0, "heading_deg": None, "acc_m": 5.0}
    assert (await bob.get(PATH))["items"] == []
    await (await engine.anybody()).get(PATH, 401)
    pages, cursor = [], ""
    while cursor is not None:
        page = await ada.get(f"{PATH}?limit=5&from={start_ms}" + (f"&cursor={cursor}" if cursor else ""))
        pages.append(told(page))
        cursor = page["next"]
    assert [len(each) for each in pages] == [5, 5, 2]
    assert [fix for each in pages for fix in each] == fixes
    middle = await ada.get(f"{PATH}?from={start_ms + 2_000}&to={start_ms + 4_000}")
    assert told(middle) == fixes[2:5]


async def test_what_is_forgotten_is_nowhere_and_the_next_fix_begins_anew(engine):
    ada = await engine.person()
    start_ms = round(time.time() * 1_000) - 60_000
    await walk(ada, 3, start_ms)
    assert len((await ada.get(PATH))["items"]) == 3
    await walk(ada, 2, start_ms + 10_000)
    await ada.delete(PATH)
    assert (await ada.get(PATH))["items"] == []
    assert await engine.pool.fetchval("SELECT count(*) FROM trails") == 0
    await walk(ada, 1, start_ms)
    assert [t_ms for _, t_ms in told(await ada.get(PATH))] == [start_ms]


async def test_forgetting_is_no_way_to_be_everywhere_at_once(engine):
    """GEO-23: who forgets where they are, to be somewhere else at once, soon sees no more than a city."""
    ada, *others = await engine.people(5)
    for number, other in enumerate(others):
        await other.post("/v1/positions", fix_at(number), 200)
    for number in range(4):
        if number:
            await ada.delete(PATH)
        await ada.post("/v1/positions", fix_at(number), 200)
        async with asyncio.timeout(30):
            while not (found := (await ada.get("/v1/people/near?radius_m=500"))["items"]):
                await asyncio.sleep(0.05)
        assert [item["user"] for item in found] == [others[number].user]
        wanted = (5, "<10") if number == 3 else (8, "<1")
        assert (h3.get_resolution(found[0]["cell"]), found[0]["band"]) == wanted


def fix_at(place):
    """A fix in one of several cities, hundreds of kilometres apart, now."""
    return {"lat": -40.0 + 3 * place, "lon": 20.0, "acc_m": 5, "t_ms": round(time.time() * 1_000)}


async def test_the_database_holds_no_position_that_can_be_read(engine):
    ada = await engine.person()
    await walk(ada, 4, round(time.time() * 1_000) - 60_000)
    await ada.get(PATH)
    rows = await engine.pool.fetch("SELECT * FROM trails")
    assert len(rows) == 1
    assert struct.pack("<d", BERLIN[0]) not in rows[0]["sealed"]
