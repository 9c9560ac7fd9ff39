"""Ghost mode (GEO-22): hidden or frozen to others, for oneself as ever."""

from datetime import UTC, datetime, timedelta

import h3
import pytest
from fencing import fence, square
from sharing import BERLIN, move, rows, share, types, until_told

from actors import messages as wire
from actors.placement import slot_of
from storage import ghosts
from storage.reminders import Reminder, put


async def haunt(small, user, mode, lasts_s=3_600.0):
    now = datetime.now(UTC)
    until = now + timedelta(seconds=lasts_s)
    async with small.pool.acquire() as connection, connection.transaction():
        await ghosts.begin(connection, user, mode, now, until)
        due_ms = round(until.timestamp() * 1000)
        await put(connection, Reminder("user", user, "ghost:ends", slot_of("user", user), due_ms), None)
    await small.router.refresh("user", user)


async def rest(small, user):
    async with small.pool.acquire() as connection, connection.transaction():
        await ghosts.end(connection, user)
    await small.router.refresh("user", user)


async def near(small, viewer):
    found = await small.ask(wire.NearQuery(0, viewer, 5_000.0, 50))
    return {row["user"]: row["cell"] for row in found["items"]}


async def seen(small, share_id, viewer, conn):
    page = await small.subscribe(f"share:{share_id}@{viewer}#{conn}", viewer, conn)
    return [row[1] for row in page["state"]]


async def places_saved(small, user):
    people = small.shards[small.router.shard_of(slot_of("user", user))].hosts["user"]
    await small.until(lambda: not (people._moved or people._places._unsaved or people._places._saving))


async def until_near(small, viewer, wanted):
    """At most 100 looks: more at once than 120 would be refused."""
    for _ in range(100):
        if await near(small, viewer) == wanted:
            return
        await small.pool.execute("SELECT pg_sleep(0.2)")
    raise AssertionError((wanted, await near(small, viewer)))


@pytest.fixture
async def two(small):
    """Ann, who is seen by Bob nearby and by a share that he looks at."""
    ann, bob = await small.person(), await small.person()
    now = small.shards[0].now_ms() - 600_000
    await move(small, ann, 0, now)
    await move(small, bob, 50, now)
    one = await share(small, ann, bob)
    await small.subscribe(f"near@{bob}#n", bob, "n")
    await small.subscribe(f"share:{one}@{bob}#s", bob, "s")
    return ann, bob, one, now


async def test_a_hidden_person_is_absent_from_every_list_and_share(small, two):
    ann, bob, one, now = two
    before = await near(small, bob)
    assert set(before) == {ann}
    await haunt(small, ann, "hidden")
    await small.until(lambda: [ann, "-"] in rows(small, "n") and rows(small, "s")[-1:] == [[ann, "-"]])
    await move(small, ann, 10, now + 10_000)
    assert await near(small, bob) == {}
    assert await seen(small, one, bob, "t") == []
    assert await seen(small, await share(small, ann, bob), bob, "u") == []
    regions = [a.state for s in small.shards.values() for a in s.activations.values() if a.kind == "region"]
    assert not any(ann in region.places for region in regions), "so no count has her either (GEO-21)"
    await rest(small, ann)
    await until_near(small, bob, before)
    await small.until(lambda: rows(small, "s")[-1][1] == "+")


async def test_a_frozen_person_is_seen_where_they_were(small, two):
    ann, bob, one, now = two
    before = await near(small, bob)
    [there] = await seen(small, one, bob, "t")
    await haunt(small, ann, "frozen")
    for step in range(1, 30):  # she walks two kilometres
        await move(small, ann, step * 70, now + step * 10_000)
    await small.until(lambda: [r for r in rows(small, "s") if r[2]["t"] == now + 290_000])
    assert {row[1] for row in rows(small, "s")} == {"~"}, "it goes on as if she stood there"
    assert await near(small, bob) == before
    assert [ann, "-"] not in rows(small, "n")
    for place in [row[2] for row in rows(small, "s")] + await seen(small, one, bob, "t2"):
        assert {**place, "t": 0} == {**there, "t": 0}
    [other] = await seen(small, await share(small, ann, bob), bob, "u")
    assert other["lat"] == there["lat"]
    await rest(small, ann)
    await small.until(lambda: [r for r in rows(small, "s") if r[2]["lat"] != there["lat"]])
    assert (await near(small, bob)).get(ann) != before[ann]


