"""Scores while the Matcher is away (MATCH-17)."""

import os
import signal

import pytest
from followed_map import Follower, neighbours
from rt_client.town import Town, pids
from rt_client.walk import Place


async def test_when_the_matcher_is_killed_rows_stay_and_scores_come_back(town: Town) -> None:
    place = Place()
    ((_, mine), *_) = await neighbours(town, 4, place)
    near = Follower(mine, "near")
    await near.begin(filter={"radius_m": 800, "scores": True})
    await near.until(lambda rows: len(rows) == 3 and all("score" in row for row in rows.values()))
    before = dict(near.rows)
    [pid] = pids(town.data, "Matcher")
    os.kill(pid, signal.SIGKILL)
    [(newcomer, _)] = await neighbours(town, 1, place)
    await near.until(lambda rows: newcomer.user in rows)
    assert {key: near.rows[key] for key in before} == before
    await near.until(lambda rows: "score" in rows[newcomer.user], 40)
    assert {key: near.rows[key] for key in before} == before


@pytest.mark.slow
async def test_when_a_shard_is_killed_nobody_is_taken_off_and_scores_go_on(town: Town) -> None:
    place, followers = Place(), list[Follower]()
    people = await neighbours(town, 6, place)
    for _, connection in people:
        near, scores = Follower(connection, "near"), Follower(connection, "scores")
        await near.begin(filter={"radius_m": 800, "min_score": 0.1})
        await scores.begin()
        await near.until(lambda rows: len(rows) == 5)
        await scores.until(lambda rows: len(rows) >= 5)
        followers += [near, scores]
    os.kill(pids(town.data, "hereabouts-shard")[0], signal.SIGKILL)
    [(newcomer, _)] = await neighbours(town, 1, place)
    for follower in followers:
        if follower.ch == "near":
            await follower.until(lambda rows: newcomer.user in rows, 40)
        assert follower.gone == []
    for follower in followers:
        assert {row["model"] for row in follower.rows.values()} == {"baseline"}
