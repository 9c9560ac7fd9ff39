"""A batch over real tables: what it writes may be shown, holds its caps, and takes no notice of being killed
(ML-3, ML-9, ML-11, MATCH-6 to 10, 12, 13).
"""

import asyncio
import json
from itertools import pairwise

import numpy as np
import pytest

from benchmarks import city_truth
from benchmarks.city import City
from benchmarks.city_store import numbered, store
from matching.jobs.engine import EngineSite
from matching.jobs.hands import Here
from matching.jobs.recommend import recommend
from matching.jobs.writing import unpacked
from storage.accounts import insert_ready_users
from storage.ids import new_id

SLOTS, CAP = 8, 10
ASKED = {
    "slots": SLOTS,
    "cap": CAP,
    "attention": 5,
    "seed": 0,
    "kinds": ["people", "pick", "groups", "places"],
}


@pytest.fixture(scope="module")
def town():
    return City.made(700, seed=9)


@pytest.fixture
async def stored(database_url, valkey_url, town):
    return await store(database_url, valkey_url, town, lambda _: None)


@pytest.fixture
def site(database_url, valkey_url):
    return EngineSite(database_url, valkey_url, 1)


async def rows_of(pool, kind):
    async with pool.acquire() as connection:
        rows = await connection.fetch(
            "SELECT user_id::text, rank, subject_id::text, score, detail FROM recommendations "
            "WHERE kind = $1 ORDER BY user_id, rank",
            kind,
        )
    return [(row[0], row[1], row[2], row[3], json.loads(row[4])) for row in rows]


async def test_every_row_that_is_written_may_be_shown(pool, site, town, stored):
    figures = await recommend(site, ASKED, Here())
    number = numbered(stored)
    people = await rows_of(pool, "people")
    viewer = np.array([number[row[0]] for row in people])
    shown = np.array([number[row[2]] for row in people])
    assert figures["rows"]["people"] == len(people) > 3_000
    assert city_truth.eligible(town.people, viewer, shown).all()
    decided = town.history.decided
    count = len(town.people)
    out = [decided.rater * count + decided.ratee, (decided.ratee * count + decided.rater)[~decided.likes]]
    for one, other in (town.history.blocked, town.history.blocked[::-1]):
        out.append(one * count + other)
    assert not np.isin(viewer * count + shown, np.concatenate(out)).any()
    assert np.bincount(viewer).max() <= SLOTS
    assert np.bincount(shown).max() <= CAP
    for before, after in pairwise(people):
        if before[0] == after[0]:
            assert after[1] == before[1] + 1
            assert after[3] <= before[3] + 1e-6
    assert figures["worth"]["capped"]["gini"] < figures["worth"]["popularity"]["gini"]

    picks = {row[0]: row[2] for row in await rows_of(pool, "pick")}
    assert len(picks) > 200
    assert all(picks[other] == one for one, other in picks.items())

    groups = await rows_of(pool, "groups")
    together = {}
    for user, _, group, _, detail in groups:
        together.setdefault(group, set()).add(user)
        one = np.array([number[user]] * len(detail["members"]))
        members = np.array([number[each] for each in detail["members"]])
        assert city_truth.eligible(town.people, one, members).all()
    assert groups
    assert all(set(detail["members"]) == together[group] - {user} for user, _, group, _, detail in groups)

    been = set(zip(town.history.visits.person.tolist(), town.history.visits.place.tolist(), strict=True))
    places = await rows_of(pool, "places")
    assert places
    assert not any((number[user], stored.places.index(place)) in been for user, _, place, _, _ in places)
    async with pool.acquire() as connection:
        assert not await connection.fetchval("SELECT count(*) FROM blobs")  # nothing of the way is left
    again = await recommend(site, ASKED, Here())
    assert again["run"] == figures["run"]


@pytest.mark.usefixtures("stored")
async def test_a_killed_run_goes_on_and_leaves_out_who_may_not_be_shown_by_now(pool, site):
    """Killed when its lists were made; then somebody is blocked, one pauses, one is erased, one is unlisted
    and one pair decides.
    """
    killed = asyncio.create_task(recommend(site, ASKED, Here()))
    async with pool.acquire() as connection:
        while not await connection.fetchval("SELECT count(*) FROM job_steps WHERE step = 'lists'"):
            assert not killed.done()
            await asyncio.sleep(0.005)
        killed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await killed
        lists = await connection.fetchrow(
            "SELECT run_id, bytes FROM job_steps JOIN blobs ON sha256 = blob_sha256 WHERE step = 'lists'"
        )
        done = await connection.fetchval("SELECT count(*) FROM job_steps")
        assert done < 3
        ids, _, rows = unpacked(lists["bytes"])
        firsts = [(ids[viewer], listed[0].subject) for viewer, listed in sorted(rows["people"].items())]
        (paused, _), (_, erased), (_, unlisted), (blocker, blocked), (rater, ratee), *_ = apart(firsts)
        await connection.execute("UPDATE users SET status = 'paused' WHERE id = $1", paused)
        await connection.execute("UPDATE users SET status = 'erased' WHERE id = $1", erased)
        await connection.execute("UPDATE preferences SET is_listed = false WHERE user_id = $1", unlisted)
        low, high = sorted((blocker, blocked))
        await connection.execute(
            "INSERT INTO connections (low_id, high_id, low_blocks) VALUES ($1, $2, true) "
            "ON CONFLICT (low_id, high_id) DO UPDATE SET low_blocks = true",
            low,
            high,
        )
        await connection.execute(
            "INSERT INTO decisions (rater_id, ratee_id, likes, at) VALUES ($1, $2, false, now())",
            rater,
            ratee,
        )
        figures = await recommend(site, ASKED, Here())
        assert figures["run"] == lists["run_id"]
        people = await rows_of(pool, "people")
        assert len({row[0] for row in people}) > 500
        named = {row[2] for row in people} | {row[0] for row in people}
        for kind in ("pick", "groups"):
            for user, _, subject, _, detail in await rows_of(pool, kind):
                named |= {user, subject, *detail.get("members", ())}
        assert not named & {paused, erased}
        assert unlisted not in {row[2] for row in people}
        pairs = {(row[0], row[2]) for row in people}
        assert not pairs & {(blocker, blocked), (blocked, blocker), (rater, ratee), (ratee, rater)}


def apart(pairs):
    """Pairs of people of whom nobody is in two."""
    seen = set()
    for pair in pairs:
        if not seen & set(pair):
            seen |= set(pair)
            yield pair


async def test_what_an_earlier_run_left_to_somebody_goes(pool, site, stored):
    async with pool.acquire() as connection:
        await connection.execute(
            "INSERT INTO recommendations (user_id, kind, rank, subject_id, score, detail, model, run_id) "
            "VALUES ($1, 'people', 30000, $2, 0.5, '{}', 'baseline', 'old')",
            stored.people[0],
            new_id(),
        )
    await recommend(site, ASKED | {"kinds": ["people"]}, Here())
    async with pool.acquire() as connection:
        assert not await connection.fetchval("SELECT count(*) FROM recommendations WHERE run_id = 'old'")


async def test_where_there_is_nobody_nothing_is_written(site):
    figures = await recommend(site, ASKED, Here())
    assert figures["people"] == 0
    assert set(figures["rows"].values()) == {0}


async def test_one_person_alone_gets_nobody(pool, site):
    async with pool.acquire() as connection:
        await insert_ready_users(connection, 1, "alone")
    figures = await recommend(site, ASKED, Here())
    assert figures["people"] == 1
    assert set(figures["rows"].values()) == {0}