async def test_a_ghost_s_own_fixes_count_for_themselves(small, two):
    """Own fences, and who is near to them."""
    ann, bob, _, now = two
    home = await fence(small, ann, square(BERLIN[0] + 1_000 / 111_200, BERLIN[1]))
    await haunt(small, ann, "frozen")
    for step in range(1, 24):
        await move(small, ann, step * 50, now + step * 10_000)
    for _ in range(200):
        if await small.pool.fetchval("SELECT count(*) FROM fence_visits WHERE fence_id = $1", home):
            break
        await small.pool.execute("SELECT pg_sleep(0.02)")
    visitors = await small.pool.fetch("SELECT user_id::text FROM fence_visits WHERE fence_id = $1", home)
    assert [row["user_id"] for row in visitors] == [ann]
    state = small.shards[small.router.shard_of(slot_of("user", ann))].activations["user", ann].state
    assert state.shown.cell != (await near(small, bob))[ann]


async def test_a_frozen_place_survives_a_kill(small, two):
    ann, bob, one, now = two
    before = await near(small, bob)
    [there] = await seen(small, one, bob, "t")
    await haunt(small, ann, "frozen")
    for step in range(1, 30):
        await move(small, ann, step * 70, now + step * 10_000)
    for user in (ann, bob):
        await places_saved(small, user)
    for number in list(small.shards):
        await small.shards[number].stop()
        await small.start_shard(number)
    await move(small, ann, 2_100, now + 300_000)
    await until_near(small, bob, before)
    [place] = await seen(small, one, bob, "t2")
    assert (place["lat"], place["lon"]) == (there["lat"], there["lon"])


async def test_a_frozen_place_that_was_lost_hides(small, two):
    """Rather nothing than a place that was meant for nobody."""
    ann, bob, one, now = two
    before = await near(small, bob)
    await haunt(small, ann, "frozen")
    await move(small, ann, 2_000, now + 500_000)
    for user in (ann, bob):
        await places_saved(small, user)
    await ghosts.thaw(small.shards[0].valkey, ann)
    number = small.router.shard_of(slot_of("user", ann))
    await small.shards[number].stop()
    await small.start_shard(number)
    await move(small, ann, 2_005, now + 590_000)
    assert await seen(small, one, bob, "t") == []
    assert (await near(small, bob)).items() <= before.items(), "a region may not have forgotten her yet"


async def test_a_ghost_ends_by_its_reminder(small, two):
    ann, bob, _, _ = two
    before = await near(small, bob)
    await haunt(small, ann, "hidden", lasts_s=1.0)
    assert await near(small, bob) == {}
    await until_near(small, bob, before)
    await until_told(small, ann, "ghost.ended")
    assert await small.pool.fetchval("SELECT ghost_mode FROM users WHERE id = $1", ann) is None
    assert (await types(small, ann)).count("ghost.ended") == 1


async def test_who_goes_on_as_a_ghost_shows_where_they_were_first(small, two):
    ann, bob, one, now = two
    [there] = await seen(small, one, bob, "t")
    await haunt(small, ann, "hidden")
    await move(small, ann, 900, now + 60_000)
    await haunt(small, ann, "frozen")
    [place] = await seen(small, one, bob, "t2")
    assert place["lat"] == there["lat"]


async def test_a_match_sees_a_frozen_person_as_finely_as_before(small, two):
    """Coarser would tell."""
    ann, bob, _, now = two
    low, high = sorted((ann, bob))
    await small.pool.execute(
        "INSERT INTO connections (low_id, high_id, state) VALUES ($1, $2, 'matched')", low, high
    )
    await small.pool.execute("UPDATE users SET visibility_precision = 'r9' WHERE id = $1", ann)
    for user in (ann, bob):
        await small.router.refresh("user", user)
    for _ in range(200):
        before = await near(small, bob)
        if before and h3.get_resolution(before[ann]) == 9:
            break
        await small.pool.execute("SELECT pg_sleep(0.02)")
    assert h3.get_resolution(before[ann]) == 9
    await haunt(small, ann, "frozen")
    for step in range(1, 30):
        await move(small, ann, step * 70, now + step * 10_000)
    await small.pool.execute("SELECT pg_sleep(0.3)")
    assert await near(small, bob) == before
