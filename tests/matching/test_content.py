"""Which interest is suggested, and what its log says of other ways of choosing (ML-8)."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matching import content as ways
from matching.answers import InterestGroup, InterestMap
from matching.jobs import content as job
from matching.jobs.command import JobError
from storage import content
from storage.content import RIPE, ChoiceRow
from storage.ids import UserId, new_id

START = datetime(2026, 10, 1, 12, tzinfo=UTC)
TRUTH = {"popular": 0.05, "close": 0.3, "rare": 0.1, "far": 0.15}
MAP = InterestMap(
    1,
    [
        InterestGroup(40, [("jazz", 30), ("piano", 12), ("opera", 3)], 0.0, 0.0),
        InterestGroup(25, [("climbing", 20), ("skiing", 9)], 1.0, 0.0),
    ],
)


def test_each_way_chooses_what_it_says():
    assert ways.choices(MAP, {"piano"}) == {
        "popular": "jazz", "close": "jazz", "rare": "opera", "far": "climbing",
    }  # fmt: skip
    assert ways.choices(MAP, {"skiing", "jazz", "piano"}) == {
        "popular": "climbing", "close": "opera", "rare": "opera",
    }  # fmt: skip
    assert ways.choices(MAP, set()) == {"popular": "jazz"}
    assert ways.choices(InterestMap(5, []), {"jazz"}) == {}


tags = st.sampled_from("abcdefgh")
groups = st.builds(
    InterestGroup,
    st.integers(1, 99),
    st.lists(st.tuples(tags, st.integers(1, 50)), min_size=1, max_size=4, unique_by=lambda tag: tag[0]),
    st.just(0.0),
    st.just(0.0),
)


@given(st.lists(groups, max_size=4), st.sets(tags), st.integers(0, 99))
def test_nobody_is_suggested_what_they_have_and_every_way_keeps_a_chance(found, mine, seed):
    chosen = ways.choices(InterestMap(1, found), mine)
    assert not mine & set(chosen.values())
    assert bool(chosen) == any(tag not in mine for group in found for tag, _ in group.tags)
    if chosen:
        odds = ways.propensities({"close": (9, 1)}, list(chosen), np.random.default_rng(seed))
        assert sum(odds.values()) == pytest.approx(1)
        assert min(odds.values()) >= ways.FLOOR - 1e-12
    context = ways.context_of(InterestMap(1, found), mine)
    assert len(context) == len(ways.CONTEXT)
    assert all(0 <= value <= 1.1 for value in context)


async def people_of(pool, count):
    users = [UserId(new_id()) for _ in range(count)]
    await pool.executemany(
        "INSERT INTO users (id, handle, birth_date) VALUES ($1, $2, '1990-01-01')",
        [(user, f"u{user[-12:]}") for user in users],
    )
    return users


async def lived(pool, users, days, chance):
    """So many days of suggestions, chosen as they are served, and taken up by TRUTH; returns ways by day."""
    shown = []
    for day in range(days):
        now = START + timedelta(days=day)
        async with pool.acquire() as connection:
            async with connection.transaction():
                await content.count(connection, now)
            tallies = await content.tallies(connection)
            shown.append([])
            for user in users:
                has = [arm for arm in ways.ARMS if arm == "popular" or chance.random() < 0.8]
                odds = ways.propensities(tallies, has, chance)
                arm = str(chance.choice(list(odds), p=list(odds.values())))
                context = [1.0, float(chance.random()), 0.5, 0.3]
                row = ChoiceRow(arm, f"tag of {arm}", odds, context, now, is_taken=False)
                await content.add(connection, user, row)
                if chance.random() < TRUTH[arm]:
                    await content.take(connection, user, [f"tag of {arm}"], now + timedelta(hours=3))
                shown[-1].append(arm)
    return shown


async def test_the_log_says_what_other_ways_would_have_earned(pool):
    users, chance = await people_of(pool, 120), np.random.default_rng(11)
    shown = await lived(pool, users, 6, chance)
    assert shown[-1].count("close") > 1.5 * shown[0].count("close"), "the best way is learned"
    async with pool.acquire() as connection:
        log = await content.ripe(connection, START - RIPE, START + timedelta(days=7))
        found = job.report(log, await content.tallies(connection), seed=1)
    assert found["choices"] == 6 * len(users)
    assert found["policies"]["thompson"]["dr"]["value"] > found["policies"]["uniform"]["dr"]["value"] + 0.03
    uniform = [np.mean([TRUTH[arm] for arm in row.propensities]) for row in log]
    truth = {"uniform": float(np.mean(uniform))}
    for arm, reward in TRUTH.items():
        truth[f"always-{arm}"] = float(
            np.mean(
                [reward if arm in row.propensities else each for row, each in zip(log, uniform, strict=True)]
            )
        )
    for name, value in truth.items():
        for how in ("ips", "dr"):
            said = found["policies"][name][how]
            assert abs(said["value"] - value) < 4 * said["standard_error"], (name, how)
            assert said["standard_error"] < 0.08
        assert 30 < found["policies"][name]["effective"] <= len(log)
    spread = {
        how: sum(found["policies"][name][how]["standard_error"] for name in truth) for how in ("ips", "dr")
    }
    assert spread["dr"] < spread["ips"]


async def test_linucb_is_judged_on_what_it_has_not_learned_from():
    chance, log = np.random.default_rng(3), []
    for number in range(4_000):
        context = [1.0, float(chance.random()), 0.0, 0.0]
        odds = dict.fromkeys(ways.ARMS, 0.25)
        arm = str(chance.choice(ways.ARMS))
        reward = {"close": context[1], "far": 1 - context[1]}.get(arm, 0.3)  # who has few likes what is far
        log.append(
            ChoiceRow(arm, "t", odds, context, START + timedelta(seconds=number), chance.random() < reward)
        )
    found = job.report(log, {}, seed=1)
    learned = found["later_half"]["linucb"]["dr"]
    best_alone = max(found["policies"][f"always-{arm}"]["dr"]["value"] for arm in ways.ARMS)
    assert learned["value"] > best_alone + 0.1, "contexts tell who likes what"
    assert abs(learned["value"] - 0.74) < 4 * learned["standard_error"] + 0.02


async def test_nothing_counts_before_it_is_ripe_and_what_is_old_goes(pool):
    [user] = await people_of(pool, 1)
    row = ChoiceRow("close", "jazz", {"close": 1.0}, [1.0], START, is_taken=False)
    async with pool.acquire() as connection, connection.transaction():
        await content.add(connection, user, row)
        other = await content.add(connection, user, ChoiceRow("far", "x", {"far": 1.0}, [1.0], START, False))
        assert (other.arm, other.tag) == ("close", "jazz"), "what was chosen first holds"
        await content.take(connection, user, ["piano"], START)
        await content.take(connection, user, ["jazz"], START + timedelta(hours=1))
        assert await content.count(connection, START + RIPE - timedelta(seconds=1)) == 0
        assert await content.tallies(connection) == {}
        await content.count(connection, START + RIPE)
        assert await content.tallies(connection) == {"close": (1, 0)}
        await content.count(connection, START + content.LEARNED + timedelta(seconds=1))
        assert await content.tallies(connection) == {}, "old choices do not count"
        assert await content.count(connection, START + content.KEPT + timedelta(seconds=1)) == 1


async def test_what_is_taken_up_late_was_not_taken_up(pool):
    [user] = await people_of(pool, 1)
    row = ChoiceRow("close", "jazz", {"close": 1.0}, [1.0], START, is_taken=False)
    async with pool.acquire() as connection:
        await content.add(connection, user, row)
        await content.take(connection, user, ["jazz"], START + RIPE)
        assert not (await content.of_day(connection, user, START)).is_taken


@pytest.mark.usefixtures("pool")
async def test_a_log_that_is_too_short_says_so(database_url):
    with pytest.raises(JobError, match="0 suggestions"):
        await job.main(database_url, job.parser().parse_args([]))
