"""The Matcher over a real Postgres: who suits whom, and how it keeps up (MATCH-1, 6, 8, ML-12)."""

import asyncpg
import pytest
from match_people import NOW, matcher, person, prefer

from identity.connections import Action
from identity.pairs import act
from matching.answers import BASELINE, NO_SCORE
from storage.decisions import append, lock_both
from storage.ids import UserId, new_id


async def users_for(service, viewer, near=()):
    """Whom the Matcher recommends, best first."""
    answer = await service.recommend(viewer, near, 20)
    return [row.user for row in answer.rows]


async def test_who_is_liked_more_is_recommended_first(pool, database_url):
    viewer, liked, passed, *others = [await person(pool) for _ in range(6)]
    for other in others:
        await act(pool, other, liked, Action.REQUEST, NOW)
        await act(pool, other, passed, Action.PASS, NOW)
    async with matcher(database_url) as service:
        answer = await service.recommend(viewer, [], 20)
        found = {row.user: row for row in answer.rows}
        assert answer.model == BASELINE
        assert answer.rows[-1].user == passed
        assert found[liked].forward > 0.5 > found[passed].forward
        said = await service.score([(viewer, [liked, passed, new_id()]), (liked, [viewer])])
        expected = [found[liked].score, found[passed].score, NO_SCORE]
        assert said.scores[0] == pytest.approx(expected, abs=0.005)
        assert said.scores[1] == [said.scores[0][0]], "a pair has one score"


async def test_whom_somebody_decided_on_is_not_recommended_again(pool, database_url):
    viewer, liked, passed, passer, blocker, paused, unlisted, seen = [await person(pool) for _ in range(8)]
    async with matcher(database_url) as service:
        assert len(await users_for(service, viewer)) == 7
        await act(pool, viewer, liked, Action.REQUEST, NOW)
        await act(pool, viewer, passed, Action.PASS, NOW)
        await act(pool, passer, viewer, Action.PASS, NOW)
        await act(pool, blocker, viewer, Action.BLOCK, NOW)
        await pool.execute("UPDATE users SET status = 'paused' WHERE id = $1", paused)
        await prefer(pool, paused)
        await prefer(pool, unlisted, is_listed=False)
        while not await service.catch_up():
            pass
        assert set(await users_for(service, viewer)) == {seen, passer}, "who passed on me is not to be told"
        assert seen in await users_for(service, unlisted), "who is not listed may look"
        assert (await service.score([(viewer, [blocker, paused])])).scores == [[NO_SCORE, NO_SCORE]]


@pytest.mark.parametrize(
    ("mine", "theirs", "far_m"),
    [
        ({"age_from": 40}, {}, None),
        ({"age_to": 30}, {}, None),
        ({"gender": "man", "seeks": ["woman"]}, {"gender": "man"}, None),
        ({"seeks": ["woman"]}, {}, None),
        ({"goals": ["tennis"]}, {"goals": ["chess", "tea"]}, None),
        ({"within_m": 1_000}, {}, 1_001.0),
        ({"within_m": 1_000}, {}, None),
    ],
)
async def test_a_limit_of_either_side_parts_both(pool, database_url, mine, theirs, far_m):
    one, other = await person(pool, **mine), await person(pool, **theirs)
    async with matcher(database_url) as service:
        for viewer, who in ((one, other), (other, one)):
            assert await users_for(service, viewer, [(who, far_m)] if far_m else []) == []
        for changed in (one, other):
            await prefer(pool, changed)
        while not await service.catch_up():
            pass
        assert await users_for(service, one, [(other, far_m)] if far_m else []) == [other]


async def test_who_was_never_told_of_is_asked_for(pool, database_url):
    async with matcher(database_url) as service:
        assert await users_for(service, UserId(new_id())) == []
        one, other = UserId(new_id()), UserId(new_id())
        for user in (one, other):
            await pool.execute(
                "INSERT INTO users (id, handle, birth_date) VALUES ($1, $2, '1990-01-01')",
                user,
                f"u{user[-12:]}",
            )
        assert await users_for(service, one, [(other, 10.0)]) == [other]


async def test_who_is_erased_is_gone_at_once(pool, database_url):
    one, other = [await person(pool) for _ in range(2)]
    async with matcher(database_url) as service:
        await pool.execute("UPDATE users SET status = 'deleting' WHERE id = $1", other)
        service.heard("erased", other)
        assert await users_for(service, one) == []
        assert (await service.score([(one, [other])])).scores == [[NO_SCORE]]


async def test_what_commits_late_is_taken_in_its_order_and_nothing_twice(pool, database_url):
    one, other, third, fourth = [await person(pool) for _ in range(4)]

    def known(service):
        name = dict(enumerate(service.people.ids))
        return {
            user: [(name[pair >> 1], pair & 1) for pair in service.people.given[row] or ()]
            for user, row in service.people.row_of.items()
        }

    async with matcher(database_url) as service:
        slow = await asyncpg.connect(database_url)
        begun = slow.transaction()
        await begun.start()
        await lock_both(slow, one, other)
        await append(slow, one, other, likes=True, at=NOW)
        await act(pool, third, fourth, Action.PASS, NOW)
        assert not await service.catch_up(), "a transaction that runs holds the rest back"
        assert known(service)[third] == []
        await begun.commit()
        await slow.close()
        await act(pool, other, third, Action.REQUEST, NOW)
        while not await service.catch_up():
            pass
        await service.catch_up()
        assert known(service)[one] == [(other, 1)]
        async with matcher(database_url) as fresh:
            assert known(fresh) == known(service)
            assert fresh.people.tally[: len(fresh.people)].sum(axis=0).tolist() == (
                service.people.tally[: len(service.people)].sum(axis=0).tolist()
            )
