"""Scores live through the sockets: who fits, and models that take over while people decide (MATCH-17)."""

import asyncio
from typing import Any

import asyncpg
import pytest
from followed_map import Follower, neighbours
from people_models import registered, serves
from rt_client.connection import Refused
from rt_client.town import Person, Town

from cluster.embedded.postgres import stored_url


async def decide(town: Town, who: Person, about: Person, *, like: bool) -> None:
    answer = await town.http("POST", "/v1/decisions", {"user": about.user, "like": like}, who)
    assert answer.status == 200, answer


async def until_scored_below(town: Town, watchers: list[Person], other: Person, score: float) -> None:
    """The recommender follows the log in its order, a little later: it has heard all when its last decision
    shows. Somebody else asks each time: who has asked before is told what they were told.
    """
    for number, who in enumerate(watchers):
        answer = await town.http("GET", "/v1/matches?limit=300", None, who)
        items = answer.body.get("items", ())
        if any(item["user"] == other.user and item["score"] < score for item in items):
            return
        await asyncio.sleep(0.2 * 2**number)
    raise AssertionError("the recommender has not heard of what was decided")


async def test_who_fits_is_shown_and_who_does_not_is_left_out(town: Town) -> None:
    (ann, mine), (bob, _), (cem, _), *others = await neighbours(town, 17)
    others, watchers = others[:5], [person for person, _ in others[5:]]
    everybody = Follower(mine, "near")
    await everybody.begin(filter={"radius_m": 800, "scores": True})
    await everybody.until(lambda rows: len(rows) == 16 and all("score" in row for row in rows.values()))
    for person, _ in others:
        await decide(town, person, bob, like=True)
        await decide(town, person, cem, like=False)
    await until_scored_below(town, watchers, cem, 0.285)  # .30 by four passes, .27 by five
    again = await town.connected(ann)
    good = Follower(again, "near")
    await good.begin(filter={"radius_m": 800, "min_score": 0.2})
    assert {key: row["score"] for key, row in good.rows.items()} == {
        key: row["score"] for key, row in everybody.rows.items()
    }, "another subscription learns nothing newer"
    fresh = (await town.connected(others[0][0])), await town.connected(others[1][0])
    for connection in fresh:
        shown = Follower(connection, "near")
        await shown.begin(filter={"radius_m": 800, "min_score": 0.3})
        await shown.until(lambda rows: bob.user in rows)
        assert cem.user not in shown.rows
    async with asyncio.timeout(60):  # a single look waits for scores, but not for long
        rows: dict[str, dict[str, Any]] = {}
        while bob.user not in rows:
            looked = await town.http("GET", "/v1/people/near?radius_m=800&min_score=0.3", None, others[2][0])
            rows = {row["user"]: row for row in looked.body["items"]}
    assert cem.user not in rows
    assert rows[bob.user].keys() == {"user", "cell", "band", "score", "model"}
    with pytest.raises(Refused) as refused:
        await (await town.connected(bob)).sub("near", filter={"min_score": 1.5})
    assert refused.value.code == 107


async def test_who_hides_leaves_or_is_unlisted_goes_from_a_live_list_of_recommendations(town: Town) -> None:
    (ann, mine), (bob, _), (cem, _), (dan, _), (eve, _) = await neighbours(town, 5)
    scores = Follower(mine, "scores")
    await scores.begin()
    everybody = {each.user for each in (bob, cem, dan, eve)}
    await scores.until(lambda rows: everybody <= rows.keys())
    ghost = {"audience": "everyone", "precision": "r8", "ghost": {"mode": "hidden", "duration_s": 900}}
    assert (await town.http("PUT", "/v1/me/visibility", ghost, bob)).status == 200
    await scores.until(lambda rows: bob.user not in rows)
    unlisted = await town.http("PUT", "/v1/me/preferences", {"listed": False}, cem)
    assert unlisted.status == 200
    await scores.until(lambda rows: cem.user not in rows)
    assert (await town.http("DELETE", "/v1/me", None, dan)).status == 200
    await scores.until(lambda rows: dan.user not in rows)
    assert eve.user in scores.rows
    again = Follower(await town.connected(ann), "scores")
    await again.begin()
    assert not {bob.user, cem.user, dan.user} & again.rows.keys()


async def test_models_take_over_while_people_decide_and_nobody_notices_but_by_the_scores(
    town: Town,
) -> None:
    ((ann, mine), *others) = await neighbours(town, 10)
    near, scores = Follower(mine, "near"), Follower(mine, "scores")
    await near.begin(filter={"radius_m": 800, "scores": True})
    await scores.begin()
    await near.until(lambda rows: len(rows) == 9 and all("score" in row for row in rows.values()))
    await scores.until(lambda rows: len(rows) >= 9)
    database = await asyncpg.connect(stored_url(town.data))

    async def deciding() -> None:
        for one, _ in others:
            for other, _ in others:
                if one is not other:
                    await decide(town, one, other, like=(one.user < other.user))

    try:
        at_work = asyncio.create_task(deciding())
        versions = [await registered(database, share) for share in (0.9, 0.25)]
        for version in versions:
            await serves(database, version)
            for follower in (near, scores):
                await follower.until(
                    lambda rows, version=version: {row.get("model") for row in rows.values()} == {version}
                )
        await decide(town, ann, others[0][0], like=True)
        await scores.until(lambda rows: others[0][0].user not in rows)
        await at_work
        for follower in (near, scores):
            assert list(dict.fromkeys(follower.models))[-2:] == versions
            assert sorted(follower.models, key=(["baseline", *versions]).index) == follower.models, (
                "no way back"
            )
            fresh = Follower(await town.connected(ann), follower.ch)
            await fresh.begin(**({"filter": {"radius_m": 800, "scores": True}} if follower is near else {}))
            await fresh.until(lambda rows, follower=follower: rows == follower.rows)
        assert not mine.closed.done()
        assert not [frame for frame in mine.frames if "bye" in frame or "unsub" in frame]
    finally:
        await serves(database, None)
        await database.close()
