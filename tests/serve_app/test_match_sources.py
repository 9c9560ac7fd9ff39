"""Where candidates come from, and what the Matcher knows of where people are (MATCH-6, MATCH-7, ML-11)."""

import asyncio
import time

import pytest
from match_people import NOW, matcher, person, prefer

from actors.placement import slot_of
from geo.cells import cell_of
from identity.connections import Action
from identity.pairs import act
from matching.answers import InterestMap
from storage import positions
from storage.outbox import write_event

HERE, NEAR, FAR = (52.520, 13.405), (52.523, 13.409), (52.700, 13.405)


async def caught_up(service):
    async with asyncio.timeout(10):
        while not await service.catch_up():
            await asyncio.sleep(0.01)


async def users_for(service, viewer):
    return [row.user for row in (await service.recommend(viewer, [], 20)).rows]


async def show(pool, user, audience, precision):
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "UPDATE users SET visibility_audience = $2, visibility_precision = $3 WHERE id = $1",
            user,
            audience,
            precision,
        )
        await write_event(
            connection, type="user.visibility_changed", aggregate=f"user:{user}", payload={}, touches=()
        )


async def stand(valkey, user, at):
    place = positions.Place(*at, 5.0, int(time.time() * 1000), 1, cell_of(*at, 8), None)
    await positions.save(valkey, [positions.SlotPlaces(slot_of("user", user), 1, {user: place})])


async def read_places(service):
    service.places._read_s = 0.0 - 1e9
    service.places.refresh()
    await service.places.settled()


async def test_who_shows_everybody_a_cell_within_reach_is_found_without_being_near(
    pool, database_url, valkey_url
):
    viewer, near, far, hidden = [await person(pool, within_m=3_000) for _ in range(4)]
    valkey = positions.open_valkey(valkey_url)
    for user, at in ((viewer, HERE), (near, NEAR), (far, FAR), (hidden, NEAR)):
        await stand(valkey, user, at)
        await show(pool, user, "matches" if user == hidden else "everyone", "r8")
    async with matcher(database_url, redis_url=valkey_url) as service:
        assert await users_for(service, viewer) == []
        await read_places(service)
        assert await users_for(service, viewer) == [near]
        assert await users_for(service, hidden) == [], "their own place is nobody's to compute with"
        await show(pool, near, "everyone", "city")
        await caught_up(service)
        assert await users_for(service, viewer) == [], "a finer cell than is shown now is forgotten at once"
        await read_places(service)
        assert await users_for(service, viewer) == [], "a city is wider than the limit"
    async with matcher(database_url, k=2, redis_url=valkey_url) as service:
        await show(pool, near, "everyone", "r8")
        await caught_up(service)
        await read_places(service)
        assert await users_for(service, viewer) == [], "a cell of one person is not told"
    await valkey.aclose()


async def liked(pool, rater, *ratees):
    for ratee in ratees:
        await act(pool, rater, ratee, Action.REQUEST, NOW)


@pytest.fixture
async def crowd(pool):
    """Two circles who like their own; somebody new in each."""
    circles = [
        [await person(pool, interests=tags) for _ in range(22)] for tags in (["jazz", "tea"], ["chess"])
    ]
    for members in circles:
        for number, rater in enumerate(members[:20]):
            await liked(pool, rater, *(members[(number + step) % 20] for step in (1, 2, 3)))
    return circles


async def test_who_likes_alike_and_who_shares_interests_are_named(database_url, crowd):
    (one, *_), (other, *_) = crowd
    async with matcher(database_url) as service:
        for viewer, circle in ((one, crowd[0]), (other, crowd[1])):
            answer = await service.recommend(viewer, [], 50)
            by_source = {}
            for row in answer.rows:
                by_source.setdefault(row.source, set()).add(row.user)
            assert by_source["collaborative"]
            assert by_source["interests"]
            for source in ("collaborative", "interests"):
                assert by_source[source] <= set(circle), source


@pytest.mark.timeout(300)  # its libraries take a busy machine long to load
async def test_vectors_name_people_and_forget_the_erased(pool, database_url, crowd):
    viewer, gone = crowd[0][20], crowd[0][21]
    async with matcher(database_url) as service:
        await service.recommend(viewer, [], 50)
        await service.sources.settled()
        found = service.sources._neighbours
        row = service.people.row_of[gone]
        near = found.near(service.people.row_of[viewer], 20).tolist()
        names = [service.people.ids[each] for each in near]
        assert row in near
        assert sum(name in crowd[0] for name in names[:10]) >= 8
        await pool.execute("UPDATE users SET status = 'erased' WHERE id = $1", gone)
        service.heard("erased", gone)
        assert row not in found.near(service.people.row_of[viewer], 44).tolist()
        assert not found._searched[row].any()
        assert gone not in await users_for(service, viewer)


async def test_the_interest_map_groups_what_goes_together_and_hides_small_groups(pool, database_url):
    for tags in (["jazz", "tea", "books"], ["chess", "rivers", "bread"]):
        for number in range(6):
            await person(pool, interests=[tag for at, tag in enumerate(tags) if (at + number) % 3])
    rare = await person(pool, interests=["jazz", "a secret"])
    unlisted = [await person(pool, interests=["hats"]) for _ in range(6)]
    for user in unlisted:
        await prefer(pool, user, interests=["hats"], is_listed=False)
    async with matcher(database_url, k=4) as service:
        found = await service.interest_map()
    assert isinstance(found, InterestMap)
    groups = {frozenset(tag for tag, _ in group.tags): group for group in found.groups}
    assert all(group <= {"jazz", "tea", "books"} or group <= {"chess", "rivers", "bread"} for group in groups)
    assert set().union(*groups) == {"jazz", "tea", "books", "chess", "rivers", "bread"}
    assert all(group.people % 4 == 0 and group.people >= 4 for group in found.groups)
    assert all(count % 4 == 0 and count >= 4 for group in found.groups for _, count in group.tags)
    assert all(-1 <= at <= 1 for group in found.groups for at in (group.x, group.y))
    assert rare
